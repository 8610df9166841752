"""
Sensors with unknown gains: calibrating blindly
===============================================

Forty sensors measure signals with few nonzero coefficients, through a known matrix. But the
sensors have drifted: each multiplies what it measures by a gain of its own, amplitude and phase,
that nobody knows. A known signal would show the gains; none is at hand.

The gains are parameters of the dictionary that all of its columns share.
:class:`~sparseopt.sparse_bayes.BilinearSubspaceVBI` estimates them and the coefficients together:
only the right gains explain all signals by few coefficients.
"""

import matplotlib.pyplot as plt
import numpy as np

from sparseopt.sparse_bayes import (
    BilinearSubspaceVBI,
    IndependentSupport,
    check_dictionary_gradient,
    nmse,
)

n_sensors, n_columns, n_signals, n_active = 40, 100, 8, 4
rng = np.random.default_rng(0)


def complex_normal(*shape):
    """Return circular complex normal numbers of variance 1."""
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


class Gains:
    """A known matrix, with a gain for each row: exp(amplitude + 1j phase)."""

    kinds = {"amplitude": "shared", "phase": "shared"}

    def __init__(self, matrix):
        self.matrix = matrix

    def __call__(self, params, columns=None):
        matrix = self.matrix if columns is None else self.matrix[:, columns]
        gains = np.exp(params["amplitude"] + 1j * params["phase"])
        values = gains[:, None] * matrix
        return np.broadcast_to(values, (n_signals, 1, *values.shape))  # a group for each signal

    def jac(self, params, columns=None):
        rows = self(params, columns)[..., None] * np.eye(n_sensors)[:, None, :]
        return {"amplitude": rows, "phase": 1j * rows}


matrix = complex_normal(n_sensors, n_columns) / np.sqrt(n_sensors)
gains = np.exp(0.3 * rng.standard_normal(n_sensors) + 0.6j * rng.standard_normal(n_sensors))
coef = np.zeros((n_signals, n_columns), complex)
for row in coef:
    row[rng.permutation(n_columns)[:n_active]] = np.exp(2j * np.pi * rng.random(n_active))
clean = gains * (coef @ matrix.T)
noise = 0.03 * np.sqrt(np.mean(np.abs(clean) ** 2)) * complex_normal(n_signals, n_sensors)
measured = clean + noise

# %%
# Each signal is a group with coefficients of its own. Its only symbol is known, a 1 in the snapshot
# that measures it. Without steps of the parameters (``m_step=None``) gains stay at one. With a
# scale left open, since gains and coefficients can exchange a common factor, estimates are compared
# after the best common factor.

start = {"amplitude": np.zeros(n_sensors), "phase": np.zeros(n_sensors)}
print("derivatives off by", check_dictionary_gradient(Gains(matrix), start))


def fit(matrix, **options):
    """Return a fit of all signals."""
    model = BilinearSubspaceVBI(
        Gains(matrix),
        start,
        support_prior=IndependentSupport(n_active / n_columns),
        param_std={"amplitude": 0.3, "phase": 0.6},
        max_iter=300,
        **options,
    )
    return model.fit(measured[None], pilots=np.eye(n_signals)[:, None])


def aligned(estimate, truth):
    """Return an estimate times the factor that brings it closest to the truth."""
    return estimate * np.vdot(estimate, truth) / np.vdot(estimate, estimate)


fits = {
    "as if gains were one": fit(matrix, m_step=None),
    "gains estimated": fit(matrix),
    "gains known": fit(gains[:, None] * matrix, m_step=None),
}
errors = {name: nmse(coef, aligned(model.coef_, coef)) for name, model in fits.items()}
for name, error in errors.items():
    print(f"{name:22} NMSE of the coefficients {error:.5f}")

# %%
# Left: the gains, true and estimated. Right: the coefficients of one signal. As if gains were one,
# they are off by up to a quarter; with estimated gains they are as good as with known ones. The
# problem is not convex: if gains are much further from what is assumed, or signals fewer, the fit
# may end at others.

params = fits["gains estimated"].params_
estimated = aligned(np.exp(params["amplitude"] + 1j * params["phase"]), gains)
figure, (plane, stems) = plt.subplots(
    1, 2, figsize=(10, 4.5), layout="constrained", width_ratios=(1, 1.6)
)
plane.plot(gains.real, gains.imag, "ko", markerfacecolor="none", markersize=9, label="true")
plane.plot(estimated.real, estimated.imag, "C2.", label="estimated")
plane.plot(1, 0, "C1s", label="assumed without")
plane.set(xlabel="real part", ylabel="imaginary part", title="gains", aspect="equal")
plane.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3)
stems.plot(np.abs(coef[0]), "ko", markerfacecolor="none", markersize=9, label="true")
for name, style in (("as if gains were one", "C1s"), ("gains estimated", "C2.")):
    values = np.abs(aligned(fits[name].coef_, coef)[0])
    stems.stem(values, linefmt=style[:2], markerfmt=style, basefmt=" ", label=name)
stems.set(xlabel="coefficient", ylabel="modulus", title="a signal")
stems.legend(loc="upper left")
plt.show()
