"""Other packages' methods, on copies of the data; they give weights before the cut to a DAG."""

import contextlib
import importlib
import io


def has_dagma():
    """Tell whether dagma is there: ``pip install --no-deps dagma tqdm`` (it asks for torch,
    which its linear part never imports)."""
    try:
        importlib.import_module("dagma.linear")
    except ImportError:
        return False
    return True


def learn_by_dagma(X):
    """Run DAGMA with the settings of CoLiDE; least squares in place of its score."""
    linear = importlib.import_module("dagma.linear")
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        return linear.DagmaLinear("l2").fit(
            X.copy(),  # it centres the data in place
            lambda1=0.05,
            w_threshold=0.0,
            T=4,
            s=[1.0, 0.9, 0.8, 0.7],
            warm_iter=20_000,
            max_iter=70_000,
        )
