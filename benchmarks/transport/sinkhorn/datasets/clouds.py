import numpy as np
from benchopt import BaseDataset
from scipy.spatial.distance import cdist


class Dataset(BaseDataset):
    """A normal and a uniform cloud in the plane, squared distances scaled to at most one."""

    name = "clouds"
    parameters = {"n": [500], "random_state": [0]}
    test_parameters = {"n": [20]}

    def get_data(self):
        rng = np.random.default_rng(self.random_state)
        X, Y = rng.standard_normal((self.n, 2)), rng.uniform(-1, 1, (self.n, 2))
        C = cdist(X, Y, "sqeuclidean")
        mass = np.full(self.n, 1 / self.n)
        return {"C": C / C.max(), "a": mass, "b": mass}
