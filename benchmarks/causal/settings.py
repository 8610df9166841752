"""The simulations of the published comparison."""

from sparseopt.datasets import make_linear_sem

# Erdős-Rényi (er) and scale-free (sf) graphs, 1000 Gaussian samples; weights in ±[0.5, 2] unless
# they are given. A, B, C, E are the names of the recorded figures.
SETTINGS = {
    "A": {"n_features": 50, "edges_per_node": 4},
    "B": {
        "n_features": 50,
        "edges_per_node": 4,
        "variance": "non_equal",
        "weight_range": (0.25, 1.0),
    },
    "C": {"n_features": 100, "edges_per_node": 2},
    "E": {"n_features": 50, "edges_per_node": 4, "graph": "sf"},
}


def simulate(setting, seed, **changes):
    """Return a data set of a setting."""
    return make_linear_sem(1000, **{**SETTINGS[setting], **changes}, random_state=1000 + seed)
