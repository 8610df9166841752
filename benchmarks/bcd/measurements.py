"""What the table shows that has no peer to race against."""

import time
import warnings

import numpy as np

from benchmarks.bcd.label_propagation.datasets.blobs import Dataset
from sparseopt.datasets import make_badly_scaled_classification, make_badly_scaled_regression
from sparseopt.optimize import L1, LogisticLoss, block_coordinate_descent
from sparseopt.semi_supervised import GraphLabelPropagation


def million_nodes():
    """Return the seconds of label propagation on a large graph, given the graph."""
    small, large = ({"n_samples": n, "labelled": 0.001} for n in (20_000, 1_000_000))
    model = GraphLabelPropagation("precomputed", solver="cg", n_jobs=2)
    model.fit(*Dataset.get_instance(**small).get_data().values())  # compiles
    data = Dataset.get_instance(**large).get_data()
    start = time.perf_counter()
    model.fit(data["graph"], data["y"])
    seconds = time.perf_counter() - start
    return seconds, f"{model.n_iter_} iterations, residual {model.relative_residual_:.0e}"


def advantage_of_growing():
    """Return how many times smaller the gap of greedily grown gsq blocks is, on data set B."""
    X, y = make_badly_scaled_classification(random_state=1)  # separable: the minimum is zero
    gaps = {}
    for selection in ("gsq", "gsq-iht"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = block_coordinate_descent(
                X, y, loss=LogisticLoss(), block_size=5, selection=selection, update="newton",
                max_iter=500, tol=0,
            )  # fmt: skip
        gaps[selection] = len(y) * result.fun
    remark = f"{gaps['gsq-iht']:.1e} / {gaps['gsq']:.1e}"
    return gaps["gsq-iht"] / gaps["gsq"], remark


def steps_to_finish():
    """Return the steps from the final support to a relative gap of 1e-12, on data set A."""
    X, y = make_badly_scaled_regression(random_state=1)
    penalty = L1(0.1 * np.abs(X.T @ y).max() / len(y))
    steps, remarks = [], []
    for update in ("prox-newton", "tmp"):
        result = block_coordinate_descent(X, y, penalty, update=update, tol=1e-13)
        objective = result.history["objective"]
        close = np.flatnonzero(objective - objective.min() <= 1e-12 * objective.min())[0]
        steps.append(max(0, close - result.active_set_iteration))
        remarks.append(f"{update}: settled after {result.active_set_iteration}, there at {close}")
    return max(steps), "; ".join(remarks)
