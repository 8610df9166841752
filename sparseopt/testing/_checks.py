"""Checks beyond scikit-learn's: memory layouts, dtypes, pickling, all-or-nothing fits.

A check is a function ``check(name, estimator)`` that raises ``AssertionError``. Each
works on a clone, on small data that suits the kind of estimator (its tags say whether
it needs a target, accepts sparse input, and so on).
"""

import importlib
import inspect
import pickle
import tempfile
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, clone
from sklearn.utils import get_tags
from sklearn.utils._testing import assert_allclose, ignore_warnings
from sklearn.utils.estimator_checks import check_estimator

import sparseopt
from sparseopt._core import accepts_complex


def all_estimators():
    """Return ``(name, class)`` of every public estimator, sorted by name.

    New estimators are found by themselves, through the ``__all__`` of the sub-packages: they
    are the classes that can be fitted. Priors and the like, which have parameters but no data,
    are none.

    Examples
    --------
    >>> from sparseopt.testing import all_estimators
    >>> "WeightedLasso" in dict(all_estimators())
    True
    """
    found = {}
    for package in sparseopt._SUBPACKAGES:
        module = importlib.import_module(f"sparseopt.{package}")
        for name in module.__all__:
            value = getattr(module, name)
            if not inspect.isclass(value) or not issubclass(value, BaseEstimator):
                continue
            if hasattr(value, "fit"):
                found[name] = value
    return sorted(found.items())


def expected_failed_checks(estimator):
    """Return the checks of scikit-learn that an estimator cannot pass, with the reasons.

    Parameters
    ----------
    estimator : estimator instance
        Of any kind.

    Returns
    -------
    reasons : dict of str to str
        For ``sklearn.utils.estimator_checks``; empty for most estimators.

    Examples
    --------
    >>> from sparseopt.linear_model import WeightedLasso
    >>> from sparseopt.testing import expected_failed_checks
    >>> expected_failed_checks(WeightedLasso())
    {}
    """
    if type(estimator).__name__ == "GraphLabelPropagation":
        return {
            "check_classifiers_classes": "uses the classes -1 and 1, while -1 marks unlabelled "
            "samples; scikit-learn exempts its own semi-supervised classifiers by name"
        }
    if type(estimator).__name__ in ("CoLiDE", "CoLiDECV"):
        return {
            "check_sample_weight_equivalence_on_dense_data": "weighted sums round differently, so "
            "that fits agree to their tolerance, which is coarser than the check's"
        }
    if type(estimator).__name__ == "SparseObjectSegmenter":
        reason = "score needs masks in the shape of X, not one label a sample"
        checks = "check_fit_score_takes_y", "check_pipeline_consistency", "check_array_api_input"
        return dict.fromkeys(checks, reason)
    if accepts_complex(estimator):
        return {"check_complex_data": "complex data are not refused but fitted: complex_checks"}
    return {}


def check_sparseopt_estimator(estimator):
    """Run scikit-learn's estimator checks and this library's on an instance.

    Parameters
    ----------
    estimator : estimator instance
        Unfitted; it is cloned.

    Raises
    ------
    AssertionError
        At the first failing check.

    Examples
    --------
    >>> from sparseopt.preprocessing import OrthogonalPolynomialFeatures
    >>> from sparseopt.testing import check_sparseopt_estimator
    >>> check_sparseopt_estimator(OrthogonalPolynomialFeatures())
    """
    from sparseopt.testing._complex_checks import complex_checks  # which needs this module

    check_estimator(estimator, expected_failed_checks=expected_failed_checks(estimator))
    for check in [*estimator_checks(estimator), *complex_checks(estimator)]:
        check(type(estimator).__name__, estimator)


