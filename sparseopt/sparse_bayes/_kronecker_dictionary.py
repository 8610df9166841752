"""Kronecker products of matrices as linear operators on tensors; the product is never formed.

In C order, ``(A_1 ⊗ ... ⊗ A_I) x`` is the tensor ``x.reshape(n_1, ..., n_I)`` with each axis
d multiplied by the matrix A_d (m_d, n_d). With N = prod n_d and M = prod m_d this costs about
I N max(m_d) operations, in place of the N M of the full matrix.
"""

import math
from numbers import Number

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from sparseopt._core import array_namespace, is_numpy

LINEAR_ALGEBRA_DTYPES = {"e": np.float32, "g": np.float64, "G": np.complex128}


def mode_products(matrices, tensor):
    """Multiply axis d of ``tensor`` by the d-th of ``matrices``; more axes may follow.

    Parameters
    ----------
    matrices : sequence of arrays of shape (p_d, q_d)
        From any array library.
    tensor : array of shape (q_1, ..., q_I, ...)
        From the same library.

    Returns
    -------
    array of shape (p_1, ..., p_I, ...)
        One matrix product an axis, the last axis first: then no axis is ever moved.
    """
    xp = array_namespace(tensor)
    shape = list(tensor.shape)
    for axis in reversed(range(len(matrices))):
        matrix = matrices[axis]
        before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        if after == 1:
            rows = xp.reshape(tensor, (before, shape[axis]))
            tensor = xp.matmul(rows, xp.matrix_transpose(matrix))
        else:
            tensor = xp.matmul(matrix, xp.reshape(tensor, (before, shape[axis], after)))
        shape[axis] = matrix.shape[0]
    return xp.reshape(tensor, tuple(shape))


def outer_product(vectors):
    """Return the tensor ``v_1[i_1] * ... * v_I[i_I]``."""
    xp = array_namespace(vectors[0])
    tensor = vectors[0]
    for vector in vectors[1:]:
        tensor = tensor[..., None] * xp.reshape(vector, (1,) * tensor.ndim + (-1,))
    return tensor


def adjoint(matrix):
    """Return the conjugate transpose."""
    xp = array_namespace(matrix)
    return xp.matrix_transpose(xp.conj(matrix))


def squared_magnitude(array):
    """Return ``|array|^2``, real."""
    xp = array_namespace(array)
    if xp.isdtype(array.dtype, "complex floating"):
        return xp.real(array) ** 2 + xp.imag(array) ** 2
    return array * array


def dense_numbers(array, name):
    """Return a NumPy array in a dtype of linear algebra if it holds numbers.

    Raises
    ------
    TypeError
        For sparse containers and masked arrays.
    """
    if sparse.issparse(array):
        raise TypeError(f"{name} must be a dense array, got a sparse container.")
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} must have no mask: missing entries are not supported.")
    array = np.asarray(array)
    if array.dtype.kind in "biu":
        return array.astype(np.float64)
    if array.dtype.kind in "fc" and array.dtype.char not in "fdFD":
        return array.astype(LINEAR_ALGEBRA_DTYPES[array.dtype.char])
    return array


def check_factors(factors):
    """Return the factors as floating arrays of one dtype, and their array namespace.

    Raises
    ------
    TypeError
        If ``factors`` is no sequence of matrices, or they come from several array libraries.
    ValueError
        For an empty sequence, a factor that is no non-empty matrix, or one with entries that
        are not finite.
    """
    if isinstance(factors, KroneckerDictionary):
        return list(factors.factors), array_namespace(*factors.factors)
    if not isinstance(factors, (list, tuple)):
        raise TypeError(
            f"factors must be a list or tuple of matrices, got {type(factors).__name__}."
        )
    if not factors:
        raise ValueError("factors must hold at least one matrix, got none.")
    factors = [_from_lists(factor, number) for number, factor in enumerate(factors)]
    xp = array_namespace(*factors)
    checked = []
    for number, factor in enumerate(factors):
        matrix = dense_numbers(factor, f"factor {number}") if is_numpy(xp) else factor
        if matrix.ndim != 2 or 0 in matrix.shape:
            raise ValueError(
                f"factor {number} must be a non-empty matrix, got shape {tuple(matrix.shape)}."
            )
        if not xp.isdtype(matrix.dtype, ("real floating", "complex floating")):
            raise ValueError(f"factor {number} must hold numbers, got dtype {matrix.dtype}.")
        if not bool(xp.all(xp.isfinite(matrix))):
            raise ValueError(f"factor {number} must be finite, got NaN or infinite entries.")
        checked.append(matrix)
    dtype = xp.result_type(*checked)
    return [xp.astype(matrix, dtype, copy=False) for matrix in checked], xp


def _from_lists(factor, number):
    """Return nested lists as an array, and anything else but numbers as it is."""
    if not isinstance(factor, (list, tuple, Number)):
        return factor
    try:
        return np.asarray(factor)
    except ValueError:
        raise ValueError(
            f"factor {number} must be a matrix, got lists of different lengths."
        ) from None


