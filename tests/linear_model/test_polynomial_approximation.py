"""Weighted polynomial approximation end to end, against reference paths."""

from pathlib import Path

import numpy as np
import pytest

from sparseopt.linear_model import weighted_omp_path
from sparseopt.preprocessing import OrthogonalPolynomialFeatures

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "greedy" / "polynomial.npz")


@pytest.mark.parametrize("kind", ["lasso_l1", "srlasso_l1", "lasso_l0"])
def test_reference_path(kind):
    loss, penalty = kind.replace("sr", "sqrt_").rsplit("_", 1)
    features = OrthogonalPolynomialFeatures(
        "chebyshev", index_set=GOLDEN["index_set"], domain=(-1, 1)
    )
    samples = GOLDEN["samples"]
    design = features.fit_transform(samples) / np.sqrt(len(samples))
    path = weighted_omp_path(
        design,
        GOLDEN["b"],
        loss=loss,
        penalty=penalty,
        lam=float(GOLDEN[f"{kind}/lam"]),
        weights=features.weights_,
        n_nonzero_coefs=40,
    )
    np.testing.assert_array_equal(path.support, GOLDEN[f"{kind}/order"])
    np.testing.assert_allclose(path.x, GOLDEN[f"{kind}/coef"], atol=1e-7)
    approximation = features.transform(GOLDEN["eval_points"]) @ path.x
    truth = GOLDEN["f_eval"]
    error = np.linalg.norm(approximation - truth) / np.linalg.norm(truth)
    assert error == pytest.approx(float(GOLDEN[f"{kind}/rel_l2_error"]), rel=1e-6)
