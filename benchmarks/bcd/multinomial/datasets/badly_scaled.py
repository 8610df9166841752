import numpy as np
from benchopt import BaseDataset
from scipy import sparse

from sparseopt.datasets import make_badly_scaled_multiclass


class Dataset(BaseDataset):
    """Data set C of Nutini, Laradji and Schmidt (2022): fifty classes, unequal scales."""

    name = "badly scaled"
    parameters = {
        "n_samples, n_features, n_classes": [(1000, 1000, 50)],
        "random_state": [1],
    }
    test_parameters = {"n_samples, n_features, n_classes": [(60, 40, 5)]}

    def get_data(self):
        X, y = make_badly_scaled_multiclass(
            self.n_samples,
            self.n_features,
            n_classes=self.n_classes,
            random_state=self.random_state,
        )
        _, y = np.unique(y, return_inverse=True)
        return {"X": sparse.csc_matrix(X), "y": y}
