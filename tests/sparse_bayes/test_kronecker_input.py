"""What estimators with Kronecker-structured dictionaries say of data that they cannot take."""

import numpy as np
import pytest

from sparseopt.sparse_bayes import KroneckerDictionary, KroneckerOMP, KroneckerSBL
from sparseopt.sparse_bayes._kronecker_omp_function import kronecker_omp
from sparseopt.sparse_bayes._kronecker_sbl_function import kronecker_sbl

rng = np.random.default_rng(0)
A, B = rng.standard_normal((4, 5)), rng.standard_normal((3, 6))
Y = rng.standard_normal((4, 3))
MASKED = np.ma.masked_greater(B, 0)


@pytest.mark.parametrize("model", [KroneckerSBL("am"), KroneckerOMP()])
@pytest.mark.parametrize(
    ("second", "error", "message"),
    [
        (B[:, 0], ValueError, r"factor 1 must be a non-empty matrix, got shape \(3,\)"),
        ([1.0, 2.0, 3.0], ValueError, r"factor 1 must be a non-empty matrix, got shape \(3,\)"),
        ([[1.0, 2.0], [3.0]], ValueError, "factor 1 must be a matrix, got lists of different"),
        (3.0, ValueError, r"factor 1 must be a non-empty matrix, got shape \(\)"),
        (None, ValueError, "factor 1 must be a non-empty matrix"),
        (B.astype(str), ValueError, "factor 1 must hold numbers"),
        (MASKED, TypeError, "factor 1 must have no mask"),
    ],
)
def test_a_bad_factor_is_named(model, second, error, message):
    with pytest.raises(error, match=message):
        model.fit([A, second], Y)
    with pytest.raises(error, match=message):
        KroneckerDictionary([A, second])


@pytest.mark.parametrize("function", [kronecker_sbl, kronecker_omp])
def test_masks_are_refused_by_functions(function):
    with pytest.raises(TypeError, match="factor 1 must have no mask"):
        function([A, MASKED], Y)
    with pytest.raises(TypeError, match="y must have no mask"):
        function([A, B], np.ma.masked_greater(Y, 0))


@pytest.mark.parametrize("model", [KroneckerSBL("am"), KroneckerOMP()])
def test_masks_of_matrices_are_refused(model):
    with pytest.raises(TypeError, match="X must have no mask"):
        model.fit(MASKED, Y[0])
    with pytest.raises(TypeError, match="y must have no mask"):
        model.fit(B, np.ma.masked_greater(Y[0], 0))
    with pytest.raises(TypeError, match="X must have no mask"):
        model.fit(B, Y[0]).predict(MASKED)


def test_nested_lists_are_factors_or_a_matrix():
    model = KroneckerOMP(1).fit([A, B], Y)
    from_lists = KroneckerOMP(1).fit([A.tolist(), B.tolist()], Y.tolist())
    assert np.array_equal(from_lists.coef_, model.coef_)
    assert np.array_equal(from_lists.predict([A.tolist(), B]), model.predict([A, B]))
    assert KroneckerOMP(1).fit(A.tolist(), Y[:, 0]).coef_.shape == (5,)
    assert KroneckerOMP(1).fit(list(A), Y[:, 0]).coef_.shape == (5,)


@pytest.mark.parametrize("factors", [[A, B], [A, 1j * B]])
def test_score_takes_the_layouts_of_measurements_only(factors):
    model = KroneckerOMP(2).fit(factors, Y)
    flat = model.score(factors, Y.ravel())
    assert model.score(factors, Y.tolist()) == flat
    for wrong in (Y.T, Y.ravel()[:, None], Y[None], Y[:2]):
        with pytest.raises(ValueError, match=r"y must have the shape \(12,\) or \(4, 3\), got"):
            model.score(factors, wrong)
    with pytest.raises(TypeError, match="y must have no mask"):
        model.score(factors, np.ma.masked_greater(Y, 0))


def test_score_of_several_targets():
    targets = np.stack([Y, -2 * Y], axis=-1)
    model = KroneckerOMP(2).fit([A, B], targets.reshape(12, 2))
    assert model.score([A, B], targets) == model.score([A, B], targets.reshape(12, 2))
    with pytest.raises(ValueError, match=r"\(12, 2\) or \(4, 3, 2\), got \(24,\)"):
        model.score([A, B], targets.ravel())


@pytest.mark.parametrize("coupling", [True, np.True_, [None, True], [None, "strong"]])
def test_coupling_must_be_a_number_or_a_matrix(coupling):
    with pytest.raises(ValueError, match="pattern_coupling"):
        KroneckerSBL("am", pattern_coupling=coupling).fit([A, B], Y)


@pytest.mark.parametrize("name", ["prune_tol", "prune_floor"])
def test_shares_must_be_numbers(name):
    with pytest.raises(ValueError, match=f"{name} must hold finite numbers"):
        kronecker_sbl([A, B], Y, **{name: True})


@pytest.mark.parametrize("coupling", [1e200, [np.diag([1e-300, 1, 1, 1, 1]), None]])
def test_couplings_out_of_range_are_refused(coupling):
    with pytest.raises(ValueError, match="pattern_coupling must be 0 or between"):
        KroneckerSBL("am", pattern_coupling=coupling).fit([A, B], Y)
