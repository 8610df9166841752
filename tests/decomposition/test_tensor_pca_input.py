"""Tensor PCA refuses what it cannot use, and says which argument is wrong."""

from types import SimpleNamespace

import numpy as np
import pytest

from sparseopt.decomposition import FactoredTensor, TensorOperator, TensorPCA

Y3 = np.zeros((4, 4, 4))


def in_coordinates(Y):
    nonzero = np.nonzero(Y)
    return SimpleNamespace(coords=np.stack(nonzero), data=Y[nonzero], shape=Y.shape)


@pytest.mark.parametrize(
    ("Y", "message"),
    [
        (np.zeros(4), r"Y must have from 2 to 6 modes, got shape \(4,\)"),
        (np.zeros((2,) * 7), "Y must have from 2 to 6 modes"),
        (np.zeros((4, 4, 3)), r"Y must have modes of equal length, got shape \(4, 4, 3\)"),
        (np.zeros((1, 1)), "Y must have modes of length 2 or more"),
        (Y3 * 1j, "Y must be real. Complex data not supported"),
        (np.where(np.arange(4) == 1, np.nan, Y3), "Y must be finite"),
        (np.where(np.arange(4) == 1, np.inf, Y3), "Y must be finite"),
        (np.full((3, 3, 3), "a"), "Y must hold real numbers"),
        (in_coordinates(np.eye(3)[:2]), "Y must have modes of equal length"),
        (in_coordinates(np.ones(3)), "Y must have from 2 to 6 modes"),
        (FactoredTensor(np.ones((3, 1))), "Y must have modes of length 2 or more"),
    ],
)
def test_wrong_tensors(Y, message):
    with pytest.raises(ValueError, match=message):
        TensorPCA().fit(Y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kappa": 0.0}, "'kappa' parameter"),
        ({"kappa": -1.0}, "'kappa' parameter"),
        ({"step_size": 0.0}, "'step_size' parameter"),
        ({"step_size": 2.1}, "'step_size' parameter"),
        ({"burn_in": 100}, "burn_in must be below max_iter=100, got burn_in=100"),
        ({"burn_in": -1}, "'burn_in' parameter"),
        ({"max_iter": 0}, "'max_iter' parameter"),
        ({"n_chains": 0}, "'n_chains' parameter"),
        ({"n_init": 0}, "'n_init' parameter"),
        ({"n_components": 0}, "'n_components' parameter"),
        ({"n_components": 5}, "n_components must be at most the length of the modes, 4"),
        ({"temperature": 0.0}, "'temperature' parameter"),
        ({"noise_scale": 0.0}, "'noise_scale' parameter"),
        ({"noise_scale": "std"}, "'noise_scale' parameter"),
        ({"n_sign_flips": 18}, "n_sign_flips must be 0, or 19 or more"),
        ({"n_sign_flips": -1}, "'n_sign_flips' parameter"),
        ({"solver": "amp"}, "'solver' parameter"),
        ({"average": "second"}, "'average' parameter"),
        ({"tol": -1.0}, "'tol' parameter"),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        TensorPCA(**parameters).fit(Y3)


def test_solvers_that_need_entries():
    with pytest.raises(ValueError, match='solver="unfolding" needs a dense array'):
        TensorPCA(solver="unfolding").fit(FactoredTensor(np.ones((3, 4))))
    with pytest.raises(ValueError, match='solver="partial_trace" needs the partial trace'):
        TensorPCA(solver="partial_trace").fit(TensorOperator(lambda theta: theta, 4, 5))


def test_signs_of_an_operator_are_out_of_reach():
    with pytest.raises(ValueError, match="n_sign_flips must be 0 for a TensorOperator"):
        TensorPCA(n_sign_flips=19).fit(TensorOperator(lambda theta: theta, 4, 2))


def test_wrong_input_of_a_fitted_model():
    model = TensorPCA(random_state=0).fit(np.ones((30,) * 3))
    with pytest.raises(ValueError, match="Y must have 3 modes of length 30, as in fit, got 2"):
        model.transform(np.eye(30))
    with pytest.raises(ValueError, match="weights must have shape"):
        model.inverse_transform([1.0, 2.0])


def test_values_beyond_the_range_of_numbers():
    X = np.full((2, 3), 1e150) * np.arange(3)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="Y has contractions that are"):
        TensorPCA().fit(FactoredTensor(X, order=4))
    with pytest.raises(ValueError, match="Y has contractions that are not finite"):
        TensorPCA().fit(TensorOperator(lambda theta: np.nan * theta, 3, order=4))
