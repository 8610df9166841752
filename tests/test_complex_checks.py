"""The checks for complex data pass on a right estimator, and fail on each kind of wrong one."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import Ridge
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from sparseopt._core import ComplexSupportMixin, accepts_complex, fitting
from sparseopt.linear_model import WeightedLasso
from sparseopt.testing import complex_checks, expected_failed_checks


def _finite(*arrays):
    for array in arrays:
        if not np.all(np.isfinite(array)):
            raise ValueError("data must be finite.")


class ComplexRidge(ComplexSupportMixin, RegressorMixin, BaseEstimator):
    """Ridge regression without intercept, for real and complex data; ``fault`` spoils it."""

    _parameter_constraints: dict = {}

    def __init__(self, fault=None):
        self.fault = fault

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    @fitting
    def fit(self, X, y, sample_weight=None):
        X, y = np.asarray(X), np.asarray(y)
        if self.fault == "state":
            self.n_fits_ = getattr(self, "n_fits_", 0) + 1
        if self.fault == "real part":
            X, y = X.real, y.real
        if self.fault == "forgets y" and np.isrealobj(X):
            y = y.real
        if self.fault == "double":
            X = X.astype(np.result_type(X, np.float64))
        if self.fault == "writes" and X.flags.writeable and np.iscomplexobj(X):
            X *= 1.0000001
        if self.fault == "accepts NaN":
            X, y = np.nan_to_num(X), np.nan_to_num(y)
        _finite(X, y)
        if sample_weight is not None and self.fault != "unweighted":
            root = np.sqrt(sample_weight).astype(X.real.dtype)
            X, y = X * root[:, None], (y.T * root).T
        adjoint = X.T if self.fault == "transpose" else X.conj().T
        penalty = 1e-3 * (1j if self.fault == "phase" and np.iscomplexobj(X) else 1)
        gram = adjoint @ X
        self.coef_ = np.linalg.solve(
            gram + penalty * np.eye(len(gram), dtype=gram.dtype), adjoint @ y
        ).T
        if self.fault == "remembers":
            self._dtype = getattr(self, "_dtype", self.coef_.dtype)
            self.coef_ = self.coef_.astype(self._dtype)
        if self.fault == "big":
            self.coef_ = self.coef_ + np.sign(self.coef_.real)
        if self.fault == "mixes targets":
            self.coef_ = self.coef_[::-1].copy() if self.coef_.ndim == 2 else self.coef_
        return self

    def predict(self, X):
        check_is_fitted(self)
        X = np.asarray(X)
        if self.fault != "accepts NaN":
            _finite(X)
        return X @ self.coef_.T

    def score(self, X, y):
        error = np.sum((self.predict(X) - y) ** 2) if self.fault == "score" else 0
        error = error or np.sum(np.abs(self.predict(X) - y) ** 2)
        return 1 - error / np.sum(np.abs(y - np.mean(y)) ** 2)

    def __getstate__(self):
        state = dict(super().__getstate__())
        if self.fault == "pickle" and "coef_" in state:
            state["coef_"] = state["coef_"].real
        return state


def _failed(estimator):
    failed = set()
    for check in complex_checks(estimator):
        try:
            check(type(estimator).__name__, estimator)
        except Exception:
            failed.add(check.__name__)
    return failed


def test_a_right_estimator_passes():
    assert _failed(ComplexRidge()) == set()
    assert len(complex_checks(ComplexRidge())) == 13


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("real part", "check_complex_data_is_fitted"),
        ("transpose", "check_unitary_mixture_of_rows"),
        ("phase", "check_phase_and_conjugate"),
        ("phase", "check_real_data_cast_to_complex"),
        ("big", "check_phase_and_conjugate"),
        ("forgets y", "check_real_beside_complex"),
        ("double", "check_complex64_is_kept"),
        ("writes", "check_complex_layouts_agree"),
        ("pickle", "check_complex_pickle_round_trip"),
        ("remembers", "check_refit_on_real_data"),
        ("accepts NaN", "check_complex_values_that_are_not_finite"),
        ("mixes targets", "check_complex_targets"),
        ("unweighted", "check_complex_sample_weight"),
        ("score", "check_complex_score"),
    ],
)
def test_a_wrong_estimator_fails(fault, check):
    assert check in _failed(ComplexRidge(fault))


class Careless(Ridge):
    """Drops imaginary parts instead of refusing them."""

    def fit(self, X, y, sample_weight=None):
        return super().fit(np.real(X), np.real(y), sample_weight)


def test_estimators_of_real_data_must_refuse():
    assert _failed(WeightedLasso()) == set()
    assert _failed(Ridge()) == set()
    assert _failed(Careless()) == {"check_complex_data_is_refused"}


def test_declaration():
    assert accepts_complex(ComplexRidge())
    assert not accepts_complex(Ridge())
    assert get_tags(ComplexRidge()).input_tags.two_d_array
    assert list(expected_failed_checks(ComplexRidge())) == ["check_complex_data"]
