"""What unpenalised columns leave of a residual."""

import numpy as np
import pytest
from scipy import optimize

from sparseopt.optimize._projections import orthonormal_basis, polar_part


def unit_columns(seed, n_columns=19):
    columns = np.random.default_rng(seed).standard_normal((40, n_columns)) + 1
    return columns / np.linalg.norm(columns, axis=0)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("scale", [1e-120, 1.0, 1e120])
def test_polar_part_is_the_projection(seed, scale):
    columns = unit_columns(seed)
    residual = scale * np.random.default_rng(seed).standard_normal(40)
    point = polar_part(columns, residual)
    best = optimize.lsq_linear(columns, residual / scale, (0, np.inf), method="bvls", tol=1e-15)
    np.testing.assert_allclose(point / scale, -best.fun, atol=1e-7)
    # Once there, rounding decides the signs of the correlations, and nothing may change.
    again = polar_part(columns, point)
    np.testing.assert_allclose(again / scale, point / scale, atol=1e-13)
    assert np.max(columns.T @ again) <= 1e-11 * np.linalg.norm(point / scale) * scale


def test_polar_part_does_without_nnls(monkeypatch):
    columns, residual = unit_columns(0), np.random.default_rng(0).standard_normal(40)
    expected = polar_part(columns, residual)

    def fail(*_):
        raise RuntimeError("Maximum number of iterations reached.")

    monkeypatch.setattr(optimize, "nnls", fail)
    np.testing.assert_allclose(polar_part(columns, residual), expected, atol=1e-10)
    monkeypatch.setattr(optimize, "nnls", lambda A, b: (np.ones(A.shape[1]), 0.0))  # goes astray
    np.testing.assert_allclose(polar_part(columns, residual), expected, atol=1e-10)


def test_basis_leaves_out_what_depends():
    columns = unit_columns(1, 6)
    columns = np.column_stack([columns, columns @ np.ones(6)])
    basis = orthonormal_basis(columns)
    assert basis.shape == (40, 6)
    np.testing.assert_allclose(basis.T @ basis, np.eye(6), atol=1e-14)
    np.testing.assert_allclose(basis @ (basis.T @ columns), columns, atol=1e-13)
