from benchopt import BaseDataset

from benchmarks.causal.settings import SETTINGS, simulate


class Dataset(BaseDataset):
    """The settings of the published comparison."""

    name = "simulated"
    parameters = {"setting": list(SETTINGS), "seed": [0]}
    test_parameters = {"setting": ["A"], "seed": [0]}

    def get_data(self):
        data = simulate(self.setting, self.seed)
        variance = SETTINGS[self.setting].get("variance", "equal")
        return {"X": data.X, "adjacency": data.adjacency, "variance": variance}
