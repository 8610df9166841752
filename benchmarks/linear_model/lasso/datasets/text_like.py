from benchopt import BaseDataset

from sparseopt.datasets import make_text_like_regression


class Dataset(BaseDataset):
    """A sparse matrix of tf-idf values."""

    name = "text-like"
    parameters = {
        "n_samples, n_features, n_nonzero": [(5000, 50_000, 100)],
        "random_state": [0],
    }
    test_parameters = {"n_samples, n_features, n_nonzero": [(50, 200, 5)]}

    def get_data(self):
        X, y = make_text_like_regression(
            self.n_samples,
            self.n_features,
            n_nonzero=self.n_nonzero,
            random_state=self.random_state,
        )
        return {"X": X, "y": y}
