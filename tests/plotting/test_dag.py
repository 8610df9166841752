"""What is drawn: which edges, how, and where."""

import sys

import numpy as np
import pandas as pd
import pytest

from sparseopt.causal import SortRegress
from sparseopt.datasets import load_sachs, make_linear_sem
from sparseopt.plotting import DAGDisplay

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

CHAIN = np.array([[0, 2.0, 0], [0, 0, -1.0], [0, 0, 0]])


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_signs_and_widths():
    display = DAGDisplay.from_adjacency(CHAIN, names=["a", "b", "c"])
    assert display.edge_kinds == {"positive": [(0, 1)], "negative": [(1, 2)]}
    strong, weak = display.edges_[0, 1], display.edges_[1, 2]
    assert strong.get_linewidth() > weak.get_linewidth()
    assert strong.get_edgecolor() != weak.get_edgecolor()
    assert [text.get_text() for text in display.labels_] == ["a", "b", "c"]
    assert display.ax_.get_legend() is None
    assert display.figure_ is display.ax_.figure


def test_reference_tells_four_kinds_of_edges():
    reference = np.zeros((5, 5))
    reference[[0, 1, 2], [1, 2, 3]] = 1
    found = np.zeros((5, 5))
    found[[0, 2, 0], [1, 1, 4]] = (1.0, -1.0, 0.5)
    display = DAGDisplay.from_adjacency(found, reference=reference)
    assert display.edge_kinds == {
        "found": [(0, 1)],
        "reversed": [(2, 1)],
        "extra": [(0, 4)],
        "missed": [(2, 3)],
    }
    looks = {(e.get_edgecolor(), e.get_linestyle()) for e in display.edges_.values()}
    assert len(looks) == 4
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert legend == ["found: 1", "reversed: 1", "extra: 1", "missed: 1"]
    without = DAGDisplay.from_adjacency(found, reference=reference, legend=False)
    assert without.ax_.get_legend() is None


@pytest.mark.parametrize("seed", range(3))
def test_edges_point_down_and_places_differ(seed):
    adjacency = make_linear_sem(20, 15, edges_per_node=1.5, random_state=seed).adjacency
    places = DAGDisplay(adjacency).positions
    causes, effects = np.nonzero(adjacency)
    assert np.all(places[causes, 1] >= places[effects, 1] + 1)
    assert len(np.unique(places, axis=0)) == 15


def test_places_are_those_of_the_reference():
    reference = load_sachs().adjacency
    learnt = np.zeros_like(reference)
    display = DAGDisplay(learnt, reference=reference)
    np.testing.assert_array_equal(display.positions, DAGDisplay(reference).positions)


def test_edges_keep_clear_of_other_nodes():
    adjacency = CHAIN.copy()
    adjacency[0, 2] = 1.0
    display = DAGDisplay(adjacency)
    display.positions = np.array([[0.0, 0.0], [0.0, -1.0], [0.0, -2.0]])
    display.plot()
    straight = display.edges_[0, 1].get_connectionstyle()
    around = display.edges_[0, 2].get_connectionstyle()
    assert straight.rad == 0
    # The middle of the arc is half of its bend away from the straight line of length two.
    assert abs(around.rad) * 2 / 2 >= 0.4


def test_estimator_gives_graph_and_names():
    sachs = load_sachs(as_frame=True)
    model = SortRegress().fit(sachs.data)
    _, axis = plt.subplots()
    display = DAGDisplay.from_estimator(model, reference=sachs.adjacency, ax=axis)
    assert display.ax_ is axis
    assert display.names == sachs.feature_names
    assert sum(len(display.edge_kinds[kind]) for kind in ("found", "reversed", "extra")) == len(
        model.edges_
    )


def test_frame_gives_names_and_long_ones_stand_beside():
    names = ["a long name", "another one", "c"]
    display = DAGDisplay.from_adjacency(pd.DataFrame(CHAIN, index=names, columns=names))
    assert display.names == names
    assert display.labels_[0].xyann[1] < 0
    assert DAGDisplay.from_adjacency(CHAIN).labels_[0].xyann[1] == 0


def test_graph_without_edges():
    display = DAGDisplay.from_adjacency(np.zeros((3, 3)))
    assert display.edges_ == {}
    assert len(np.unique(display.positions, axis=0)) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"adjacency": np.ones((2, 3))}, "adjacency must be a square matrix"),
        ({"adjacency": np.array([[0, np.nan], [0, 0]])}, "adjacency must be finite"),
        ({"adjacency": np.array([[0, 1], [1, 0]])}, "adjacency must be acyclic"),
        ({"adjacency": np.array([[1.0]])}, "adjacency must be acyclic"),
        ({"adjacency": CHAIN, "reference": CHAIN + CHAIN.T}, "reference must be acyclic"),
        ({"adjacency": CHAIN, "reference": np.zeros((2, 2))}, r"reference must have the shape"),
        ({"adjacency": CHAIN, "names": ["a"]}, "names must hold 3 names, one a node, got 1"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        DAGDisplay(**arguments)


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install sparseopt\[plot\]"):
        DAGDisplay(CHAIN).plot()
