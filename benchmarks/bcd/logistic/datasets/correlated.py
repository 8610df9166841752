import numpy as np
from benchopt import BaseDataset

from sparseopt.datasets import make_correlated_regression


class Dataset(BaseDataset):
    """The signs of a noisy linear model; neighbouring features are correlated."""

    name = "correlated"
    parameters = {
        "n_samples, n_features, n_nonzero": [(500, 5000, 50)],
        "correlation": [0.5],
        "random_state": [0],
    }
    test_parameters = {"n_samples, n_features, n_nonzero": [(40, 60, 5)]}

    def get_data(self):
        X, y = make_correlated_regression(
            self.n_samples,
            self.n_features,
            n_nonzero=self.n_nonzero,
            correlation=self.correlation,
            random_state=self.random_state,
        )
        return {"X": X, "y": np.where(y > np.median(y), 1.0, -1.0)}
