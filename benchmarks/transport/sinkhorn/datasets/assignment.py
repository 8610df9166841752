import numpy as np
from benchopt import BaseDataset


class Dataset(BaseDataset):
    """Uniform random costs and masses, as in Tang et al. (2024)."""

    name = "assignment"
    parameters = {"n": [500], "random_state": [0]}
    test_parameters = {"n": [20]}

    def get_data(self):
        C = np.random.default_rng(self.random_state).random((self.n, self.n))
        mass = np.full(self.n, 1 / self.n)
        return {"C": C, "a": mass, "b": mass}
