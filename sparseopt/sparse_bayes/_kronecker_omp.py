"""Orthogonal matching pursuit with a Kronecker-structured dictionary, as an estimator."""

from numbers import Integral, Real

from sklearn.utils._param_validation import Interval

from sparseopt._core import FitReporter, fitting
from sparseopt.sparse_bayes._kronecker_base import KroneckerRegressor
from sparseopt.sparse_bayes._kronecker_omp_function import kronecker_omp


class KroneckerOMP(KroneckerRegressor):
    r"""Orthogonal matching pursuit over supports that are products, one support a factor.

    Measurements are :math:`y = (A_1 \otimes \dots \otimes A_I) x + n`. Each iteration takes the
    column of the dictionary that correlates most with the residual, adds the column of each factor
    that belongs to it, and solves the least-squares problem on all products of these.

    Parameters
    ----------
    n_nonzero_coefs : int or sequence of int, default=None
        Largest number of columns of each factor. By default a tenth of its columns, at least one,
        or as many as are independent if ``tol`` is given.
    tol : float, default=None
        Squared norm of the residual at which to stop, as in scikit-learn's
        ``OrthogonalMatchingPursuit``.

    Attributes
    ----------
    coef_ : array of shape (n_1, ..., n_I) or (n_1, ..., n_I, n_targets)
        Coefficients. For a matrix ``X`` it is (n_features,) or (n_features, n_targets).
    supports_ : list of arrays of bool of shape (n_d,)
        The columns of each factor that were chosen.
    residual_norm_ : float
        Squared norm of the residual.
    n_iter_ : int
        Number of iterations.
    history_ : dict
        Arrays ``iteration``, ``time`` (seconds), ``objective`` (the squared norm of the residual),
        ``certificate``.
    n_features_in_ : int
        Number of columns of the dictionary.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features, if ``X`` is a data frame.

    Raises
    ------
    ValueError
        If the factors' numbers of rows do not multiply to that of ``y``, and for values that are
        not finite.

    See Also
    --------
    KroneckerSBL : Sparse Bayesian learning with the same structure.

    References
    ----------
    C. F. Caiafa & A. Cichocki, "Computing sparse representations of multidimensional signals using
    Kronecker bases", Neural Computation 25 (2013).

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.sparse_bayes import KroneckerOMP
    >>> rng = np.random.default_rng(0)
    >>> A, B = rng.standard_normal((12, 20)), rng.standard_normal((14, 20))
    >>> x = np.zeros((20, 20))
    >>> x[np.ix_([2, 7], [1, 4])] = [[3.0, 1.0], [2.0, -2.0]]
    >>> model = KroneckerOMP(n_nonzero_coefs=2).fit([A, B], A @ x @ B.T)
    >>> bool(np.allclose(model.coef_, x))
    True
    """

    _parameter_constraints: dict = {
        "n_nonzero_coefs": [None, Interval(Integral, 1, None, closed="left"), "array-like"],
        "tol": [None, Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, n_nonzero_coefs=None, *, tol=None):
        self.n_nonzero_coefs = n_nonzero_coefs
        self.tol = tol

    @fitting
    def fit(self, X, y):
        """Choose columns and solve for their coefficients.

        Parameters
        ----------
        X : sequence of arrays, KroneckerDictionary or array-like of shape (n_samples, n_features)
            Factors of shapes (m_d, n_d), or one matrix; real or complex.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Measurements, whose number is the product of all m_d, or a tensor of shape
            (m_1, ..., m_I) or (m_1, ..., m_I, n_targets). Targets share the support.

        Returns
        -------
        self : KroneckerOMP
            The fitted estimator.
        """
        factors, Y = self._validate_fit_data(X, y)
        with FitReporter(self, X, y) as reporter:
            with reporter.task("Kronecker OMP", _attributes) as callback:
                result = kronecker_omp(
                    factors,
                    Y,
                    n_nonzero_coefs=self.n_nonzero_coefs,
                    tol=self.tol,
                    callback=callback,
                )
            self.coef_, self.supports_ = result.coef, result.supports
            self.residual_norm_ = float(result.fun)
            self.n_iter_, self.history_ = int(result.nit), result.history
        return self


def _attributes(estimate):
    return {"coef_": estimate.coefficients()}
