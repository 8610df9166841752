"""Checks for complex data: of the estimators that take it, and of those that must refuse it.

scikit-learn's checks know complex data only as something to refuse. An estimator that declares
complex support passes them on real data, and these on complex data.
"""

import inspect
import pickle

import numpy as np
from sklearn.base import clone
from sklearn.utils import get_tags
from sklearn.utils._testing import assert_allclose, ignore_warnings

from sparseopt._core import accepts_complex
from sparseopt.testing._checks import _assert_refuses, _fit, _make_data, _output


def complex_checks(estimator):
    """Return the checks with complex data that apply to ``estimator``, as functions.

    Parameters
    ----------
    estimator : estimator instance
        Its tags tell whether it takes complex data.

    Returns
    -------
    checks : list of callable
        Each is called as ``check(name, estimator)``. An estimator for real data has one, that it
        refuses complex data and says why.

    Examples
    --------
    >>> from sparseopt.linear_model import WeightedLasso
    >>> from sparseopt.testing import complex_checks
    >>> [check.__name__ for check in complex_checks(WeightedLasso())]
    ['check_complex_data_is_refused']
    """
    if not accepts_complex(estimator):
        return [check_complex_data_is_refused]
    checks = [
        check_real_data_cast_to_complex,
        check_complex64_is_kept,
        check_complex_layouts_agree,
        check_complex_pickle_round_trip,
        check_refit_on_real_data,
        check_complex_values_that_are_not_finite,
    ]
    if not get_tags(estimator).target_tags.required:
        return [*checks, check_conjugate_of_rows]
    checks += [
        check_complex_data_is_fitted,
        check_real_beside_complex,
        check_phase_and_conjugate,
        check_unitary_mixture_of_rows,
    ]
    if get_tags(estimator).target_tags.multi_output:
        checks.append(check_complex_targets)
    if "sample_weight" in inspect.signature(estimator.fit).parameters:
        checks.append(check_complex_sample_weight)
    if hasattr(estimator, "score"):
        checks.append(check_complex_score)
    return checks


def parametrize_with_complex_checks(estimators):
    """Return a pytest decorator that runs the checks with complex data on ``estimators``.

    The test function receives ``estimator`` and ``check``, as with
    :func:`parametrize_with_checks`.

    Parameters
    ----------
    estimators : iterable of estimator instances
        What to check; also those that take real data only.

    Returns
    -------
    decorator : callable
        Made by :func:`pytest.mark.parametrize`.

    Examples
    --------
    >>> from sparseopt.linear_model import WeightedLasso
    >>> from sparseopt.testing import parametrize_with_complex_checks
    >>> @parametrize_with_complex_checks([WeightedLasso()])
    ... def test_complex_data(estimator, check):
    ...     check(type(estimator).__name__, estimator)
    """
    import pytest

    cases = [
        pytest.param(estimator, check, id=f"{type(estimator).__name__}-{check.__name__}")
        for estimator in estimators
        for check in complex_checks(estimator)
    ]
    return pytest.mark.parametrize(("estimator", "check"), cases)


# -- data and comparison ---------------------------------------------------------------


