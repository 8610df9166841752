r"""Active columns that have moved onto each other become one.

Two columns p and q are the same to the data, whatever the coefficients of each group, if

    coherence = sum_k |sum_n Phi[k, n, :, p]^H Phi[k, n, :, q]| / (||Phi[..., p]|| ||Phi[..., q]||)

is 1. The stronger one then takes over what the other explains: the coefficient x_kq of the weaker
adds x_kq <Phi_kp, Phi_kq> / ||Phi_kp||^2 to that of the stronger, which is x_kq if they are equal.
"""

from typing import Any, NamedTuple

import numpy as np

from sparseopt._core import array_namespace, to_numpy
from sparseopt.sparse_bayes._variational._arrays import conjugate


class MergedColumns(NamedTuple):
    """What is left after columns were merged.

    ``pairs`` (P, 2): columns that stayed, and those that they took over; ``mean``, ``rho``,
    ``proba`` (K, Q) and ``params`` as they are then.
    """

    pairs: np.ndarray
    mean: Any
    rho: np.ndarray
    proba: np.ndarray
    params: dict


def merge_columns(
    values, columns, mean, rho, proba, params, initial, kinds, *, coherence, idle_precision
):
    """Merge columns that are nearly equal.

    Columns are merged only if one of them has parameters of its own, at which it can start again:
    that one returns to its initial parameters and is switched off. What is not named by ``kinds``
    as "column" stays.

    Parameters
    ----------
    values : array of shape (K, N, M, C)
        Columns that are active.
    columns : ndarray of int of shape (C,)
        Their indices.
    mean : array of shape (K, Q)
        Coefficients.
    rho, proba : ndarrays of shape (K, Q)
        Precisions and probabilities of being active.
    params, initial : dict of str to ndarray
        Parameters, and what they were at first.
    kinds : dict of str to str
        What each parameter moves.
    coherence : float
        From which coherence on columns are merged.
    idle_precision : float
        Precision of coefficients that are switched off.

    Returns
    -------
    merged : MergedColumns
        Arrays, new where anything was merged.
    """
    own = [name for name, kind in kinds.items() if kind == "column"]
    movable = np.array([any(q < len(params[name]) for name in own) for q in columns], dtype=bool)
    grams = _grams(values)
    coefficients = to_numpy(mean)[:, columns]
    found = _find_pairs(grams, coefficients, movable, coherence)
    if not found:
        return MergedColumns(np.zeros((0, 2), int), mean, rho, proba, params)
    whole, rho, proba = to_numpy(mean).copy(), rho.copy(), proba.copy()
    params = {name: np.array(value) for name, value in params.items()}
    for kept, freed in found:
        norms = grams[:, kept, kept].real
        share = np.where(norms > 0, grams[:, kept, freed] / np.where(norms > 0, norms, 1), 0)
        p, q = columns[kept], columns[freed]
        whole[:, p] += share * whole[:, q]
        whole[:, q] = 0
        rho[:, p], rho[:, q] = np.minimum(rho[:, p], rho[:, q]), idle_precision
        proba[:, p], proba[:, q] = np.maximum(proba[:, p], proba[:, q]), 0
        for name in own:
            if q < len(params[name]):
                params[name][q] = initial[name][q]
    xp = array_namespace(mean)
    whole = xp.asarray(whole, dtype=mean.dtype, device=mean.device)
    return MergedColumns(columns[np.array(found)], whole, rho, proba, params)


def _grams(values):
    """Return the products of columns of each group, over blocks and entries, (K, C, C)."""
    xp = array_namespace(values)
    K, N, M, C = values.shape
    stacked = xp.reshape(values, (K, N * M, C))
    return to_numpy(xp.matmul(xp.permute_dims(conjugate(stacked), (0, 2, 1)), stacked))


def _find_pairs(grams, coefficients, movable, coherence):
    """Return pairs (kept, freed), the most coherent first; a column is freed once at most."""
    lengths = np.sqrt(np.einsum("kcc->c", grams).real)
    scale = np.outer(lengths, lengths)
    alike = np.divide(np.abs(grams).sum(axis=0), scale, out=np.zeros_like(scale), where=scale > 0)
    power = np.einsum("kc,kcc->c", np.abs(coefficients) ** 2, grams.real)
    one, other = np.nonzero(np.triu(alike >= coherence, 1))
    pairs: list = []
    kept, freed = set(), set()
    for place in np.argsort(-alike[one, other], kind="stable"):
        strong, weak = int(one[place]), int(other[place])
        if power[weak] > power[strong]:
            strong, weak = weak, strong
        if not movable[weak] or weak in kept:
            strong, weak = weak, strong
        if movable[weak] and weak not in kept and not {strong, weak} & freed:
            pairs.append((strong, weak))
            kept.add(strong)
            freed.add(weak)
    return pairs
