from benchopt import BaseDataset

from benchmarks.robust_pca.settings import published


class Dataset(BaseDataset):
    """The recovery tables of Candès et al. (signs) and Lin et al. (uniform errors)."""

    name = "simulated"
    parameters = {
        "n": [500],
        "errors": ["signs", "uniform"],
        "corrupted": [0.05],
        "random_state": [0],
    }
    test_parameters = {"n": [40]}

    def get_data(self):
        X, low_rank, _ = published(self.n, self.errors, self.corrupted, seed=self.random_state)
        return {"X": X, "low_rank": low_rank}
