import numpy as np
from benchopt import BaseDataset
from scipy import sparse
from scipy.spatial import KDTree
from sklearn.datasets import make_blobs


class Dataset(BaseDataset):
    """Ten overlapping clusters in three dimensions, joined to their ten nearest neighbours."""

    name = "blobs"
    parameters = {
        "n_samples": [100_000],
        "labelled": [0.01],
        "n_neighbors": [10],
        "random_state": [0],
    }
    test_parameters = {"n_samples": [500], "labelled": [0.1]}

    def get_data(self):
        n, k = self.n_samples, self.n_neighbors
        X, truth = make_blobs(n, 3, centers=10, cluster_std=2.0, random_state=self.random_state)
        nearest = KDTree(X).query(X, k + 1, workers=-1)[1][:, 1:]
        starts = np.arange(0, n * k + 1, k)
        graph = sparse.csr_array((np.ones(n * k), nearest.ravel(), starts), shape=(n, n))
        graph = graph.maximum(graph.T).tocsr()
        rng = np.random.default_rng(self.random_state)
        given = rng.choice(n, round(self.labelled * n), replace=False)
        y = np.full(n, -1)
        y[given] = truth[given]
        return {"graph": graph, "y": y}
