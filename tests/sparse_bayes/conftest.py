"""Dictionaries with parameters of every kind, for tests."""

from types import SimpleNamespace

import numpy as np
import pytest

from sparseopt._core import array_namespace
from sparseopt.sparse_bayes._variational._local_fit import LocalMoments

K, N, M, Q = 2, 3, 6, 5


class Waves:
    """Damped waves, with parameters of each kind; real or complex.

    Phi[k, n, m, q] = gains[m] exp(-loss m) f(waves[q, 0] m + waves[q, 1] n + (shifts[k] + tilts[k]
    . (m, 1)) (q + 1) / Q), f the cosine or exp(1j .); the last column has no waves of its own.
    """

    kinds = {
        "waves": "column",
        "shifts": "group",
        "tilts": "group",
        "gains": "shared",
        "loss": "shared",
    }

    def __init__(self, is_complex=True, size=(N, M)):
        self.is_complex, self.size = is_complex, size

    def draw(self, rng, n_groups=K, n_columns=Q):
        return {
            "waves": rng.uniform(-1, 1, (n_columns - 1, 2)),
            "shifts": rng.uniform(-1, 1, n_groups),
            "tilts": rng.uniform(-0.3, 0.3, (n_groups, 2)),
            "gains": rng.uniform(0.5, 1.5, self.size[1]),
            "loss": np.array(0.1),
        }

    def _parts(self, params, columns):
        xp = array_namespace(params["waves"])
        waves, shifts, tilts, gains, loss = (params[name] for name in self.kinds)
        n_columns = waves.shape[0] + 1
        waves = xp.concat([waves, xp.zeros((1, 2), dtype=waves.dtype)])
        chosen = np.arange(n_columns) if columns is None else columns
        waves = xp.take(waves, xp.asarray(chosen), axis=0)
        order = xp.asarray((chosen + 1) / Q)[None, None, None, :]
        n = xp.asarray(np.arange(self.size[0], dtype=float))[None, :, None, None]
        m = xp.asarray(np.arange(self.size[1], dtype=float))[None, None, :, None]
        turn = tilts[:, 0][:, None, None, None] * m + tilts[:, 1][:, None, None, None]
        angle = waves[:, 0][None, None, None, :] * m + waves[:, 1][None, None, None, :] * n
        angle = angle + (shifts[:, None, None, None] + turn) * order
        decay = xp.exp(-loss * m)
        if self.is_complex:
            wave = xp.exp(1j * xp.astype(angle, xp.complex128))
            slope = 1j * wave
        else:
            wave, slope = xp.cos(angle), -xp.sin(angle)
        gains = gains[None, None, :, None]
        return xp, n, m, order, gains, decay, wave, slope, chosen < n_columns - 1

    def __call__(self, params, columns=None):
        _xp, _n, _m, _order, gains, decay, wave, _slope, _own = self._parts(params, columns)
        return gains * decay * wave

    def jac(self, params, columns=None):
        xp, n, m, order, gains, decay, wave, slope, own = self._parts(params, columns)
        by_angle = gains * decay * slope
        own = xp.asarray(own.astype(float))
        entry = xp.eye(self.size[1])[None, None, :, None, :]
        return {
            "waves": xp.stack([m * own * by_angle, n * own * by_angle], axis=-1),
            "shifts": order * by_angle,
            "tilts": xp.stack([m * order * by_angle, order * by_angle], axis=-1),
            "gains": (decay * wave)[..., None] * entry,
            "loss": -m * gains * decay * wave,
        }


class VjpOnly:
    """The same without jac."""

    kinds = Waves.kinds

    def __init__(self, waves):
        self.waves = waves

    def __call__(self, params):
        return self.waves(params)

    def vjp(self, params, G):
        product = {
            name: 2 * np.real(np.reshape(np.conj(G), G.shape + (1,) * (jac.ndim - 4)) * jac)
            for name, jac in self.waves.jac(params).items()
        }
        return {
            "waves": product["waves"].sum((0, 1, 2))[:-1],
            "shifts": product["shifts"].sum((1, 2, 3)),
            "tilts": product["tilts"].sum((1, 2, 3)),
            "gains": product["gains"].sum((0, 1, 2, 3)),
            "loss": product["loss"].sum(),
        }


def draw_moments(rng, shape, n_columns, is_complex, precision=3.0, size=0.3):
    """Draw moments that belong to some posterior."""
    n_groups, n_blocks = shape[:2]

    def normal(*shape):
        values = rng.standard_normal(shape)
        return values + 1j * rng.standard_normal(shape) if is_complex else values

    symbols = normal(n_blocks, n_groups, 4)
    root = size * normal(n_groups * n_columns, n_groups * n_columns)
    return LocalMoments(
        target=3 * normal(*shape),
        symbols=symbols.conj() @ symbols.swapaxes(1, 2) + 0.5 * np.eye(n_groups),
        mean=normal(n_groups, n_columns),
        covariance=(root @ root.conj().T).reshape(n_groups, n_columns, n_groups, n_columns),
        precision=precision,
        half=1.0 if is_complex else 0.5,
    )


@pytest.fixture(scope="session")
def examples():
    """Dictionaries with parameters of every kind, and moments."""
    return SimpleNamespace(
        K=K, N=N, M=M, Q=Q, Waves=Waves, VjpOnly=VjpOnly, draw_moments=draw_moments
    )