def estimator_checks(estimator):
    """Return this library's checks that apply to ``estimator``, as functions.

    Parameters
    ----------
    estimator : estimator instance
        Its tags select the checks.

    Returns
    -------
    checks : list of callable
        Each is called as ``check(name, estimator)``.

    Examples
    --------
    >>> from sparseopt.linear_model import WeightedLasso
    >>> from sparseopt.testing import estimator_checks
    >>> estimator_checks(WeightedLasso())[0].__name__
    'check_read_only_input'
    """
    tags = get_tags(estimator)
    checks = [
        check_read_only_input,
        check_memory_mapped_input,
        check_float32_is_kept,
        check_non_contiguous_input,
        check_pickle_round_trip,
        check_failed_fit_changes_nothing,
        check_docstring_is_complete,
    ]
    if tags.input_tags.two_d_array:  # tables, not tensors
        checks += [
            check_feature_order_does_not_matter,
            check_dataframe_input,
            check_wrong_input_is_refused,
        ]
        if tags.input_tags.sparse:
            checks.append(check_sparse_layouts_agree)
        if tags.transformer_tags is not None:
            checks.append(check_dataframe_output)
    if "n_jobs" in estimator.get_params():
        checks.append(check_n_jobs_does_not_matter)
    if hasattr(estimator, "set_callbacks"):
        checks.append(check_callbacks_are_called)
    return checks


def parametrize_with_checks(estimators):
    """Return a pytest decorator that runs this library's checks on ``estimators``.

    The test function receives ``estimator`` and ``check``; scikit-learn's decorator of
    the same name covers scikit-learn's own checks.

    Parameters
    ----------
    estimators : iterable of estimator instances
        What to check.

    Returns
    -------
    decorator : callable
        Made by :func:`pytest.mark.parametrize`.

    Examples
    --------
    >>> from sparseopt.linear_model import WeightedLasso
    >>> from sparseopt.testing import parametrize_with_checks
    >>> @parametrize_with_checks([WeightedLasso(), WeightedLasso(positive=True)])
    ... def test_estimator(estimator, check):
    ...     check(type(estimator).__name__, estimator)
    """
    import pytest

    cases = [
        pytest.param(estimator, check, id=f"{type(estimator).__name__}-{check.__name__}")
        for estimator in estimators
        for check in estimator_checks(estimator)
    ]
    return pytest.mark.parametrize(("estimator", "check"), cases)


# -- data and comparison ---------------------------------------------------------------


def _make_data(estimator, *, dtype=np.float64):
    """Return X in (-1, 1), or (0, 1) where masses are meant, and y for the kind of estimator.

    An estimator whose tags refuse two-dimensional arrays gets a tensor.
    """
    rng = np.random.default_rng(0)
    if not get_tags(estimator).input_tags.two_d_array:  # a cubic tensor, which has no target
        planted = np.full((6, 6, 6), 3.0) + rng.standard_normal((6, 6, 6))
        return planted.astype(dtype), np.zeros(6, dtype)
    X = rng.uniform(-0.9, 0.9, (40, 6)).astype(dtype)
    if get_tags(estimator).input_tags.positive_only:
        X = np.abs(X)
    y = X @ np.array([30.0, 0.0, -20.0, 0.0, 0.0, 10.0]) + rng.standard_normal(40)
    if get_tags(estimator).classifier_tags is not None:
        return X, (y > 0).astype(int)
    return X, y.astype(dtype)


def _fit(estimator, X, y):
    with ignore_warnings():
        return clone(estimator).fit(X, y)


def _output(fitted, X):
    """Return what the fitted estimator says of X: predictions or transformed data."""
    method = "predict" if hasattr(fitted, "predict") else "transform"
    output = getattr(fitted, method)(X)
    return output.toarray() if sparse.issparse(output) else np.asarray(output)


def _assert_same_output(estimator, X, y, *, other_X, other_y=None, rtol=1e-6):
    expected = _output(_fit(estimator, X, y), X)
    actual = _output(_fit(estimator, other_X, y if other_y is None else other_y), other_X)
    assert_allclose(actual, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


def _assert_refuses(fit, X, y, complaint):
    try:
        with ignore_warnings():
            fit(X, y)
    except (ValueError, TypeError):
        return
    raise AssertionError(complaint)


# -- the checks -----------------------------------------------------------------------


def check_read_only_input(name, estimator):
    """Check that fitting works on arrays that may not be written to."""
    X, y = _make_data(estimator)
    frozen_X, frozen_y = X.copy(), y.copy()
    frozen_X.setflags(write=False)
    frozen_y.setflags(write=False)
    _assert_same_output(estimator, X, y, other_X=frozen_X, other_y=frozen_y)
    if get_tags(estimator).input_tags.sparse and X.ndim == 2:
        frozen = sparse.csc_array(X)
        for part in (frozen.data, frozen.indices, frozen.indptr):
            part.setflags(write=False)
        _assert_same_output(estimator, X, y, other_X=frozen, other_y=frozen_y)


def check_memory_mapped_input(name, estimator):
    """Check that fitting works on memory maps, which joblib hands to its workers."""
    X, y = _make_data(estimator)
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "X.npy", X)
        np.save(Path(folder) / "y.npy", y)
        mapped_X = np.load(Path(folder) / "X.npy", mmap_mode="r")
        mapped_y = np.load(Path(folder) / "y.npy", mmap_mode="r")
        _assert_same_output(estimator, X, y, other_X=mapped_X, other_y=mapped_y)


