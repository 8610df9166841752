"""What the four solvers for a known rank share: huge errors, arguments, thresholds, doubts."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sparseopt.decomposition._alternating_projections import accelerated_alternating_projections
from sparseopt.decomposition._godec import godec
from sparseopt.decomposition._ircur import ircur
from sparseopt.decomposition._kernels import known_rank, known_rank_arrays
from sparseopt.decomposition._known_rank import doubts, first_threshold, prepare
from sparseopt.decomposition._low_rank import LowRankMatrix
from sparseopt.decomposition._scaled_gradient import scaled_gradient_descent

SOLVERS = {
    "accaltproj": (accelerated_alternating_projections, {}),
    "scaledgd": (scaled_gradient_descent, {}),
    "godec": (godec, {"card": 0.06}),
    "ircur": (ircur, {"random_state": 0}),
}


@pytest.fixture(params=SOLVERS)
def decompose(request):
    solver, options = SOLVERS[request.param]
    return lambda D, rank, **more: solver(D, rank, **(options | more))


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    L = rng.standard_normal((60, 3)) @ rng.standard_normal((3, 50))
    return L + 5 * (rng.random(L.shape) < 0.05), L


@pytest.mark.parametrize(
    ("dtype", "size"), [("f8", 1e9), ("f8", 1e60), ("f8", 1e200), ("f4", 1e9), ("f4", 1e18)]
)
def test_one_huge_error_does_not_end_the_run(decompose, problem, dtype, size):
    D, L = problem[0].astype(dtype), problem[1]
    D[3, 4] = size
    result = decompose(D, 3)
    assert result.success
    assert result.certificate <= (1e-7 if dtype == "f8" else 3e-6)
    accuracy = 1e-4 if dtype == "f8" else 1e-3
    assert np.linalg.norm(result.low_rank - L) < accuracy * np.linalg.norm(L)
    assert_allclose(result.sparse[3, 4], size, rtol=1e-6)


@pytest.mark.parametrize(("dtype", "size"), [("f8", 1.7e308), ("f4", 3e38)])
def test_errors_beyond_the_range_of_the_numbers_are_refused(decompose, problem, dtype, size):
    D = problem[0].astype(dtype)
    D[::6, ::5] = size
    with pytest.raises(ValueError, match="too many orders of magnitude"):
        decompose(D, 3)


def test_a_mask_of_the_array_itself_is_not_lost(decompose, problem):
    D, L = problem
    masked = np.ma.masked_array(D, mask=np.abs(D - L) > 1)
    with pytest.raises(TypeError, match="got a masked array"):
        decompose(masked, 3)
    unmasked = np.ma.masked_array(D, mask=np.zeros(D.shape, dtype=bool))
    assert_allclose(decompose(unmasked, 3).low_rank, decompose(D, 3).low_rank)


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_iterations_are_counted_in_integers(decompose, problem, value, error):
    with pytest.raises(error, match="max_iter must be"):
        decompose(problem[0], 3, max_iter=value)


@pytest.mark.parametrize(("name", "solver"), [("gamma", "accaltproj"), ("decay", "scaledgd")])
def test_rates_are_numbers(problem, name, solver):
    with pytest.raises(TypeError, match=f"{name} must be a real number"):
        SOLVERS[solver][0](problem[0], 3, **{name: "fast"})


def test_rounds_of_the_projection_are_integers(problem):
    with pytest.raises(ValueError, match="n_power must be an integer"):
        godec(problem[0], 3, card=10, n_power=1.5)


def test_first_threshold_is_that_of_the_whole_matrix():
    # Whatever is observed of a constant matrix, its spectral norm is that of all entries.
    D = np.ones((200, 100))
    observed = np.random.default_rng(0).random(D.shape) < 0.5
    data = prepare(D, observed)
    for multiple in (0.01, 0.5):
        expected = multiple * np.sqrt(200 * 100)
        assert_allclose(first_threshold(data, multiple, np.inf), expected, rtol=0.02)
    assert first_threshold(data, 1.0, 0.3) == 0.3
    # A cap above the lower bound of the norm, and below the norm.
    assert first_threshold(data, 1.0, 20.0) == 20.0
    assert_allclose(first_threshold(data, 1.0, 1e6), np.sqrt(200 * 100), rtol=0.02)


@pytest.mark.parametrize("name", ["small_residual", "clipped_residual", "outliers_beyond"])
def test_passes_are_the_array_expressions(name):
    rng = np.random.default_rng(0)
    data, low = rng.standard_normal((2, 30, 20))
    data[rng.random(data.shape) < 0.1] = np.nan
    more = (0.5, np.empty_like(data)) if name == "outliers_beyond" else ()
    loop, expression = getattr(known_rank, name), getattr(known_rank_arrays, name)
    found, expected = loop(data, low.copy(), 0.7, *more), expression(data, low, 0.7, *more)
    if name == "outliers_beyond":
        found, expected = (found,), (expected,)
    for one, other in zip(found, expected, strict=True):
        assert_allclose(one, other, rtol=1e-12)


def test_directions_of_no_size_are_nobodys():
    rng = np.random.default_rng(0)
    U = np.linalg.qr(np.column_stack([rng.standard_normal(60), np.eye(60)[7]]))[0]
    Vt = np.linalg.qr(rng.standard_normal((50, 2)))[0].T
    S = np.zeros((60, 50))
    S[3, 4] = 1.0
    for size, doubtful in ((0.0, False), (1e-9, False), (1.0, True)):
        low = LowRankMatrix(U, np.array([30.0, size]), Vt)
        dense = low.to_dense()
        doubt = doubts(prepare(dense + S), low, dense, S)
        assert (doubt is not None) == doubtful
