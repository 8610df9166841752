from benchopt import BaseDataset

from sparseopt.datasets import make_correlated_regression


class Dataset(BaseDataset):
    """Neighbouring features are correlated."""

    name = "correlated"
    parameters = {
        "n_samples, n_features, n_nonzero": [(300, 2000, 20)],
        "correlation": [0.5],
        "noise": [0.1],
        "random_state": [0],
    }
    test_parameters = {"n_samples, n_features, n_nonzero": [(20, 40, 5)]}

    def get_data(self):
        X, y = make_correlated_regression(
            self.n_samples,
            self.n_features,
            n_nonzero=self.n_nonzero,
            correlation=self.correlation,
            noise=self.noise,
            random_state=self.random_state,
        )
        return {"X": X, "y": y}
