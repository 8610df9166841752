"""The columns that an inner solver works on, dense or sparse, behind one interface."""

import numpy as np

from sparseopt.optimize._design import DenseDesign
from sparseopt.optimize._kernels import cpu


class DenseBlock:
    """A working set of a dense design, gathered so that epochs stay in cache."""

    def __init__(self, design, working_set):
        self.matrix = design.matrix[:, working_set]
        self.n_stored = self.matrix.size
        self.norms_squared = design.column_norms_squared[working_set]

    def epochs(self, code, table, x, residual, n_epochs, *, skip_zeros, tolerance):
        """Run coordinate descent epochs in place; tell whether ``x`` came to rest."""
        return cpu.dense_epochs(
            self.matrix, self.norms_squared, code, table, x, residual,
            n_epochs, skip_zeros, tolerance,
        )  # fmt: skip

    def correlate(self, residual):
        """Return the correlations of the block's columns with ``residual``."""
        return np.conj(np.conj(residual) @ self.matrix)

    def correlate_positions(self, residual, positions):
        """Return the correlations of some of the block's columns with ``residual``."""
        return self.correlate(residual)[positions]

    def predict(self, positions, values):
        """Return ``X[:, positions] @ values``."""
        return self.matrix[:, positions] @ values


class SparseBlock:
    """A working set of a sparse design, addressed in place."""

    def __init__(self, design, working_set):
        self.design = design
        self.working_set = working_set
        self.n_stored = int(np.diff(design.matrix.indptr)[working_set].sum())
        self.norms_squared = design.column_norms_squared[working_set]

    def epochs(self, code, table, x, residual, n_epochs, *, skip_zeros, tolerance):
        """Run coordinate descent epochs in place; tell whether ``x`` came to rest."""
        design, matrix = self.design, self.design.matrix
        along = np.array([design.direction @ residual])
        rests = cpu.sparse_epochs(
            matrix.data, matrix.indices, matrix.indptr, design.loadings, along,
            self.working_set, self.norms_squared, code, table, x, residual,
            n_epochs, skip_zeros, tolerance,
        )  # fmt: skip
        if design.fit_intercept:
            residual -= design.direction * along[0]
        return rests

    def correlate(self, residual):
        """Return the correlations of the block's columns with ``residual``."""
        return self.correlate_positions(residual, slice(None))

    def correlate_positions(self, residual, positions):
        """Return the correlations of some of the block's columns with ``residual``."""
        columns = self.working_set[positions]
        out = np.empty(self.design.shape[1], self.design.dtype)
        self.design.correlate_columns(residual, columns, out)
        return out[columns]

    def predict(self, positions, values):
        """Return ``X[:, positions] @ values``."""
        return self.design.predict_columns(self.working_set[positions], values)


def working_block(design, working_set):
    """Return the block of ``design`` that holds the columns ``working_set``."""
    kind = DenseBlock if isinstance(design, DenseDesign) else SparseBlock
    return kind(design, working_set)
