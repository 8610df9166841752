r"""Dictionaries of several groups and blocks, as linear maps.

A dictionary Phi (K, N, M, Q) holds a matrix for each of K groups and N blocks. What the updates
need of it are products with all of its columns, and few of its columns as arrays:

    forward  (K, Q) -> (K, N, M):   Phi[k, n] v[k]
    adjoint  (K, N, M) -> (K, Q):   sum_n Phi[k, n]^H t[k, n]

Either is one matrix product, of K N M Q multiplications.
"""

import array_api_compat

from sparseopt._core import array_namespace
from sparseopt.sparse_bayes._variational._arrays import conjugate


def _take_columns(array, columns):
    """Return columns with host indices; axis -1 of an array counts them."""
    xp = array_namespace(array)
    device = array_api_compat.device(array)
    return xp.take(array, xp.asarray(columns, device=device), axis=array.ndim - 1)


def _check_floating(array, name):
    xp = array_namespace(array)
    if not xp.isdtype(array.dtype, ("real floating", "complex floating")):
        raise ValueError(f"{name} must hold real or complex floats, got dtype {array.dtype}.")


class DenseDictionary:
    """A dictionary whose entries are stored.

    Parameters
    ----------
    values : array of shape (K, N, M, Q)
        Entries, real or complex.
    """

    def __init__(self, values):
        if values.ndim != 4:
            raise ValueError(
                "a dictionary must have shape (n_groups, n_blocks, n_entries, n_columns), got "
                f"{tuple(values.shape)}."
            )
        _check_floating(values, "a dictionary")
        self.values = values
        self.shape = tuple(values.shape)
        self.dtype = values.dtype
        K, N, M, Q = self.shape
        self._stacked = array_namespace(values).reshape(values, (K, N * M, Q))

    def forward(self, v):
        """Return ``Phi[k, n] v[k]`` as an array (K, N, M)."""
        xp = array_namespace(self.values, v)
        return xp.reshape(xp.matmul(self._stacked, v[:, :, None]), self.shape[:3])

    def adjoint(self, t):
        """Return ``sum_n Phi[k, n]^H t[k, n]`` as an array (K, Q)."""
        xp = array_namespace(self.values, t)
        rows = xp.reshape(conjugate(t), (self.shape[0], 1, -1))
        return conjugate(xp.matmul(rows, self._stacked)[:, 0, :])

    def squared_norms(self):
        """Return the squared norms of all columns as a real array (K, N, Q)."""
        xp = array_namespace(self.values)
        groups = (self.values[k, ...] for k in range(self.shape[0]))
        return xp.stack([xp.sum(xp.abs(group) ** 2, axis=1) for group in groups])

    def projected_norms(self, basis):
        """Return the squared norms (K, N, Q) of ``basis^H Phi[k, n]`` for a basis (M, r)."""
        xp = array_namespace(self.values)
        rows = conjugate(basis).T
        groups = (xp.matmul(rows, self.values[k, ...]) for k in range(self.shape[0]))
        return xp.stack([xp.sum(xp.abs(group) ** 2, axis=1) for group in groups])

    @property
    def parts(self):
        """The arrays that it is made of."""
        return (self.values,)

    def columns(self, columns):
        """Return some columns, by indices on the host, as an array (K, N, M, C)."""
        return _take_columns(self.values, columns)

    def take(self, columns):
        """Return the dictionary of some columns."""
        return DenseDictionary(self.columns(columns))


