"""What is known beforehand of the edges: forbidden, required, or excluded by tiers."""

import numbers

import numpy as np

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
        matrix = np.asarray(edges) if hasattr(edges, "shape") else None
        if matrix is not None and matrix.shape == (d, d) and (d != 2 or matrix.dtype == bool):
            if not np.all(np.isin(matrix, (0, 1))):
                raise ValueError(f"{argument} must hold 0 and 1 only if it is a matrix.")
            return matrix.astype(bool)
        for pair in edges:
            if isinstance(pair, str) or len(pair) != 2:
                raise ValueError(
                    f"{argument} must be pairs (cause, effect) or a boolean matrix of shape "
                    f"{(d, d)}, got the entry {pair!r}."
                )
            cause, effect = (self._index(variable, argument) for variable in pair)
            mask[cause, effect] = True
        return mask

    def _levels(self, tiers):
        """Return the number of the tier of each variable, NaN for those in none."""
        level = np.full(self.n_features, np.nan)
        for number, tier in enumerate(tiers or ()):
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
