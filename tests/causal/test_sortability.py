"""Shares of paths whose ends are sorted: cases known by hand, recorded values, invariances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from sparseopt.causal._graphs import descendants
from sparseopt.causal._sortability import r2_sortability, varsortability
from sparseopt.datasets import load_sachs, make_linear_sem

MEASURES = [varsortability, r2_sortability]
# By CausalDisco 0.2.4 (var_sortability, r2_sortability) on the same data.
RECORDED = {
    "A": (
        dict(n_features=50, edges_per_node=4, random_state=1000),
        (0.9936305732484076, 0.9738853503184713),
    ),
    "B": (
        dict(
            n_features=50,
            edges_per_node=4,
            variance="non_equal",
            weight_range=(0.25, 1.0),
            random_state=1000,
        ),
        (0.978343949044586, 0.8331210191082803),
    ),
}


def with_variances(variances):
    """Return samples with exactly these variances."""
    return np.array([[1.0], [-1.0]]) * np.sqrt(variances)


def share_by_walks(scores, adjacency):
    """Count sorted pairs for each number of edges, walk by walk."""
    edges = adjacency != 0
    sorted_pairs, pairs = 0.0, 0
    ends = {(int(i), int(j)) for i, j in np.argwhere(edges)}
    while ends:
        pairs += len(ends)
        sorted_pairs += sum(0.5 * (1 + np.sign(scores[j] - scores[i])) for i, j in ends)
        ends = {(i, int(k)) for i, j in ends for k in np.flatnonzero(edges[j])}
    return sorted_pairs / pairs


def test_chain_known_by_hand():
    chain = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]])
    assert varsortability(with_variances([1, 2, 3]), chain) == 1.0
    assert varsortability(with_variances([3, 2, 1]), chain) == 0.0
    # 0 -> 1 rises, 1 -> 2 falls, 0 -> 1 -> 2 is a tie.
    assert varsortability(with_variances([1, 2, 1]), chain) == pytest.approx(1.5 / 3)
    assert varsortability(with_variances([1, 3, 2]), chain) == pytest.approx(2 / 3)


def test_pairs_count_once_for_each_length():
    # 0 reaches 2 by one edge and by two: two pairs of four, both sorted; 1 -> 2 is not.
    graph = np.array([[0, 1, 1], [0, 0, 1], [0, 0, 0]])
    assert varsortability(with_variances([1, 3, 2]), graph) == pytest.approx(3 / 4)
    # Two ways of two edges from 0 to 3 are one pair.
    diamond = np.array([[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]])
    assert varsortability(with_variances([1, 2, 3, 0.5]), diamond) == pytest.approx(2 / 5)


@given(st.integers(2, 9), st.floats(0.1, 1.0), st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_shares_equal_the_walks(d, density, seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(d)
    graph = np.triu(rng.random((d, d)) < density, 1)[np.ix_(order, order)]
    X = rng.standard_normal((50, d)) * rng.integers(1, 4, d)
    X[:, 0] = X[:, 1]  # a tie, if the two are joined
    if graph.any():
        expected = share_by_walks(X.var(axis=0), graph)
        assert varsortability(X, graph) == pytest.approx(expected)
        assert (
            varsortability(-X, graph) == varsortability(X + 5.0, graph) == pytest.approx(expected)
        )
    else:
        assert np.isnan(varsortability(X, graph))


@pytest.mark.parametrize("case", RECORDED)
def test_recorded_values(case):
    options, (by_variance, by_r2) = RECORDED[case]
    model = make_linear_sem(1000, **options)
    assert varsortability(model.X, model.adjacency) == pytest.approx(by_variance, abs=1e-12)
    assert r2_sortability(model.X, model.adjacency) == pytest.approx(by_r2, abs=1e-12)


def test_standardising_hides_variances_and_keeps_r2():
    model = make_linear_sem(1000, 20, random_state=0)
    scaled = (model.X - model.X.mean(axis=0)) / model.X.std(axis=0)
    assert varsortability(model.X, model.adjacency) > 0.85
    assert varsortability(scaled, model.adjacency) == 0.5  # equal but for rounding: ties
    assert r2_sortability(scaled, model.adjacency) == r2_sortability(model.X, model.adjacency)
    shrunk = model.X * np.logspace(-3, 3, 20)
    assert r2_sortability(shrunk, model.adjacency) == r2_sortability(model.X, model.adjacency)


def test_r2_is_that_of_the_regression_on_all_others():
    model = make_linear_sem(200, 6, random_state=1)
    X = model.X
    others = [np.delete(X, j, axis=1) for j in range(6)]
    r2 = [LinearRegression().fit(Z, X[:, j]).score(Z, X[:, j]) for j, Z in enumerate(others)]
    assert r2_sortability(X, model.adjacency) == pytest.approx(
        share_by_walks(np.array(r2), model.adjacency)
    )


def test_sachs_may_be_a_frame():
    pytest.importorskip("pandas")
    arrays, frames = load_sachs(), load_sachs(as_frame=True)
    assert descendants(arrays.adjacency != 0).any()
    for measure in MEASURES:
        assert measure(arrays.data, arrays.adjacency) == measure(frames.data, frames.adjacency)


@pytest.mark.parametrize("measure", MEASURES)
def test_inputs_are_checked(measure):
    X = np.random.default_rng(0).standard_normal((10, 3))
    graph = np.triu(np.ones((3, 3)), 1)
    with pytest.raises(ValueError, match="NaN"):
        measure(np.where(X > 1, np.nan, X), graph)
    with pytest.raises(ValueError, match="adjacency must be acyclic"):
        measure(X, np.ones((3, 3)))
    with pytest.raises(ValueError, match="adjacency must be finite"):
        measure(X, graph * np.nan)
    with pytest.raises(ValueError, match=r"shape \(3, 3\)"):
        measure(X, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="2D array"):
        measure(X[0], graph)
    assert np.isnan(measure(X, np.zeros((3, 3))))


def test_r2_needs_independent_columns():
    X = np.random.default_rng(0).standard_normal((10, 3))
    graph = np.triu(np.ones((3, 3)), 1)
    with pytest.raises(ValueError, match="more samples than features"):
        r2_sortability(X[:3], graph)
    with pytest.raises(ValueError, match=r"column 1 .* constant"):
        r2_sortability(np.where([False, True, False], 0.1, X), graph)
    X[:, 2] = X[:, 0] - 2 * X[:, 1]
    with pytest.raises(ValueError, match="linear combination"):
        r2_sortability(X, graph)