def check_float32_is_kept(name, estimator):
    """Check that float32 gives float32 coefficients or output, close to float64's."""
    X, y = _make_data(estimator, dtype=np.float32)
    fitted = _fit(estimator, X, y)
    if hasattr(fitted, "coef_"):
        assert fitted.coef_.dtype == np.float32, f"{name}: coef_ is {fitted.coef_.dtype}"
    else:
        is_classifier = get_tags(estimator).classifier_tags is not None
        output = fitted.predict_proba(X) if is_classifier else _output(fitted, X)
        if output.dtype == bool:  # masks
            output = fitted.decision_function(X)
        assert output.dtype == np.float32, f"{name}: output is {output.dtype}"
    _assert_same_output(
        estimator, X.astype(np.float64), y.astype(np.float64), other_X=X, other_y=y, rtol=1e-2
    )


def check_non_contiguous_input(name, estimator):
    """Check that strided views and both memory orders give the same fit."""
    X, y = _make_data(estimator)
    wide = np.repeat(X, 2, axis=1)[:, ::2]
    reversed_rows = np.ascontiguousarray(X[::-1])[::-1]
    strided_y = np.repeat(y, 3)[::3]
    for view in (wide, reversed_rows, np.asfortranarray(X)):
        _assert_same_output(estimator, X, y, other_X=view, other_y=strided_y)


def check_feature_order_does_not_matter(name, estimator):
    """Check that a linear model's coefficients follow their features under a permutation."""
    X, y = _make_data(estimator)
    fitted = _fit(estimator, X, y)
    if not hasattr(fitted, "coef_"):
        return
    order = np.array([4, 0, 5, 2, 1, 3])
    permuted = _fit(estimator, X[:, order], y)
    assert_allclose(permuted.coef_, fitted.coef_[..., order], rtol=1e-5, atol=1e-5)


def check_sparse_layouts_agree(name, estimator):
    """Check that every sparse container and index width equals the dense fit."""
    X, y = _make_data(estimator)
    X[np.abs(X) < 0.3] = 0
    for make in (sparse.csr_array, sparse.csc_array, sparse.csr_matrix, sparse.csc_matrix):
        for index_dtype in (np.int32, np.int64):
            S = make(X)
            S.indices = S.indices.astype(index_dtype)
            S.indptr = S.indptr.astype(index_dtype)
            _assert_same_output(estimator, X, y, other_X=S, rtol=1e-5)


def check_pickle_round_trip(name, estimator):
    """Check that a fitted estimator predicts the same after pickling."""
    X, y = _make_data(estimator)
    fitted = _fit(estimator, X, y)
    restored = pickle.loads(pickle.dumps(fitted))
    assert_allclose(_output(restored, X), _output(fitted, X))


def check_dataframe_input(name, estimator):
    """Check that a DataFrame fits as its values do, and that its names are kept."""
    import pandas as pd

    X, y = _make_data(estimator)
    frame = pd.DataFrame(X, columns=[f"feature {i}" for i in range(X.shape[1])])
    fitted = _fit(estimator, frame, pd.Series(y))
    assert list(fitted.feature_names_in_) == list(frame.columns)
    assert_allclose(_output(fitted, frame), _output(_fit(estimator, X, y), X))


def check_dataframe_output(name, estimator):
    """Check that a transformer returns a named DataFrame when asked to."""
    X, y = _make_data(estimator)
    fitted = clone(estimator).set_output(transform="pandas").fit(X, y)
    frame = fitted.transform(X)
    assert list(frame.columns) == list(fitted.get_feature_names_out())


