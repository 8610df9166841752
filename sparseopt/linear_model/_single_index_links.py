"""Links of single-index models: the function of one variable that turns the index into y."""

import numpy as np
from sklearn.base import clone
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import SplineTransformer
from sklearn.utils.validation import has_fit_parameter

from sparseopt._core._hermite import hermite_basis
from sparseopt.linear_model._single_index_refinement import PolynomialFit

SPLINE_KNOTS = 10
SPLINE_PENALTIES = np.geomspace(1e-6, 1e2, 17)
SMALLEST_NEIGHBOURHOOD = 5


class Link:
    """A fitted link: maps the index ``X @ coef_`` to predictions.

    Parameters
    ----------
    regressor : object
        Its ``predict`` takes a column (n, 1) of standardised indices.
    centre, scale : float
        The standardised index is ``(u - centre) / scale``.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sparseopt.linear_model import SingleIndexRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = SingleIndexRegressor(solver="sir").fit(X, y)
    >>> bool((model.link_.predict(model.transform(X)) == model.predict(X)).all())
    True
    """

    def __init__(self, regressor, centre, scale):
        self.regressor = regressor
        self.centre = centre
        self.scale = scale

    def predict(self, u):
        """Return the link at the indices ``u``, of shape (n,) or (n, 1)."""
        z = (np.asarray(u, dtype=float).reshape(-1, 1) - self.centre) / self.scale
        return np.asarray(self.regressor.predict(z), dtype=float).ravel()


class HermiteLink:
    """A polynomial in Hermite's basis, continued by its tangents beyond the training data."""

    def __init__(self, degree):
        self.degree = degree

    def fit(self, z, y, weight):
        z = z.ravel()
        fit = PolynomialFit(z, y, weight / weight.sum(), self.degree)
        self.coefficients, self.centre, self.scale = fit.coefficients, fit.centre, fit.scale
        self.lower, self.upper = z.min(), z.max()
        return self

    def predict(self, z):
        inside = np.clip(z.ravel(), self.lower, self.upper)
        basis = hermite_basis((inside - self.centre) / self.scale, self.degree)
        factors = self.coefficients[1:] * np.sqrt(np.arange(1, self.degree + 1))
        slopes = basis[:, : self.degree] @ factors / self.scale
        return basis @ self.coefficients + slopes * (z.ravel() - inside)


class SplineLink:
    """A cubic spline with knots at quantiles, its penalty chosen by cross-validation."""

    def fit(self, z, y, weight):
        order = np.argsort(z.ravel(), kind="stable")
        levels = np.cumsum(weight[order]) / weight.sum()
        positions = np.searchsorted(levels, np.linspace(0, 1, SPLINE_KNOTS) - 1e-12)
        knots = np.unique(z.ravel()[order][np.minimum(positions, len(order) - 1)])
        if len(knots) < 2:  # an index that is constant
            knots = knots[0] + np.array([-1.0, 1.0])
        self.basis = SplineTransformer(knots=knots[:, None], degree=3, extrapolation="linear")
        design = self.basis.fit_transform(z)
        self.ridge = RidgeCV(alphas=SPLINE_PENALTIES)
        self.ridge.fit(design, y, sample_weight=weight * (len(weight) / weight.sum()))
        return self

    def predict(self, z):
        return self.ridge.predict(self.basis.transform(z))


class NeighbourLink:
    """The weighted mean of the targets of the nearest samples."""

    def fit(self, z, y, weight):
        n = len(y)
        size = min(n, max(SMALLEST_NEIGHBOURHOOD, round(n**0.5)))
        # Both sums of a weighted mean are plain means over the same neighbours.
        self.neighbours = KNeighborsRegressor(n_neighbors=size)
        self.neighbours.fit(z, np.column_stack([weight * y, weight]))
        return self

    def predict(self, z):
        sums = self.neighbours.predict(z)
        return sums[:, 0] / sums[:, 1]


class IsotonicLink:
    """The best function that does not decrease."""

    def fit(self, z, y, weight):
        self.isotonic = IsotonicRegression(out_of_bounds="clip")
        self.isotonic.fit(z.ravel(), y, sample_weight=weight)
        return self

    def predict(self, z):
        return self.isotonic.predict(z.ravel())


def fit_link(kind, z, y, weight, repeats, degree):
    """Fit a link on standardised indices.

    Parameters
    ----------
    kind : str or estimator
        As in :class:`SingleIndexRegressor`.
    z, y, weight : ndarray of shape (n,)
        Indices, targets and weights of distinct samples.
    repeats : ndarray of shape (n,) or None
        How many rows each sample stands for if the rows have no weights of their own.
    degree : int
        Of the polynomial.
    """
    column = z[:, None]
    if kind == "hermite":
        return HermiteLink(degree).fit(column, y, weight)
    if kind == "spline":
        return SplineLink().fit(column, y, weight)
    if kind == "knn":
        return NeighbourLink().fit(column, y, weight)
    if kind == "isotonic":
        return IsotonicLink().fit(column, y, weight)
    regressor = clone(kind)
    if has_fit_parameter(regressor, "sample_weight"):
        mean_one = (
            weight * (len(weight) / weight.sum()) if repeats is None else repeats.astype(float)
        )
        return regressor.fit(column, y, sample_weight=mean_one)
    if repeats is None:
        raise ValueError(
            f"link={kind!r} does not take sample_weight in fit, so that the sample_weight given "
            "cannot be respected. Fit without sample_weight, or choose another link."
        )
    return regressor.fit(np.repeat(column, repeats, axis=0), np.repeat(y, repeats))
