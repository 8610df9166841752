from benchopt import BaseDataset

from sparseopt.datasets import make_two_moons_graph


class Dataset(BaseDataset):
    """Data set E of Nutini, Laradji and Schmidt (2022)."""

    name = "two moons"
    parameters = {"n_samples, n_labelled": [(2000, 100)], "random_state": [1]}
    test_parameters = {"n_samples, n_labelled": [(100, 10)]}

    def get_data(self):
        graph, y, _, _ = make_two_moons_graph(
            self.n_samples, n_labelled=self.n_labelled, random_state=self.random_state
        )
        return {"graph": graph, "y": y}
