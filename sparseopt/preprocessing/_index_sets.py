r"""Finite sets of multi-indices :math:`\nu \in \mathbb{N}_0^d` for polynomial expansions.

A rule assigns each multi-index a level, and the set of order n holds those of level <= n:

    hyperbolic_cross    prod_k (nu_k + 1) - 1
    total_degree        sum_k nu_k
    tensor              max_k nu_k

All sets are sorted by level, then by the position of the first variables, so that the set
of a smaller order is the beginning of that of a larger one. Arrays have shape
(n_terms, n_features).
"""

import math
from itertools import count
from numbers import Integral

import numpy as np
from scipy.special import comb

RULES = ("hyperbolic_cross", "total_degree", "tensor")

# An array of this many integers takes a gigabyte: a larger request is a mistake.
LARGEST_SIZE = 2**27


def hyperbolic_cross(n_features, order):
    r"""Multi-indices with :math:`\prod_k (\nu_k + 1) \le` ``order`` + 1.

    The set favours polynomials of high degree in few variables. It grows slowly with the
    number of variables, which makes it the usual choice for sparse approximation of
    functions of many variables.

    Parameters
    ----------
    n_features : int
        Number of variables, >= 1.
    order : int
        Largest degree in a single variable, >= 0.

    Returns
    -------
    index_set : ndarray of shape (n_terms, n_features), dtype int64
        One multi-index a row, sorted by :math:`\prod_k (\nu_k + 1)`: the set of a smaller
        order is the beginning of that of a larger one.

    Raises
    ------
    TypeError
        If an argument is not an integer.
    ValueError
        If an argument is too small, or the set too large to be of use.

    See Also
    --------
    OrthogonalPolynomialFeatures : The polynomials of such a set as a transformer.
    intrinsic_weights : Their largest values.

    References
    ----------
    B. Adcock, S. Brugiapaglia, C. G. Webster (2022). Sparse Polynomial Approximation of
    High-Dimensional Functions. SIAM.

    Examples
    --------
    >>> from sparseopt.preprocessing import hyperbolic_cross
    >>> hyperbolic_cross(2, 2)
    array([[0, 0],
           [1, 0],
           [0, 1],
           [2, 0],
           [0, 2]])
    """
    return enumerate_terms("hyperbolic_cross", n_features, order)


def enumerate_terms(rule, n_features, order):
    """Return the multi-indices of level <= ``order`` under one of ``RULES``."""
    n_features = _check_integer(n_features, "n_features", 1)
    order = _check_integer(order, "order", 0)
    n_terms = count_terms(rule, n_features, order)
    if n_terms * n_features > LARGEST_SIZE:
        raise ValueError(
            f"The index set {rule!r} of order {order} in {n_features} variables has more than "
            f"{LARGEST_SIZE // n_features} terms. Lower the order, or choose the sparser "
            "'hyperbolic_cross'."
        )
    # A tree whose depth is the number of variables: each node is extended by every degree,
    # the largest first, that keeps the level within the order.
    level, tree = np.zeros(1, dtype=np.int64), []
    for _ in range(n_features):
        n_choices = _largest_next_degree(rule, level, order) + 1
        ends = np.cumsum(n_choices)
        degrees = np.repeat(ends, n_choices) - 1 - np.arange(ends[-1])
        parents = np.repeat(np.arange(len(level)), n_choices)
        level = _level_with(rule, level[parents], degrees)
        tree.append((parents, degrees))
    terms = np.empty((n_terms, n_features), dtype=np.int64)
    nodes = np.argsort(level, kind="stable")
    for k in reversed(range(n_features)):
        parents, degrees = tree[k]
        terms[:, k] = degrees[nodes]
        nodes = parents[nodes]
    return terms


def count_terms(rule, n_features, order):
    """Return the number of multi-indices of level <= ``order``, without listing them."""
    if rule == "tensor":
        return (order + 1) ** n_features
    if rule == "total_degree":
        return comb(n_features + order, n_features, exact=True)
    return sum(_ordered_factorizations(p, n_features) for p in range(1, order + 2))


def largest_order(rule, n_features, max_terms):
    """Return the largest order whose set has at most ``max_terms`` >= 1 elements."""
    n_terms = 0
    for order in count():
        if rule == "hyperbolic_cross":
            n_terms += _ordered_factorizations(order + 1, n_features)
        else:
            n_terms = count_terms(rule, n_features, order)
        if n_terms > max_terms:
            return order - 1


def check_index_set(index_set, n_features=None):
    """Return a given set of multi-indices as an int64 array (n_terms, n_features)."""
    checked = np.asarray(index_set)
    if checked.ndim != 2 or 0 in checked.shape:
        raise ValueError(
            f"index_set must be an array of shape (n_terms, n_features), got shape {checked.shape}."
        )
    if not np.issubdtype(checked.dtype, np.integer):
        raise ValueError(f"index_set must hold integers, got dtype {checked.dtype}.")
    if checked.min() < 0:
        raise ValueError(f"index_set must hold degrees >= 0, got {checked.min()}.")
    if n_features is not None and checked.shape[1] != n_features:
        raise ValueError(
            f"index_set has {checked.shape[1]} columns, one a variable, but X has "
            f"{n_features} features."
        )
    return checked.astype(np.int64)


def _check_integer(value, name, smallest):
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    if value < smallest:
        raise ValueError(f"{name} must be >= {smallest}, got {value!r}.")
    return int(value)


def _level_with(rule, level, degree):
    """Return the level of multi-indices of level ``level`` extended by ``degree``."""
    if rule == "hyperbolic_cross":
        return (level + 1) * (degree + 1) - 1
    return level + degree if rule == "total_degree" else np.maximum(level, degree)


def _largest_next_degree(rule, level, order):
    if rule == "hyperbolic_cross":
        return (order + 1) // (level + 1) - 1
    return order - level if rule == "total_degree" else np.full(len(level), order)


def _ordered_factorizations(p, n_factors):
    """Count the ways to write ``p`` as an ordered product of ``n_factors`` integers >= 1."""
    ways, divisor = 1, 2
    while p > 1:
        if divisor * divisor > p:
            divisor = p
        exponent = 0
        while p % divisor == 0:
            p //= divisor
            exponent += 1
        ways *= math.comb(exponent + n_factors - 1, exponent)
        divisor += 1
    return ways
