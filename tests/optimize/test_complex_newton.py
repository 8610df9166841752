"""Newton steps of complex data: coefficients turn as they move."""

import numpy as np

from sparseopt.optimize import L1, coordinate_descent
from sparseopt.optimize._design import make_design
from sparseopt.optimize._gram_cache import GramCache


def problem(m, n, seed=0):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((m, n)) + 1j * rng.standard_normal((m, n))
    return A, rng.standard_normal(m) + 1j * rng.standard_normal(m), rng


def test_system_with_phases_is_solved():
    A, _, rng = problem(12, 6)
    phases = np.exp(2j * np.pi * rng.random(4))
    stiffness, ridge = rng.uniform(0, 5, 4), rng.uniform(0, 1, 4)
    rhs = rng.standard_normal(4) + 1j * rng.standard_normal(4)
    support = np.array([5, 0, 2, 3])
    d = GramCache(make_design(A)).solve_with_phases(support, ridge, stiffness, phases, rhs)
    across = stiffness * 1j * phases * np.imag(np.conj(phases) * d)
    gram = A[:, support].conj().T @ A[:, support]
    np.testing.assert_allclose(gram @ d + ridge * d + across, rhs, atol=1e-10)


def test_weak_penalties_of_complex_data_are_solved_to_rounding():
    A, y, _ = problem(50, 120)
    strongest = np.max(np.abs(A.conj().T @ y)) / 50
    for share in (0.1, 1e-2, 1e-3):
        alpha = share * strongest
        result = coordinate_descent(A, y, L1(alpha), tol=1e-11)
        assert result.success
        assert result.nit <= 30
        c = A.conj().T @ (y - A @ result.x) / 50
        assert np.all(np.abs(c) <= alpha * (1 + 1e-4))
        on = np.abs(result.x) > 1e-3 * np.abs(result.x).max()
        phases = result.x[on] / np.abs(result.x[on])
        np.testing.assert_allclose(c[on] / alpha, phases, atol=1e-3)
