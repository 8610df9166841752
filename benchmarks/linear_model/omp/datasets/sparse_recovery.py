from benchopt import BaseDataset

from sparseopt.datasets import make_sparse_recovery


class Dataset(BaseDataset):
    """Gaussian dictionary of unit columns, sparse coefficients."""

    name = "sparse recovery"
    parameters = {
        "n_samples, n_features, n_nonzero": [(1000, 8192, 100)],
        "n_targets": [1, 16],
        "noise": [0.01],
        "random_state": [0],
    }
    test_parameters = {"n_samples, n_features, n_nonzero": [(120, 150, 5)]}

    def get_data(self):
        X, y, coef = make_sparse_recovery(
            self.n_samples,
            self.n_features,
            n_nonzero=self.n_nonzero,
            n_targets=self.n_targets,
            noise=self.noise,
            coef=True,
            random_state=self.random_state,
        )
        return {"X": X, "y": y, "coef": coef}
