from benchopt import BaseDataset

from sparseopt.datasets import make_sparse_recovery


class Dataset(BaseDataset):
    """Gaussian columns of unit norm; interpolation begins at 0.157 of the largest alpha."""

    name = "sparse recovery"
    parameters = {
        "n_samples, n_features, n_nonzero": [(300, 2000, 20)],
        "noise": [0.03],
        "random_state": [0],
    }
    test_parameters = {"n_samples, n_features, n_nonzero": [(30, 40, 3)]}

    def get_data(self):
        X, y = make_sparse_recovery(
            self.n_samples,
            self.n_features,
            n_nonzero=self.n_nonzero,
            noise=self.noise,
            random_state=self.random_state,
        )
        return {"X": X, "y": y}
