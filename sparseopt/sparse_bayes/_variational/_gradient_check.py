"""A check of the derivatives that a user gives of a dictionary, against differences."""

import array_api_compat
import numpy as np

from sparseopt._core import array_namespace, spawn_seeds, to_numpy
from sparseopt.sparse_bayes._variational._parametric import (
    NonFiniteDictionaryError,
    ParametricDictionary,
)
from sparseopt.sparse_bayes._variational._step_direction import along, contract

MOST_COLUMNS = 32
MOST_PROBES = 8  # directions of a parameter, whatever its size
# Relative changes of the columns over which differences are taken. The smallest suit smooth
# functions of parameters near one; the others, functions that lose digits to large parameters.
CHANGES = (1e-7, 6e-6, 3e-4, 1e-2)
SEARCHES = 8


def check_dictionary_gradient(dictionary, params, *, rtol=1e-5, random_state=None):
    r"""Check the derivatives of a dictionary of unknown parameters against central differences.

    For each parameter the dictionary is moved along a few directions: all of its rows at once, one
    component after the other. Where evaluating a few columns is possible (the function has an
    argument ``columns``), at most 32 are looked at, so that the check is cheap for any size. If the
    dictionary has both ``jac`` and ``vjp``, they are also compared with each other.

    Parameters
    ----------
    dictionary : callable
        ``dictionary(params)`` or ``dictionary(params, columns=None)`` returns an array of shape
        (K, N, M, C) or a :class:`FactoredDictionary`, C being the number of columns; it must have

        - ``kinds``, a dict that says of each parameter what its rows move: ``"column"`` (row q
          moves column q; last columns may have no row), ``"group"`` (row k moves the matrices of
          group k) or ``"shared"`` (every entry moves everything);
        - ``jac(params, columns=None)``, a dict of arrays of shape (K, N, M, C, p), or (K, N, M, C)
          for parameters without an axis p: the derivative of each entry by the parameter's row that
          moves it;
        - or ``vjp(params, G)``, a dict of arrays of the parameters' shapes: the gradient of
          :math:`2\,\mathrm{Re} \sum \overline{G}\, \Phi` for G of shape (K, N, M, Q).
    params : dict of str to array-like
        Parameters at which to check: (Q', p) or (Q',) for columns, (K, p) or (K,) for groups, (p,)
        or () for shared ones.
    rtol : float, default=1e-5
        Largest error, relative to the derivative, that is accepted; for single precision, no less
        than 5e-3.
    random_state : int, RandomState instance, Generator or None, default=None
        Chooses directions and columns.

    Returns
    -------
    errors : dict of str to float
        Largest relative error found of each parameter.

    Raises
    ------
    ValueError
        If a derivative disagrees, with the name of the parameter, or a shape does not fit, or
        ``columns`` gives other columns than those of the whole, or there is nothing to check.

    See Also
    --------
    BilinearSubspaceVBI : Fits such parameters.

    Examples
    --------
    Waves of unknown frequencies:

    >>> import numpy as np
    >>> from sparseopt.sparse_bayes import check_dictionary_gradient
    >>> class Waves:
    ...     kinds = {"frequencies": "column"}
    ...
    ...     def __call__(self, params):
    ...         turns = np.outer(np.arange(16), params["frequencies"])
    ...         return np.exp(2j * np.pi * turns)[None, None]
    ...
    ...     def jac(self, params):
    ...         slope = 2j * np.pi * np.arange(16)[:, None]
    ...         return {"frequencies": slope * self(params)}
    >>> errors = check_dictionary_gradient(
    ...     Waves(), {"frequencies": np.array([0.1, 0.3])}, random_state=0
    ... )
    >>> errors["frequencies"] < 1e-6
    True
    """
    params = {name: np.array(value, dtype=float) for name, value in params.items()}
    parametric = ParametricDictionary(dictionary, params, (None, None))
    if not params:
        raise ValueError("there is nothing to check: params is empty.")
    if not (parametric.has_jac or parametric.has_vjp):
        raise ValueError("there is nothing to check: the dictionary has neither jac nor vjp.")
    rng = np.random.default_rng(spawn_seeds(random_state, 1)[0])
    check = _Check(parametric, params, rng)
    eps = array_namespace(check.values).finfo(check.values.dtype).eps
    rtol = max(rtol, 30 * float(eps) ** 0.55)
    return {name: check.parameter(name, rtol) for name in params}


