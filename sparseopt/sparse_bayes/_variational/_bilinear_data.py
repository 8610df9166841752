"""Validation of what bilinear models are given: observations, symbols, priors of parameters."""

from numbers import Real

import array_api_compat
import numpy as np
from sklearn.utils.validation import validate_data

from sparseopt._core import array_namespace, is_numpy, to_numpy
from sparseopt.sparse_bayes._variational._bilinear_state import Observations
from sparseopt.sparse_bayes._variational._dictionary import DenseDictionary
from sparseopt.sparse_bayes._variational._parametric import ParametricDictionary

SMALLEST_STD = 1e-140  # its inverse square must not overflow
LARGEST = 1e150  # symbols, or one over it
AXES = "(n_blocks, n_snapshots, n_entries)"


def check_array(estimator, X, *, reset):
    """Return observations as an array (N, L, M), and whether they were a matrix (L, M).

    Parameters
    ----------
    estimator : estimator
        Whose ``n_features_in_`` is set, or compared.
    X : array-like of shape (N, L, M) or (L, M)
        Observations, real or complex, of any array library.
    reset : bool
        Whether to set it.
    """
    if not array_api_compat.is_array_api_obj(X) or is_numpy(array_namespace(X)):
        host = np.asarray(X) if getattr(X, "ndim", 3) != 2 else X
        if np.ndim(host) != 3 and np.asarray(X).dtype.kind != "c":
            kinds = [np.float64, np.float32]
            return validate_data(estimator, X, dtype=kinds, reset=reset)[None], True
        X = np.asarray(X)
    xp = array_namespace(X)
    if not xp.isdtype(X.dtype, ("real floating", "complex floating")):
        if not xp.isdtype(X.dtype, ("integral", "bool")):
            raise ValueError(f"X must hold numbers, got dtype {X.dtype}.")
        X = xp.astype(X, xp.float64)
    elif X.dtype not in (xp.float32, xp.float64, xp.complex64, xp.complex128):  # half, or long
        real = xp.isdtype(X.dtype, "real floating")
        X = xp.astype(X, xp.float64 if real else xp.complex128)
    if X.ndim not in (2, 3) or 0 in X.shape:
        raise ValueError(
            f"X must be a non-empty array of shape {AXES}, or a matrix (n_snapshots, n_entries), "
            f"got shape {tuple(X.shape)}."
        )
    if not bool(xp.all(xp.isfinite(X))):
        raise ValueError("Input X contains NaN or infinity.")
    _check_entries(estimator, X.shape[-1], reset)
    return (X[None, ...], True) if X.ndim == 2 else (X, False)


def _check_entries(estimator, n_entries, reset):
    if reset:
        estimator.n_features_in_ = n_entries
        vars(estimator).pop("feature_names_in_", None)
    elif n_entries != estimator.n_features_in_:
        raise ValueError(
            f"X has {n_entries} features, but {type(estimator).__name__} is expecting "
            f"{estimator.n_features_in_} features as input."
        )


