import numpy as np
from benchopt import BaseDataset


class Dataset(BaseDataset):
    """An exponential density and two normal ones on a grid of the line."""

    name = "line"
    parameters = {"n": [500]}
    test_parameters = {"n": [20]}

    def get_data(self):
        t = np.linspace(0, 5, self.n)
        a = np.exp(-t)
        b = 0.2 * np.exp(-(((t - 1) / 0.2) ** 2) / 2) / 0.2
        b = b + 0.8 * np.exp(-(((t - 3) / 0.5) ** 2) / 2) / 0.5
        C = np.subtract.outer(t, t) ** 2
        return {"C": C / C.max(), "a": a / a.sum(), "b": b / b.sum()}