def _make_complex_data(*, dtype=np.complex128):
    """Return X and y = X w + a little noise, all complex; one feature explains most of y."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-0.9, 0.9, (40, 6)) + 1j * rng.uniform(-0.9, 0.9, (40, 6))
    coef = np.array([30 - 10j, 0, -3j, 0, 0, 2 + 1j])
    noise = rng.standard_normal(40) + 1j * rng.standard_normal(40)
    return X.astype(dtype), (X @ coef + 0.5 * noise).astype(dtype)


def _assert_close(actual, expected, rtol=1e-6):
    assert_allclose(actual, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


# -- estimators that take complex data --------------------------------------------------


def check_complex_data_is_fitted(name, estimator):
    """Check that complex data are fitted well, and that what is said of them is complex."""
    X, y = _make_complex_data()
    fitted = _fit(estimator, X, y)
    output = _output(fitted, X)
    assert output.dtype == np.complex128, f"{name}: output is {output.dtype}"
    assert output.shape == y.shape, f"{name}: output has shape {output.shape}"
    error = np.linalg.norm(output - y) / np.linalg.norm(y - y.mean())
    assert error < 0.2, f"{name}: relative error {error:.2g}"
    if hasattr(fitted, "coef_"):
        assert fitted.coef_.dtype == np.complex128, f"{name}: coef_ is {fitted.coef_.dtype}"


def check_real_data_cast_to_complex(name, estimator):
    """Check that real data in a complex dtype give the fit of real data."""
    X, y = _make_data(estimator)
    real, cast = _fit(estimator, X, y), _fit(estimator, X.astype(complex), y.astype(complex))
    assert _output(real, X).dtype == np.float64
    assert _output(cast, X).dtype == np.complex128
    _assert_close(_output(cast, X), _output(real, X))
    if hasattr(real, "coef_"):
        _assert_close(cast.coef_, real.coef_)


def check_real_beside_complex(name, estimator):
    """Check that X or y may be complex alone, and that a complex model takes real rows."""
    X, y = _make_complex_data()
    for this_X, this_y in ((X.real, y), (X, y.real)):
        mixed = _output(_fit(estimator, this_X, this_y), this_X)
        cast = _fit(estimator, this_X.astype(complex), this_y.astype(complex))
        assert mixed.dtype == np.complex128, f"{name}: output is {mixed.dtype}"
        _assert_close(mixed, _output(cast, this_X))
    fitted = _fit(estimator, X, y)
    _assert_close(_output(fitted, X.real), _output(fitted, X.real.astype(complex)))


def check_complex64_is_kept(name, estimator):
    """Check that complex64 gives complex64 coefficients or output, close to complex128's."""
    X, y = _make_complex_data(dtype=np.complex64)
    fitted = _fit(estimator, X, y)
    kept = fitted.coef_ if hasattr(fitted, "coef_") else _output(fitted, X)
    assert kept.dtype == np.complex64, f"{name}: {kept.dtype} from complex64"
    assert _output(fitted, X).dtype == np.complex64, f"{name}: {_output(fitted, X).dtype}"
    double = _fit(estimator, X.astype(np.complex128), y.astype(np.complex128))
    _assert_close(_output(fitted, X), _output(double, X.astype(np.complex128)), rtol=1e-2)


def check_phase_and_conjugate(name, estimator):
    """Check that a turned target turns the output, and that conjugate data conjugate it."""
    X, y = _make_complex_data()
    output = _output(_fit(estimator, X, y), X)
    turn = np.exp(0.7j)
    _assert_close(_output(_fit(estimator, X, turn * y), X), turn * output)
    conjugate = _output(_fit(estimator, X.conj(), y.conj()), X.conj())
    _assert_close(conjugate, output.conj())


def check_conjugate_of_rows(name, estimator):
    """Check that conjugate data conjugate the output of a transformer."""
    X, _ = _make_complex_data()
    output = _output(_fit(estimator, X, None), X)
    assert output.dtype == np.complex128, f"{name}: output is {output.dtype}"
    conjugate = _output(_fit(estimator, X.conj(), None), X.conj())
    _assert_close(conjugate, output.conj())


def check_unitary_mixture_of_rows(name, estimator):
    """Check that a unitary matrix before X and y changes nothing, without an intercept.

    A transpose where the conjugate transpose is meant fits well, and fails here. What is scaled
    by the variance of y may change a little.
    """
    X, y = _make_complex_data()
    rng = np.random.default_rng(1)
    Q, _ = np.linalg.qr(rng.standard_normal((40, 40)) + 1j * rng.standard_normal((40, 40)))
    if "fit_intercept" in estimator.get_params():
        estimator = clone(estimator).set_params(fit_intercept=False)
    mixed = _output(_fit(estimator, Q @ X, Q @ y), X)
    _assert_close(mixed, _output(_fit(estimator, X, y), X), rtol=1e-2)


def check_complex_layouts_agree(name, estimator):
    """Check that read-only, strided and Fortran-ordered complex input give the same fit."""
    X, y = _make_complex_data()
    expected = _output(_fit(estimator, X, y), X)
    frozen = X.copy()
    frozen.setflags(write=False)
    wide = np.repeat(X, 2, axis=1)[:, ::2]
    strided_y = np.repeat(y, 3)[::3]
    for view in (frozen, wide, np.asfortranarray(X), X.conj().T.conj().T):
        before = view.copy(), strided_y.copy()
        _assert_close(_output(_fit(estimator, view, strided_y), view), expected)
        assert np.array_equal(view, before[0]), f"{name} changes X"
        assert np.array_equal(strided_y, before[1]), f"{name} changes y"


