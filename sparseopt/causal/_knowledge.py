"""What is known beforehand of the edges: forbidden, required, or excluded by tiers."""

import numbers
from collections.abc import Iterable, Mapping

import numpy as np
from scipy import sparse

from sparseopt.causal._graphs import is_acyclic, order_edges


class EdgeKnowledge:
    """Masks of the edges that may and that must be in the graph.

    Attributes
    ----------
    allowed : ndarray of shape (d, d) of bool
        Never the diagonal.
    required : ndarray of shape (d, d) of bool
    """

    def __init__(self, n_features, names=None, *, forbidden=None, required=None, tiers=None):
        self.names = None if names is None else [str(name) for name in names]
        self.n_features = n_features
        self.required = self._edges(required, "required_edges")
        forbidden = self._edges(forbidden, "forbidden_edges")
        level = self._levels(tiers)
        forbidden |= level[:, None] > level[None, :]  # NaN, for a node in no tier, is never more
        self.allowed = ~forbidden
        np.fill_diagonal(self.allowed, False)
        self._refuse_contradictions()

    def _index(self, variable, argument):
        if isinstance(variable, numbers.Integral) and 0 <= variable < self.n_features:
            return int(variable)
        if self.names is not None and variable in self.names:
            return self.names.index(variable)
        known = f"indices from 0 to {self.n_features - 1}"
        if self.names is not None:
            known += f" and the names {self.names}"
        raise ValueError(f"{argument} names the unknown variable {variable!r}; there are {known}.")

    def _edges(self, edges, argument):
        """Return a mask from pairs (cause, effect) or from a matrix."""
        d = self.n_features
        mask = np.zeros((d, d), dtype=bool)
        if edges is None:
            return mask
        form = f"{argument} must be pairs (cause, effect) or a matrix of 0 and 1, {d} x {d}"
        if not isinstance(edges, Iterable):
            raise ValueError(f"{form}, got {edges!r}.")
        if self._is_labelled(edges):
            rows, columns = (
                [self._index(name, argument) for name in axis]
                for axis in (edges.index, edges.columns)
            )
            mask[np.ix_(rows, columns)] = _check_binary(edges, argument)
            return mask
        edges = _as_array(edges) if hasattr(edges, "shape") else list(edges)
        if _is_matrix(edges, d):
            return _check_binary(edges, argument)
        for pair in edges:
            if isinstance(pair, str) or not isinstance(pair, Iterable) or len(pair) != 2:
                raise ValueError(f"{form}, got the entry {pair!r}.")
            cause, effect = (self._index(variable, argument) for variable in pair)
            mask[cause, effect] = True
        return mask

    def _is_labelled(self, edges):
        """Tell whether it is a DataFrame that names causes in its index, effects in its columns."""
        axes = (getattr(edges, "index", ()), getattr(edges, "columns", ()))
        if self.names is None or not all(isinstance(axis, Iterable) for axis in axes):
            return False
        return all(len(axis) and all(isinstance(name, str) for name in axis) for axis in axes)

    def _levels(self, tiers):
        """Return the number of the tier of each variable, NaN for those in none."""
        level = np.full(self.n_features, np.nan)
        tiers = () if tiers is None else tiers
        if isinstance(tiers, str | Mapping) or not isinstance(tiers, Iterable):
            raise ValueError(f"tiers must be a list of groups of variables, got {tiers!r}.")
        for number, tier in enumerate(tiers):
            members = [tier] if isinstance(tier, str | numbers.Integral) else tier
            for variable in members:
                index = self._index(variable, "tiers")
                if not np.isnan(level[index]):
                    raise ValueError(f"tiers hold the variable {variable!r} twice.")
                level[index] = number
        return level

    def _refuse_contradictions(self):
        both = self.required & ~self.allowed
        if both.any():
            cause, effect = (int(k) for k in np.argwhere(both)[0])
            reason = "an edge from a variable to itself" if cause == effect else "also excluded"
            raise ValueError(
                f"required_edges contain {self._label(cause)} -> {self._label(effect)}, which is "
                f"{reason}" + ("." if cause == effect else " by forbidden_edges or tiers.")
            )
        if not is_acyclic(self.required):
            try:
                order_edges(self.required)
            except ValueError as error:
                cycle = str(error).rpartition("the cycle ")[2]
                raise ValueError(f"required_edges form the cycle {cycle}") from None

    def _label(self, index):
        return index if self.names is None else self.names[index]


def _as_array(edges):
    return edges.toarray() if sparse.issparse(edges) else np.asarray(edges)


def _is_matrix(edges, d):
    """Tell a matrix from d pairs; for two variables only a boolean array is a matrix."""
    if hasattr(edges, "shape"):
        return edges.shape == (d, d) and (d != 2 or edges.dtype == bool)
    rows = (row for row in edges if isinstance(row, list | tuple | np.ndarray))
    return d != 2 and len(edges) == d and [len(row) for row in rows] == [d] * d


def _check_binary(matrix, argument):
    matrix = np.asarray(matrix)
    if not np.all(np.isin(matrix, (0, 1))):
        raise ValueError(f"{argument} must hold 0 and 1 only if it is a matrix.")
    return matrix.astype(bool)