class KroneckerDictionary(LinearOperator):
    r"""Kronecker product of matrices, as a linear operator that never forms it.

    With factors :math:`A_d` of shapes :math:`m_d \times n_d`, it is the matrix
    :math:`A_1 \otimes \dots \otimes A_I` of shape
    :math:`\prod_d m_d \times \prod_d n_d`. In C order it multiplies each axis of the tensor
    ``x.reshape(input_shape)`` by its factor.

    Parameters
    ----------
    factors : sequence of arrays of shape (m_d, n_d)
        One or more matrices, real or complex, of any array library; they are brought to one
        dtype.

    Attributes
    ----------
    factors : tuple of arrays
        The matrices.
    input_shape : tuple of int
        :math:`(n_1, \dots, n_I)`.
    output_shape : tuple of int
        :math:`(m_1, \dots, m_I)`.
    shape : tuple of int
        Numbers of rows and columns of the product.
    dtype : dtype
        NumPy's name for the dtype of the factors.

    Raises
    ------
    TypeError
        If ``factors`` is no list or tuple.
    ValueError
        For no factors, or one that is no finite, non-empty matrix.

    See Also
    --------
    KroneckerSBL : Sparse coefficients of such a dictionary.

    Notes
    -----
    ``matvec``, ``rmatvec``, ``matmat``, ``@``, ``.H`` and the rest of
    :class:`scipy.sparse.linalg.LinearOperator` take NumPy arrays; :meth:`apply` and
    :meth:`apply_adjoint` take tensors of the factors' own array library.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.sparse_bayes import KroneckerDictionary
    >>> rng = np.random.default_rng(0)
    >>> A, B = rng.standard_normal((3, 5)), rng.standard_normal((4, 6))
    >>> dictionary = KroneckerDictionary([A, B])
    >>> dictionary.shape, dictionary.input_shape
    ((12, 30), (5, 6))
    >>> x = rng.standard_normal(30)
    >>> bool(np.allclose(dictionary @ x, np.kron(A, B) @ x))
    True
    """

    def __init__(self, factors):
        checked, xp = check_factors(factors)
        self.factors = tuple(checked)
        self.input_shape = tuple(int(factor.shape[1]) for factor in checked)
        self.output_shape = tuple(int(factor.shape[0]) for factor in checked)
        name = next(
            name
            for name in ("float64", "complex128", "float32", "complex64")
            if checked[0].dtype == getattr(xp, name)
        )
        shape = math.prod(self.output_shape), math.prod(self.input_shape)
        super().__init__(np.dtype(name), shape)

    def apply(self, tensor):
        """Multiply coefficients by the dictionary.

        Parameters
        ----------
        tensor : array of shape (n_1, ..., n_I) or (n_1, ..., n_I, n_targets)
            Coefficients.

        Returns
        -------
        array of shape (m_1, ..., m_I) or (m_1, ..., m_I, n_targets)
            Measurements.
        """
        self._check_tensor(tensor, self.input_shape)
        return mode_products(self.factors, tensor)

    def apply_adjoint(self, tensor):
        """Multiply measurements by the conjugate transpose of the dictionary.

        Parameters
        ----------
        tensor : array of shape (m_1, ..., m_I) or (m_1, ..., m_I, n_targets)
            Measurements.

        Returns
        -------
        array of shape (n_1, ..., n_I) or (n_1, ..., n_I, n_targets)
            Correlations with the columns.
        """
        self._check_tensor(tensor, self.output_shape)
        return mode_products([adjoint(factor) for factor in self.factors], tensor)

    def column_norms(self):
        """Return the Euclidean norms of the columns.

        Returns
        -------
        array of shape (n_1, ..., n_I)
            Products of the norms of the factors' columns.
        """
        xp = array_namespace(self.factors[0])
        return outer_product(
            [xp.sqrt(xp.sum(squared_magnitude(factor), axis=0)) for factor in self.factors]
        )

    def _check_tensor(self, tensor, shape):
        if tuple(tensor.shape[: len(shape)]) != shape or tensor.ndim > len(shape) + 1:
            raise ValueError(
                f"the tensor must have shape {shape}, or that and one more axis for targets, "
                f"got {tuple(tensor.shape)}."
            )

    def _matvec(self, x):
        return self._matmat(np.reshape(x, (-1, 1)))[:, 0]

    def _rmatvec(self, x):
        return self._rmatmat(np.reshape(x, (-1, 1)))[:, 0]

    def _matmat(self, X):
        tensor = np.reshape(X, (*self.input_shape, -1))
        return mode_products(self.factors, tensor).reshape(self.shape[0], -1)

    def _rmatmat(self, X):
        tensor = np.reshape(X, (*self.output_shape, -1))
        return self.apply_adjoint(tensor).reshape(self.shape[1], -1)

    def _adjoint(self):
        return KroneckerDictionary([adjoint(factor) for factor in self.factors])

    def _transpose(self):
        xp = array_namespace(self.factors[0])
        return KroneckerDictionary([xp.matrix_transpose(factor) for factor in self.factors])
