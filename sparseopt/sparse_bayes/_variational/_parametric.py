"""Dictionaries as functions of parameters, with validation of what the user's function returns."""

import inspect

import array_api_compat
import numpy as np

from sparseopt._core import array_namespace, to_numpy
from sparseopt.sparse_bayes._variational._dictionary import DenseDictionary, FactoredDictionary

KINDS = ("column", "group", "shared")
SHAPES = {
    "column": "(n_rows,) or (n_rows, p), with at most a row for each of the {Q} columns",
    "group": "({K},) or ({K}, p), a row for each group",
    "shared": "() or (p,)",
}


class NonFiniteDictionaryError(ValueError):
    """The function of a dictionary, or its derivative, returned NaN or infinity."""


class ParametricDictionary:
    """The user's function of parameters, checked at every call.

    Parameters
    ----------
    callback : callable
        ``callback(params)`` or ``callback(params, columns=None)`` returns an array (K, N, M, C) or
        a dictionary. Attributes: ``kinds``, a dict that says of each parameter whether its rows
        belong to columns ("column"), to groups ("group"), or neither ("shared"); optionally
        ``jac(params, columns=None)``, derivatives (K, N, M, C, p) by name, or (K, N, M, C) for
        parameters without an axis p; and ``vjp(params, G)``, the gradient of 2 Re <G, Phi(params)>.
    params : dict of str to ndarray
        Parameters, of the shapes that all later ones have.
    size : tuple of 2 int
        Numbers N of blocks and M of entries that the data have.
    like : array, optional
        Array of the library and on the device where the callback computes; NumPy's by default.

    Attributes
    ----------
    kinds : dict of str to str
        Kind of each parameter.
    shape : tuple
        (K, N, M, Q).
    dtype : dtype
        That of the entries.
    """

    def __init__(self, callback, params, size, like=None):
        if not callable(callback):
            raise TypeError(f"dictionary must be a function of params, got {callback!r}.")
        self.callback = callback
        self._like = np.empty(0) if like is None else like
        self.kinds = _check_kinds(callback, params)
        self._shapes = {name: np.shape(value) for name, value in params.items()}
        self._check_values(params)
        for name in ("jac", "vjp"):
            if getattr(callback, name, None) is not None and not callable(getattr(callback, name)):
                raise TypeError(f"dictionary.{name} must be a function of params.")
        self.shape = (None, *size, None)
        dictionary = self.values(params)
        self.shape, self.dtype = dictionary.shape, dictionary.dtype
        for name, kind in self.kinds.items():
            _check_shape(name, kind, self._shapes[name], self.shape)

    @property
    def has_jac(self):
        """Whether the callback has derivatives of its entries."""
        return getattr(self.callback, "jac", None) is not None

    @property
    def has_vjp(self):
        """Whether the callback has gradients of scalar products."""
        return getattr(self.callback, "vjp", None) is not None

    def require_derivatives(self, method):
        """Raise if the derivatives that a method needs are not there."""
        if not self.kinds or self.has_jac or (self.has_vjp and method == "gradient"):
            return
        if self.has_vjp:
            raise ValueError(
                f"m_step={method!r} needs dictionary.jac, but the dictionary has only vjp; "
                "m_step='gradient' can do with it."
            )
        raise ValueError(
            f"m_step={method!r} needs derivatives by {sorted(self.kinds)}: give the dictionary a "
            "method jac(params, columns=None) or vjp(params, G), or keep its parameters by "
            "m_step=None."
        )

    def values(self, params, columns=None):
        """Return the dictionary, or that of some columns (host indices)."""
        self._check_values(params)
        found = self._call(self.callback, "dictionary(params)", params, columns)
        if not hasattr(found, "forward"):
            found = DenseDictionary(self._as_array(found, "dictionary(params)"))
        if columns is not None and not _takes_columns(self.callback):
            found = found.take(columns)
        self._check_dictionary(found, columns)
        return _copy(found) if columns is None and self.kinds else found

    def rows(self, name, columns):
        """Return which of the columns have a row of a parameter, as positions in ``columns``."""
        return np.flatnonzero(columns < self._shapes[name][0])

    def width(self, name):
        """Return the length p of the rows of a parameter, 1 if it has no such axis."""
        shape = self._shapes[name] if self.kinds[name] == "shared" else self._shapes[name][1:]
        return shape[0] if shape else 1

    def jac(self, params, columns=None):
        """Return derivatives by name, all of shape (K, N, M, C, p), p = 1 where there is no p."""
        found = self._call(self.callback.jac, "dictionary.jac(params)", params, columns)
        self._check_names(found, "dictionary.jac(params)")
        whole = columns is None or _takes_columns(self.callback.jac)
        K, N, M, Q = self.shape
        wanted = (K, N, M, len(columns) if whole and columns is not None else Q)
        out = {}
        for name in self.kinds:
            what = f"dictionary.jac(params)[{name!r}]"
            array = self._as_array(found[name], what)
            shape = self._shapes[name]
            axes = shape if self.kinds[name] == "shared" else shape[1:]
            _check_array(array, what, wanted + axes)
            xp = array_namespace(array)
            array = xp.reshape(array, (*wanted, self.width(name)))
            if not whole:
                device = array_api_compat.device(array)
                array = xp.take(array, xp.asarray(columns, device=device), axis=3)
            out[name] = array
        return out

    def vjp(self, params, G, columns=None):
        """Return the gradients of 2 Re <G, Phi> by name, as float arrays of the parameters' shapes.

        G is an array (K, N, M, Q), or (K, N, M, C) if ``columns`` are given.
        """
        arguments = {}
        if columns is not None:
            if _takes_columns(self.callback.vjp):
                arguments["columns"] = np.array(columns)
            else:
                G = _embed(G, columns, self.shape[3])
        found = self.callback.vjp(self._on_device(params), G, **arguments)
        self._check_names(found, "dictionary.vjp(params, G)")
        out = {}
        for name, shape in self._shapes.items():
            what = f"dictionary.vjp(params, G)[{name!r}]"
            array = np.asarray(to_numpy(found[name]))
            if array.dtype.kind == "c":
                raise ValueError(f"{what} must be real, got dtype {array.dtype}.")
            array = array.astype(float)
            _check_array(array, what, shape)
            out[name] = array
        return out

    def _call(self, function, what, params, columns):
        arguments = {}
        if columns is not None and _takes_columns(function):
            arguments["columns"] = np.array(columns)  # a copy, as of the parameters
        found = function(self._on_device(params), **arguments)
        if found is None:
            raise TypeError(f"{what} returned None.")
        return found

    def _on_device(self, params):
        """Copy parameters, so that the callback cannot change ours, to where it computes."""
        xp, device = array_namespace(self._like), array_api_compat.device(self._like)
        return {
            name: xp.asarray(np.array(value, dtype=float), device=device)
            for name, value in params.items()
        }

    def _as_array(self, found, what):
        if not array_api_compat.is_array_api_obj(found):
            found = np.asarray(found)
        xp = array_namespace(found)
        if not xp.isdtype(found.dtype, ("real floating", "complex floating")):
            raise ValueError(f"{what} must hold real or complex floats, got dtype {found.dtype}.")
        ours = array_namespace(self._like)
        if xp is not ours and array_api_compat.is_numpy_namespace(xp):
            found = ours.asarray(found, device=array_api_compat.device(self._like))
        return found

    def _check_values(self, params):
        if params.keys() != self._shapes.keys():
            raise ValueError(f"params must have {sorted(self._shapes)}, got {sorted(params)}.")
        for name, value in params.items():
            value = np.asarray(value)
            if value.dtype.kind not in "biuf":
                raise ValueError(f"params[{name!r}] must be real, got dtype {value.dtype}.")
            if not np.all(np.isfinite(value)):
                raise ValueError(f"params[{name!r}] must be finite, got NaN or infinity.")
            if value.shape != self._shapes[name]:
                raise ValueError(
                    f"params[{name!r}] must have shape {self._shapes[name]}, got {value.shape}."
                )

    def _check_dictionary(self, dictionary, columns):
        wanted = list(self.shape)
        if columns is not None:
            wanted[3] = len(columns)
        found = tuple(dictionary.shape)
        expected = tuple(have if want is None else want for want, have in zip(wanted, found))
        if found != expected or (columns is None and 0 in found):
            names = ("n_groups", "n_blocks", "n_entries", "n_columns")
            shape = ", ".join(
                name if want is None else f"{name}={want}" for name, want in zip(names, wanted)
            )
            given = "dictionary(params)" if columns is None else "dictionary(params, columns)"
            raise ValueError(f"{given} must have shape ({shape}), got {found}.")
        for array in getattr(dictionary, "parts", ()):
            _check_finite(array, "dictionary(params)")

    def _check_names(self, found, what):
        if not hasattr(found, "keys") or found.keys() != self.kinds.keys():
            given = sorted(found) if hasattr(found, "keys") else type(found).__name__
            raise ValueError(f"{what} must be a dict with {sorted(self.kinds)}, got {given}.")