def check_failed_fit_changes_nothing(name, estimator):
    """Check that a fit that raises leaves an estimator as it was, fitted or not."""
    X, y = _make_data(estimator)
    spoiled = X.copy()
    spoiled[0, 0] = np.inf if get_tags(estimator).input_tags.allow_nan else np.nan
    for start in (clone(estimator), _fit(estimator, X, y)):
        before = vars(start).copy()
        _assert_refuses(start.fit, spoiled[:, :4], y, f"{name} accepted {spoiled[0, 0]} in X")
        after = vars(start)
        assert after.keys() == before.keys(), f"{name}: {after.keys() ^ before.keys()}"
        assert all(after[key] is before[key] for key in before)


def check_wrong_input_is_refused(name, estimator):
    """Check that data which no fit can use raises ValueError or TypeError."""
    X, y = _make_data(estimator)
    table = {
        "infinite X": (np.where(X > 0.85, np.inf, X), y),
        "one-dimensional X": (X[:, 0], y),
        "three-dimensional X": (X[None], y),
        "no rows": (X[:0], y[:0]),
        "no columns": (X[:, :0], y),
        "text": (np.full(X.shape, "a"), y),
    }
    if get_tags(estimator).input_tags.three_d_array:
        del table["three-dimensional X"]
    if not accepts_complex(estimator):
        table["complex X"] = (X * 1j, y)
    if get_tags(estimator).target_tags.required:
        table |= {
            "no target": (X, None),
            "NaN in y": (X, np.where(np.arange(len(y)) == 3, np.nan, y)),
            "lengths that differ": (X, y[:-1]),
        }
    for case, (bad_X, bad_y) in table.items():
        _assert_refuses(clone(estimator).fit, bad_X, bad_y, f"{name} accepted {case}")


def check_n_jobs_does_not_matter(name, estimator):
    """Check that the fit with two workers equals the serial one."""
    X, y = _make_data(estimator)
    serial = _fit(clone(estimator).set_params(n_jobs=1), X, y)
    parallel = _fit(clone(estimator).set_params(n_jobs=2), X, y)
    assert_allclose(_output(parallel, X), _output(serial, X))


class _Recorder:
    """A scikit-learn callback that counts hooks, and stops the fit when told to."""

    def __init__(self, stop=False):
        self.stop = stop
        self.begun = self.ended = 0
        self.is_torn_down = False

    def setup(self, estimator, context):
        self.is_torn_down = False

    def on_fit_task_begin(self, estimator, context):
        self.begun += 1

    def on_fit_task_end(self, estimator, context):
        self.ended += 1
        return self.stop

    def teardown(self, estimator, context):
        self.is_torn_down = True


def check_callbacks_are_called(name, estimator):
    """Check that every task that begins ends, and that a callback can stop the fit."""
    X, y = _make_data(estimator)
    recorder = _Recorder()
    with ignore_warnings():
        clone(estimator).set_callbacks(recorder).fit(X, y)
    assert recorder.is_torn_down
    assert recorder.begun == recorder.ended
    assert recorder.begun >= 2, f"{name} reports {recorder.begun} task(s)"
    stopping = clone(estimator).set_callbacks(_Recorder(stop=True))
    with ignore_warnings():
        stopping.fit(X, y)
    assert np.all(np.isfinite(_output(stopping, X)))


def check_docstring_is_complete(name, estimator):
    """Check that the docstring names every parameter and fitted attribute."""
    documentation = inspect.getdoc(type(estimator)) or ""
    for section in ("Parameters", "Attributes", "Examples"):
        assert f"{section}\n---" in documentation, f"{name}: no section {section}"
    X, y = _make_data(estimator)
    fitted = _fit(estimator, X, y)
    public = [key for key in vars(fitted) if key.endswith("_") and not key.startswith("_")]
    optional = ["feature_names_in_"] if hasattr(fitted, "feature_names_in_") else []
    for word in [*estimator.get_params(deep=False), *public, *optional]:
        assert f"\n{word} :" in documentation, f"{name}: {word} is not documented"
