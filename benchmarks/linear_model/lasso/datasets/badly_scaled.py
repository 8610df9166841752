from benchopt import BaseDataset
from scipy import sparse

from sparseopt.datasets import make_badly_scaled_regression


class Dataset(BaseDataset):
    """Data set A of Nutini, Laradji and Schmidt (2022): sparse, columns of unequal scale."""

    name = "badly scaled"
    parameters = {"n_samples, n_features": [(1000, 10_000)], "random_state": [1]}
    test_parameters = {"n_samples, n_features": [(40, 60)]}

    def get_data(self):
        X, y = make_badly_scaled_regression(
            self.n_samples, self.n_features, random_state=self.random_state
        )
        return {"X": sparse.csc_matrix(X), "y": y}  # skglm and celer take no sparse arrays