class _Check:
    """Derivatives at some columns, and a random G there."""

    def __init__(self, parametric, params, rng):
        self.parametric, self.params, self.rng = parametric, params, rng
        n_columns = parametric.shape[3]
        chosen = rng.permutation(n_columns)[:MOST_COLUMNS]
        self.columns = np.sort(chosen)
        self.values = self.evaluate(params)
        _check_columns(self.values, parametric.values(params).columns(self.columns))
        draw = rng.standard_normal((2, *self.values.shape))
        xp = array_namespace(self.values)
        is_complex = xp.isdtype(self.values.dtype, "complex floating")
        draw = draw[0] + 1j * draw[1] if is_complex else draw[0]
        device = array_api_compat.device(self.values)
        self.G = xp.asarray(draw, dtype=self.values.dtype, device=device)
        self.norm = float(xp.linalg.vector_norm(self.values))
        self.jac = parametric.jac(params, self.columns) if parametric.has_jac else None
        self.vjp = parametric.vjp(params, self.G, self.columns) if parametric.has_vjp else None

    def evaluate(self, params):
        found = self.parametric.values(params, self.columns)
        return found.columns(np.arange(len(self.columns)))

    def parameter(self, name, rtol):
        """Return the largest error of a parameter; raise if it is too large."""
        largest = 0.0
        for number, direction in enumerate(self._directions(name)):
            best: dict = {}
            for change in CHANGES:
                errors, place = self._compare(name, *self._difference(name, direction, change))
                for what, error in errors.items():
                    best[what] = min(error, best.get(what, np.inf))
                if max(best.values()) <= 0.1 * rtol:
                    break
            for what, error in best.items():
                if not error <= rtol:
                    raise ValueError(
                        f"dictionary.{what} disagrees with central differences in the derivative "
                        f"by params[{name!r}], direction {number}: relative error {error:.2g}, "
                        f"more than rtol={rtol:.2g}{place if what == 'jac' else ''}."
                    )
            largest = max(largest, *best.values())
        return max(largest, self._compare_with_each_other(name, rtol))

    def _directions(self, name):
        """Yield the directions in which a parameter is moved."""
        value, width = self.params[name], self.parametric.width(name)
        if value.size == 0:
            return
        shared = self.parametric.kinds[name] == "shared"
        rows = 1 if shared else len(value)
        for number in range(min(width, MOST_PROBES)):
            direction = self.rng.choice([-1.0, 1.0], (rows, width))
            if width <= MOST_PROBES:
                direction[:, np.arange(width) != number] = 0
            yield direction.reshape(value.shape)

    def _difference(self, name, direction, wanted):
        """Return the derivative of the columns along a direction, and the direction, as rounded.

        The distance is such that the columns change by about ``wanted`` of their norm.
        """
        xp = array_namespace(self.values)
        value = self.params[name]
        scale = float(np.max(np.abs(value))) or 1.0
        length, found, cause = wanted * scale, None, None
        for _ in range(SEARCHES):
            up, down = value + length * direction, value - length * direction
            try:
                change = self.evaluate(self.params | {name: up})
                change = change - self.evaluate(self.params | {name: down})
            except NonFiniteDictionaryError as error:
                length, cause = 1e-3 * length, error
                continue
            found = change / (2 * length), (up - down) / (2 * length)
            ratio = float(xp.linalg.vector_norm(change)) / (self.norm or 1.0)
            if wanted / 10 <= ratio <= wanted * 10 or length > 1e3 * scale:
                break
            length *= 1e3 if ratio == 0 else np.clip(wanted / ratio, 1e-3, 1e3)
        if found is None:
            raise NonFiniteDictionaryError(
                f"dictionary(params) is not finite near params[{name!r}]: {cause}"
            )
        return found

    def _compare(self, name, difference, direction):
        """Return the errors of jac and vjp along a direction, and where that of jac is largest."""
        errors, place = {}, ""
        if self.jac is not None:
            claimed = along(self.parametric, self.columns, name, direction, self.jac[name])
            claimed, found = to_numpy(claimed), to_numpy(difference)
            errors["jac"] = _relative_error(claimed, found)
            k, n, m, c = np.unravel_index(np.argmax(np.abs(claimed - found)), found.shape)
            place = (
                f", worst in group {k}, block {n}, entry {m} of column {self.columns[c]}: "
                f"{claimed[k, n, m, c]:.4g} instead of {found[k, n, m, c]:.4g}"
            )
        if self.vjp is not None:
            kind = self.parametric.kinds[name]
            axes = {"column": (0, 1, 2), "group": (1, 2, 3), "shared": (0, 1, 2, 3)}[kind]
            product = to_numpy(self.G).conj() * to_numpy(difference)
            found = 2 * np.sum(product.real, axis=axes)
            claimed = self.vjp[name] * direction
            if kind == "shared":
                claimed = np.sum(claimed)
            else:
                claimed = np.sum(claimed.reshape(len(claimed), -1), axis=1)
            if kind == "column":
                rows = self.parametric.rows(name, self.columns)
                claimed, found = claimed[self.columns[rows]], found[rows]
            errors["vjp"] = _relative_error(claimed, found)
        return errors, place

    def _compare_with_each_other(self, name, rtol):
        if self.jac is None or self.vjp is None:
            return 0.0
        found = contract(
            self.parametric, name, self.params[name], self.columns, self.G, self.jac[name]
        )
        error = _relative_error(self.vjp[name], found)
        if not error <= rtol:
            raise ValueError(
                f"dictionary.vjp disagrees with dictionary.jac in params[{name!r}]: relative error "
                f"{error:.2g}, more than rtol={rtol:.2g}."
            )
        return error


def _relative_error(one, other):
    size = max(float(np.linalg.norm(one)), float(np.linalg.norm(other)))
    return float(np.linalg.norm(one - other)) / size if size > 0 else 0.0


def _check_columns(some, whole):
    xp = array_namespace(some)
    error = _relative_error(to_numpy(some).ravel(), to_numpy(whole).ravel())
    if not error <= 1e3 * float(xp.finfo(some.dtype).eps):
        raise ValueError(
            "dictionary(params, columns) must be those columns of dictionary(params); they differ "
            f"by {error:.2g}, relatively."
        )