def check_complex_pickle_round_trip(name, estimator):
    """Check that a model of complex data predicts the same after pickling."""
    X, y = _make_complex_data()
    fitted = _fit(estimator, X, y)
    assert_allclose(_output(pickle.loads(pickle.dumps(fitted)), X), _output(fitted, X))


def check_refit_on_real_data(name, estimator):
    """Check that nothing of a complex fit is left in a later fit on real data."""
    X, y = _make_data(estimator)
    used = _fit(estimator, *_make_complex_data())
    with ignore_warnings():
        used.fit(X, y)
    output = _output(used, X)
    assert output.dtype == np.float64, f"{name}: output is {output.dtype}"
    assert_allclose(output, _output(_fit(estimator, X, y), X))


def check_complex_values_that_are_not_finite(name, estimator):
    """Check that NaN and infinity are refused in either part, and leave the model as it was."""
    X, y = _make_complex_data()
    start = _fit(estimator, X, y)
    before = vars(start).copy()
    for value in (complex(0, np.nan), complex(np.nan, 0), complex(0, np.inf)):
        bad_X, bad_y = X.copy(), y.copy()
        bad_X[3, 1] = bad_y[3] = value
        _assert_refuses(start.fit, bad_X, y, f"{name} accepted {value} in X")
        if get_tags(estimator).target_tags.required:
            _assert_refuses(start.fit, X, bad_y, f"{name} accepted {value} in y")
        _assert_refuses(lambda X, _: _output(start, X), bad_X, None, f"{name} takes {value}")
    after = vars(start)
    assert after.keys() == before.keys(), f"{name}: {after.keys() ^ before.keys()}"
    assert all(after[key] is before[key] for key in before)


def check_complex_targets(name, estimator):
    """Check that several complex targets are fitted together."""
    X, y = _make_complex_data()
    Y = np.stack([y, 1j * y], axis=1)
    output = _output(_fit(estimator, X, Y), X)
    assert output.shape == Y.shape, f"{name}: output has shape {output.shape}"
    assert output.dtype == np.complex128, f"{name}: output is {output.dtype}"
    _assert_close(output[:, 1], 1j * output[:, 0])
    assert np.linalg.norm(output - Y) < 0.2 * np.linalg.norm(Y)


def check_complex_sample_weight(name, estimator):
    """Check that integer weights equal repeated rows, and that weight 0 removes them."""
    X, y = _make_complex_data()
    weight = np.arange(len(y)) % 3
    with ignore_warnings():
        weighted = clone(estimator).fit(X, y, sample_weight=weight)
    repeated = _fit(estimator, np.repeat(X, weight, axis=0), np.repeat(y, weight))
    _assert_close(_output(weighted, X), _output(repeated, X), rtol=1e-5)


def check_complex_score(name, estimator):
    """Check that the score of complex predictions is a real number, at most 1, near 1."""
    X, y = _make_complex_data()
    score = _fit(estimator, X, y).score(X, y)
    assert np.isrealobj(score), f"{name}: score is {score!r}"
    assert 0.9 < score <= 1, f"{name}: score is {score!r}"


# -- estimators that do not --------------------------------------------------------------


def check_complex_data_is_refused(name, estimator):
    """Check that complex data raise an error that names them, in fit and afterwards."""
    X, y = _make_data(estimator)
    _assert_names_complex(clone(estimator).fit, X * 1j, y)
    if get_tags(estimator).target_tags.required and get_tags(estimator).classifier_tags is None:
        _assert_names_complex(clone(estimator).fit, X, y * 1j)
    fitted = _fit(estimator, X, y)
    for method in ("predict", "transform", "predict_proba", "decision_function"):
        if hasattr(fitted, method):
            _assert_names_complex(getattr(fitted, method), X * 1j)


def _assert_names_complex(function, *data):
    message = None
    try:
        with ignore_warnings():
            function(*data)
    except (ValueError, TypeError) as error:
        message = str(error)
    assert message is not None, f"{function.__qualname__} accepted complex data"
    assert "complex" in message.lower(), f"the error does not name complex data: {message}"
