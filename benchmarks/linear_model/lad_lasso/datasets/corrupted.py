from benchopt import BaseDataset

from sparseopt.datasets import make_sparse_recovery


class Dataset(BaseDataset):
    """Sparse recovery with gross errors in a tenth of the rows."""

    name = "corrupted"
    parameters = {
        "n_samples, n_features, n_nonzero": [(300, 2000, 20)],
        "noise": [0.1],
        "corruption": [0.1],
        "random_state": [0],
    }
    test_parameters = {"n_samples, n_features, n_nonzero": [(30, 40, 3)]}

    def get_data(self):
        X, y = make_sparse_recovery(
            self.n_samples,
            self.n_features,
            n_nonzero=self.n_nonzero,
            noise=self.noise,
            corruption=self.corruption,
            corruption_scale=10.0,
            random_state=self.random_state,
        )
        return {"X": X, "y": y}