def _copy(dictionary):
    """Copy a dictionary, as the callback may write its next result into the same memory."""
    if isinstance(dictionary, DenseDictionary | FactoredDictionary):
        xp = array_namespace(*dictionary.parts)
        return type(dictionary)(*(xp.asarray(part, copy=True) for part in dictionary.parts))
    return dictionary


def _takes_columns(function):
    try:
        arguments = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(a.name == "columns" or a.kind is a.VAR_KEYWORD for a in arguments)


def _check_kinds(callback, params):
    kinds = getattr(callback, "kinds", None)
    if kinds is None:
        if params:
            raise ValueError(
                f"dictionary has no attribute kinds: it must say of each of {sorted(params)} "
                f"which of {', '.join(KINDS)} it belongs to, as a dict."
            )
        return {}
    if not hasattr(kinds, "keys") or set(kinds) != set(params):
        given = sorted(kinds) if hasattr(kinds, "keys") else repr(kinds)
        raise ValueError(
            f"dictionary.kinds must be a dict with the names in params, {sorted(params)}, got "
            f"{given}."
        )
    for name, kind in kinds.items():
        if kind not in KINDS:
            raise ValueError(
                f"dictionary.kinds[{name!r}] must be one of {', '.join(KINDS)}, got {kind!r}."
            )
    return dict(kinds)


