import numpy as np
from benchopt import BaseDataset
from scipy import sparse


class Dataset(BaseDataset):
    """Data set B of Nutini, Laradji and Schmidt (2022): sparse, columns of unequal scale."""

    name = "scaled columns"
    parameters = {"n_samples, n_features": [(1000, 10_000)], "random_state": [1]}
    test_parameters = {"n_samples, n_features": [(40, 60)]}

    def get_data(self):
        shape = self.n_samples, self.n_features
        rng = np.random.RandomState(self.random_state)  # the published stream
        X = (rng.randn(*shape) + 1) * (10 * rng.randn(self.n_features))
        X *= rng.rand(*shape) < 10 * np.log(self.n_samples) / self.n_samples
        coef = rng.randn(self.n_features) * (rng.rand(self.n_features) < 0.1)
        y = np.where(X @ coef > 0, 1.0, -1.0)
        y[rng.rand(self.n_samples) < 0.1] *= -1
        return {"X": sparse.csc_matrix(X), "y": y}