def check_symbols(pilots, pilot_mask, shape, Y):
    """Return known symbols (K, N, L), zero elsewhere, and where they are.

    Parameters
    ----------
    pilots : array-like broadcastable to (K, N, L), or None
        Symbols; what is not known may be NaN.
    pilot_mask : array-like of bool broadcastable to (K, N, L), or None
        Which are known; those that are not NaN by default.
    shape : tuple
        (K, N, L).
    Y : array of shape (N, L, M)
        Observations; the largest one has the symbol 1 if none are known of the only group.
    """
    if pilots is None:
        if pilot_mask is not None:
            raise ValueError("pilot_mask was given without pilots.")
        if shape[0] > 1:
            raise ValueError(
                f"pilots must be given: each of the {shape[0]} groups needs a known symbol, or its "
                "coefficients could exchange a factor with its symbols."
            )
        xp = array_namespace(Y)
        sizes = to_numpy(xp.max(xp.abs(Y), axis=2))
        known = np.zeros(shape, bool)
        known[0][np.unravel_index(np.argmax(sizes), sizes.shape)] = True
        return known.astype(float), known
    pilots = _broadcast(_as_numbers(pilots, "pilots"), shape, "pilots")
    if pilot_mask is None:
        known = ~np.isnan(pilots)
    else:
        known = np.asarray(pilot_mask)
        if known.dtype != bool:
            raise ValueError(f"pilot_mask must be boolean, got dtype {known.dtype}.")
        known = _broadcast(known, shape, "pilot_mask")
    if not np.all(np.isfinite(pilots[known])):
        raise ValueError("known pilots must be finite, got NaN or infinite ones.")
    pilots = _without_phase(np.where(known, pilots, 0))
    for group in range(shape[0]):
        if not np.any(pilots[group]):
            raise ValueError(
                f"group {group} has no known symbol that is not zero: its coefficients could "
                "exchange a factor with its symbols."
            )
    return pilots, known


def _broadcast(array, shape, name):
    try:
        return np.broadcast_to(array, shape).copy()
    except ValueError:
        raise ValueError(
            f"{name} must have shape {shape}: groups, blocks, snapshots, or one that broadcasts "
            f"to it, got {array.shape}."
        ) from None


def _as_numbers(values, name):
    values = np.asarray(values)
    if values.dtype.kind not in "biufc":
        raise ValueError(f"{name} must hold numbers, got dtype {values.dtype}.")
    return values.astype(np.result_type(values.dtype, np.float64))


def _as_reals(values, name):
    """Return a copy as floats."""
    try:
        array = np.asarray(values)
    except ValueError:  # rows of different lengths
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, got {values!r}.")
    return array.astype(float)


def _without_phase(values):
    """Return the real part if that is all there is."""
    return values if np.iscomplexobj(values) and values.imag.any() else values.real


def check_constellation(values):
    """Return the values that symbols can take, or None."""
    if values is None:
        return None
    values = _as_numbers(values, "constellation")
    if values.ndim != 1 or len(np.unique(values)) < 2:
        raise ValueError(f"constellation must hold two different numbers or more, got {values!r}.")
    if not np.all(np.isfinite(values)):
        raise ValueError("constellation must be finite.")
    return _without_phase(values)


def symbol_size(pilots, known, constellation):
    """Return the root of the power of the constellation, or of the known symbols."""
    values = np.abs(pilots[known] if constellation is None else constellation)
    largest = values.max()
    if not LARGEST**-1 < largest < LARGEST:
        raise ValueError(
            f"symbols as large as {largest:.3g} are out of range: their squares must neither "
            "overflow nor vanish. Rescale pilots and constellation."
        )
    return float(np.mean(values**2) ** 0.5)


def make_observations(Y, pilots, known, constellation):
    """Return observations with symbols of unit power, and the root of their power."""
    root = symbol_size(pilots, known, constellation)
    values = None if constellation is None else constellation / root
    return Observations(Y, pilots / root, known, values), root


def parameter_prior(params, std, trust):
    """Return means and deviations of the priors of parameters, and trust radii, by name.

    Parameters
    ----------
    params : dict of str to ndarray
        Means.
    std : dict of str to float or array, or None
        Standard deviations; parameters without one have a flat prior.
    trust : dict of str to float, or None
        Longest steps; by default half the standard deviation.
    """
    std, trust = std or {}, trust or {}
    for name, entries in (("param_std", std), ("trust_radius", trust)):
        unknown = set(entries) - set(params)
        if unknown:
            raise ValueError(f"{name} names {sorted(unknown)}, but params has {sorted(params)}.")
    prior, radii = {}, {}
    for name, mean in params.items():
        radii[name] = None
        if name in std:
            deviation = _as_reals(std[name], f"param_std[{name!r}]")
            if not (np.all(deviation > SMALLEST_STD) and _broadcasts(deviation, mean.shape)):
                raise ValueError(
                    f"param_std[{name!r}] must be positive (more than {SMALLEST_STD:g}) and "
                    f"broadcast to {mean.shape}, got {std[name]!r}."
                )
            prior[name] = (mean, deviation)
            if np.all(np.isfinite(deviation)):
                radii[name] = 0.5 * float(np.max(deviation))
        if name in trust:
            if not (isinstance(trust[name], Real) and trust[name] > 0):
                raise ValueError(f"trust_radius[{name!r}] must be positive, got {trust[name]!r}.")
            radii[name] = float(trust[name])
    return prior, radii