def _check_shape(name, kind, shape, whole):
    K, Q = whole[0], whole[3]
    axes = len(shape)
    fits = {
        "column": axes in (1, 2) and shape[0] <= Q,
        "group": axes in (1, 2) and shape[0] == K,
        "shared": axes in (0, 1),
    }[kind]
    if not fits:
        expected = SHAPES[kind].format(K=K, Q=Q)
        raise ValueError(
            f"params[{name!r}] of kind {kind!r} must have shape {expected}, got {shape}."
        )


def _check_array(array, what, shape):
    if tuple(array.shape) != tuple(shape):
        raise ValueError(f"{what} must have shape {tuple(shape)}, got {tuple(array.shape)}.")
    _check_finite(array, what)


def _check_finite(array, what):
    xp = array_namespace(array)
    finite = xp.isfinite(array)
    if not bool(xp.all(finite)):
        count = int(xp.sum(xp.astype(~finite, xp.int64)))
        raise NonFiniteDictionaryError(
            f"{what} returned NaN or infinity in {count} of {finite.size} entries."
        )


def _embed(G, columns, n_columns):
    """Return an array (K, N, M, Q) that is zero but for some columns."""
    xp = array_namespace(G)
    device = array_api_compat.device(G)
    padded = xp.concat([G, xp.zeros((*G.shape[:3], 1), dtype=G.dtype, device=device)], axis=3)
    source = np.full(n_columns, len(columns))
    source[columns] = np.arange(len(columns))
    return xp.take(padded, xp.asarray(source, device=device), axis=3)
