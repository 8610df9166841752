"""The iteration driver: counting, history, stopping, callbacks, guards."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from sparseopt._core import Progress, Status, iterate


class Halving:
    """A state whose certificate halves at each step."""

    def __init__(self, value=1.0):
        self.x = np.array([value])


def halve(state):
    state.x = state.x / 2
    return Progress(float(state.x[0]), float(state.x[0]))


def run(step=halve, state=None, **options):
    options = {"max_iter": 20, "tol": 1e-3, "method": "Halving"} | options
    return iterate(step, Halving() if state is None else state, **options)


def test_converges_and_records_history():
    result = run()
    assert result.success
    assert result.status == Status.CONVERGED
    assert result.nit == 10
    assert result.x == pytest.approx([2.0**-10])
    assert result.certificate <= 1e-3
    np.testing.assert_array_equal(result.history["iteration"], np.arange(1, 11))
    np.testing.assert_allclose(result.history["objective"], 2.0 ** -np.arange(1, 11))
    assert np.all(np.diff(result.history["time"]) >= 0)


def test_an_optimal_start_takes_no_step():
    result = run(initial=Progress(0.5, 0.0))
    assert result.nit == 0
    assert result.success
    assert result.x == [1.0]


def test_a_step_may_run_several_iterations():
    result = run(step=lambda state: halve(state)._replace(iterations=5), max_iter=100)
    assert result.nit == 50
    np.testing.assert_array_equal(result.history["iteration"], 5 * np.arange(1, 11))


def test_iteration_limit_warns_with_the_certificate_and_the_advice():
    with pytest.warns(ConvergenceWarning, match=r"duality gap 0.25 \(tolerance 0.001\)") as record:
        result = run(max_iter=2)
    assert "max_iter" in str(record[0].message)
    assert record[0].filename.endswith("test_iteration.py")
    assert not result.success
    assert result.status == Status.ITERATION_LIMIT


def test_callback_sees_each_iterate_and_stops_the_run():
    seen = []

    def callback(intermediate_result):
        seen.append((intermediate_result.nit, intermediate_result.fun))
        if intermediate_result.nit == 3:
            raise StopIteration

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = run(callback=callback)
    assert seen == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert result.status == Status.STOPPED_BY_CALLBACK
    assert result.x == [0.125]


def test_a_stop_at_the_solution_counts_as_convergence():
    def stop(x):
        raise StopIteration

    assert run(tol=0.6, callback=stop).status == Status.CONVERGED


def test_plain_callback_receives_a_copy():
    def spoil(x):
        x[:] = np.nan

    result = run(callback=spoil)
    assert result.success
    assert np.isfinite(result.x).all()


def test_other_exceptions_of_a_callback_reach_the_caller():
    def fail(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(callback=fail)


def test_non_finite_step_returns_the_best_finite_iterate():
    def step(state):
        state.x = state.x / 2
        if state.x[0] < 0.1:
            state.x = state.x * np.nan
        return Progress(float(state.x[0]), float(state.x[0]))

    with pytest.warns(ConvergenceWarning, match="non-finite"):
        result = run(step)
    assert result.status == Status.NON_FINITE
    assert result.x == [0.125]


def test_non_finite_start_raises():
    with pytest.raises(FloatingPointError, match="Halving"):
        run(initial=Progress(np.nan, np.nan))


def test_best_iterate_is_returned_when_the_certificate_rises():
    values = iter([0.5, 0.2, 0.7])

    def step(state):
        state.x = np.array([next(values)])
        return Progress(float(state.x[0]), float(state.x[0]))

    with pytest.warns(ConvergenceWarning):
        result = run(step, max_iter=3)
    assert result.x == [0.2]
    assert result.certificate == 0.2


def test_stalled_step_ends_the_run():
    def step(state):
        return Progress(1.0, 0.5, stalled=True)

    with pytest.warns(ConvergenceWarning, match="floating-point precision"):
        result = run(step)
    assert result.nit == 1
    assert result.status == Status.STALLED


def test_warning_can_be_left_to_the_caller():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = run(max_iter=1, warn=False)
    assert "did not converge" in result.message


def test_the_last_iterate_of_a_descent_is_the_best():
    certificates = iter([3.0, 2.0, 5.0])

    def step(state):
        state.x = state.x / 2
        return Progress(float(state.x[0]), next(certificates))

    for descends, expected in ((True, 0.125), (False, 0.25)):
        certificates = iter([3.0, 2.0, 5.0])
        result = run(step, max_iter=3, descends=descends, warn=False)
        assert result.x == [expected]
        assert result.certificate == (5.0 if descends else 2.0)