def _broadcasts(array, shape):
    try:
        return np.broadcast_shapes(array.shape, shape) == shape
    except ValueError:
        return False


def as_modelled(Y, *others):
    """Return observations as the model sees them: complex data only if anything has a phase.

    Parameters
    ----------
    Y : array
        Observations.
    *others : arrays, or None
        A part of the dictionary, the known symbols and the constellation.
    """
    xp = array_namespace(Y)
    complex_model = any(
        other is not None and array_namespace(other).isdtype(other.dtype, "complex floating")
        for other in others
    )
    is_complex = xp.isdtype(Y.dtype, "complex floating")
    if is_complex and not complex_model and not bool(xp.any(xp.imag(Y) != 0)):
        return xp.real(Y)
    if complex_model and not is_complex:
        return xp.astype(Y, xp.result_type(Y.dtype, xp.complex64))
    return Y


def as_parametric(dictionary, params, Y):
    """Return the dictionary as a ParametricDictionary, and its parameters as float arrays.

    Parameters
    ----------
    dictionary : callable, array, DenseDictionary, FactoredDictionary or None
        As for :class:`BilinearSubspaceVBI`.
    params : dict or None
        Parameters.
    Y : array of shape (N, L, M)
        Observations.
    """
    xp = array_namespace(Y)
    if dictionary is None:
        real = xp.abs(Y[:0, ...]).dtype
        dictionary = xp.eye(Y.shape[2], dtype=real, device=Y.device)
    if callable(dictionary):
        named = (params or {}).items()
        params = {name: _as_reals(value, f"params[{name!r}]") for name, value in named}
    elif params:
        raise ValueError("params was given, but the dictionary is no function of them.")
    else:
        params = {}
        if not hasattr(dictionary, "forward"):
            dictionary = _constant(dictionary, Y)
        dictionary = FixedDictionary(dictionary)
    return ParametricDictionary(dictionary, params, (Y.shape[0], Y.shape[2]), like=Y), params


def _constant(values, Y):
    """Return an array (K, N, M, Q) or (M, Q) as a dictionary, on the device of Y."""
    xp = array_namespace(Y)
    if not array_api_compat.is_array_api_obj(values):
        values = np.asarray(values)
    if values.ndim not in (2, 4):
        raise ValueError(
            "a dictionary must be an array of shape (n_groups, n_blocks, n_entries, n_columns) or "
            f"(n_entries, n_columns), got shape {tuple(values.shape)}."
        )
    if is_numpy(array_namespace(values)):
        values = xp.asarray(np.asarray(values), device=Y.device)
    if not xp.isdtype(values.dtype, ("real floating", "complex floating")):
        values = xp.astype(values, xp.float64)
    return DenseDictionary(values[None, None, ...] if values.ndim == 2 else values)


class FixedDictionary:
    """A dictionary without parameters, as a function of none."""

    def __init__(self, value):
        self.value = value
        self.kinds: dict = {}

    def __call__(self, params, columns=None):
        """Return the dictionary, or some of its columns."""
        return self.value if columns is None else self.value.columns(columns)

    def cast(self, dtype):
        """Hold entries in the dtype of the observations, so that no product has to cast them."""
        if isinstance(self.value, DenseDictionary):
            xp = array_namespace(self.value.values)
            self.value = DenseDictionary(xp.astype(self.value.values, dtype, copy=False))
