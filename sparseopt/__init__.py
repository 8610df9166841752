"""Classical sparse estimation and optimization with a scikit-learn API.

Sub-packages are loaded on first use, so that ``import sparseopt`` stays cheap:

- :mod:`sparseopt.linear_model`: weighted greedy and convex sparse regression;
- :mod:`sparseopt.preprocessing`: orthogonal-polynomial features;
- :mod:`sparseopt.semi_supervised`: label propagation on graphs;
- :mod:`sparseopt.transport`: entropic optimal transport;
- :mod:`sparseopt.causal`: causal graphs of linear models;
- :mod:`sparseopt.decomposition`: robust PCA, low-rank plus sparse matrices;
- :mod:`sparseopt.sparse_bayes`: sparse Bayesian learning;
- :mod:`sparseopt.optimize`: losses, penalties and the solvers that combine them;
- :mod:`sparseopt.plotting`: drawings of graphs;
- :mod:`sparseopt.datasets`: the published experiments' data generators;
- :mod:`sparseopt.testing`: the checks that every estimator passes.
"""

import importlib

__version__ = "0.1.0.dev0"

_SUBPACKAGES = (
    "causal",
    "datasets",
    "decomposition",
    "linear_model",
    "optimize",
    "plotting",
    "preprocessing",
    "semi_supervised",
    "sparse_bayes",
    "testing",
    "transport",
)

__all__ = ["__version__", *_SUBPACKAGES]


def __getattr__(name):
    if name in _SUBPACKAGES:
        return importlib.import_module(f"sparseopt.{name}")
    raise AttributeError(f"module 'sparseopt' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