class FactoredDictionary:
    r"""A dictionary whose groups and blocks share atoms, which differ by scalar factors only.

    The matrix of group k and block n has the columns

    .. math:: \Phi_{kn, :, q} = \varphi_{knq}\, a_q \quad\text{or}\quad \varphi_{knq}\, a_{nq}.

    Neither the matrices nor products of their size are ever formed: for M entries and Q columns,
    memory is that of M Q + K N Q numbers instead of K N M Q, and a product with the dictionary is
    one matrix product.

    Parameters
    ----------
    atoms : array of shape (M, Q) or (N, M, Q)
        Columns that all groups share, of all blocks or of each; real or complex floats, of any
        array library.
    phases : array of shape (K, N, Q)
        Factor of each column in each group and block; any numbers, not of modulus one only.

    Attributes
    ----------
    shape : tuple
        (K, N, M, Q).
    dtype : dtype
        That of the entries.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the arrays do not hold floats.

    See Also
    --------
    BilinearSubspaceVBI : Takes functions that return such dictionaries.

    Examples
    --------
    Two sensors hear each direction at a delay, which is a phase on each of three frequencies.

    >>> import numpy as np
    >>> from sparseopt.sparse_bayes import FactoredDictionary
    >>> sines, delays = np.linspace(-1, 1, 5), np.linspace(0, 0.4, 5)
    >>> atoms = np.exp(1j * np.pi * np.outer([0, 1], sines))
    >>> phases = np.exp(-2j * np.pi * np.outer([1, 2, 3], delays))[None]
    >>> dictionary = FactoredDictionary(atoms, phases)
    >>> dictionary.shape
    (1, 3, 2, 5)
    >>> dictionary.forward(np.ones((1, 5), complex)).shape
    (1, 3, 2)
    """

    def __init__(self, atoms, phases):
        if atoms.ndim not in (2, 3):
            raise ValueError(
                "atoms must have shape (n_entries, n_columns) or (n_blocks, n_entries, n_columns), "
                f"got {tuple(atoms.shape)}."
            )
        M, Q = atoms.shape[-2:]
        if phases.ndim != 3 or phases.shape[2] != Q:
            raise ValueError(
                f"phases must have shape (n_groups, n_blocks, {Q}) for atoms of {Q} columns, got "
                f"{tuple(phases.shape)}."
            )
        K, N = phases.shape[:2]
        if atoms.ndim == 3 and atoms.shape[0] != N:
            raise ValueError(
                f"atoms of shape {tuple(atoms.shape)} are those of {atoms.shape[0]} blocks, but "
                f"phases of shape {tuple(phases.shape)} have {N}."
            )
        _check_floating(atoms, "atoms")
        _check_floating(phases, "phases")
        xp = array_namespace(atoms, phases)
        self.dtype = xp.result_type(atoms, phases)
        self.atoms = xp.astype(atoms, self.dtype, copy=False)
        self.phases = xp.astype(phases, self.dtype, copy=False)
        self.shape = (K, N, M, Q)

    def forward(self, v):
        """Multiply the matrix of each group and block with the coefficients of the group.

        Parameters
        ----------
        v : array of shape (K, Q)
            Coefficients.

        Returns
        -------
        images : array of shape (K, N, M)
            The products.
        """
        xp = array_namespace(self.atoms, v)
        K, N, M, Q = self.shape
        scaled = self.phases * v[:, None, :]
        if self.atoms.ndim == 2:
            images = xp.matmul(xp.reshape(scaled, (K * N, Q)), self.atoms.T)
            return xp.reshape(images, (K, N, M))
        images = xp.matmul(self.atoms, xp.permute_dims(scaled, (1, 2, 0)))
        return xp.permute_dims(images, (2, 0, 1))

    def adjoint(self, t):
        """Multiply with the conjugate transposes, and sum over the blocks.

        Parameters
        ----------
        t : array of shape (K, N, M)
            What the matrices of each group and block are multiplied with.

        Returns
        -------
        products : array of shape (K, Q)
            The sums.
        """
        xp = array_namespace(self.atoms, t)
        K, N, M, Q = self.shape
        rows = conjugate(t)
        if self.atoms.ndim == 2:
            rows = xp.matmul(xp.reshape(rows, (K * N, M)), self.atoms)
            rows = xp.reshape(rows, (K, N, Q))
        else:
            rows = xp.matmul(xp.permute_dims(rows, (1, 0, 2)), self.atoms)
            rows = xp.permute_dims(rows, (1, 0, 2))
        return conjugate(xp.sum(self.phases * rows, axis=1))

    def squared_norms(self):
        """Compute the squared norms of all columns.

        Returns
        -------
        norms : array of shape (K, N, Q)
            Real.
        """
        xp = array_namespace(self.atoms)
        return xp.sum(xp.abs(self.atoms) ** 2, axis=-2) * xp.abs(self.phases) ** 2

    def projected_norms(self, basis):
        """Compute the squared norms of the products of a matrix with all columns.

        Parameters
        ----------
        basis : array of shape (M, r)
            The matrix, of which the conjugate transpose is taken.

        Returns
        -------
        norms : array of shape (K, N, Q)
            Real.
        """
        xp = array_namespace(self.atoms)
        projected = xp.matmul(conjugate(basis).T, self.atoms)
        return xp.sum(xp.abs(projected) ** 2, axis=-2) * xp.abs(self.phases) ** 2

    @property
    def parts(self):
        """Atoms and phases."""
        return (self.atoms, self.phases)

    def columns(self, columns):
        """Form some of the columns.

        Parameters
        ----------
        columns : ndarray of int of shape (C,)
            Their indices.

        Returns
        -------
        values : array of shape (K, N, M, C)
            The columns.
        """
        atoms = _take_columns(self.atoms, columns)
        return atoms * _take_columns(self.phases, columns)[:, :, None, :]

    def take(self, columns):
        """Return the dictionary of some columns.

        Parameters
        ----------
        columns : ndarray of int of shape (C,)
            Their indices.

        Returns
        -------
        dictionary : FactoredDictionary
            Of shape (K, N, M, C).
        """
        atoms = _take_columns(self.atoms, columns)
        return FactoredDictionary(atoms, _take_columns(self.phases, columns))
