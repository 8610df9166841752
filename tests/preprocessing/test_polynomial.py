"""Orthonormality, golden values, SciPy's polynomials, domains, terms and containers."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import special
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from sparseopt.preprocessing import (
    OrthogonalPolynomialFeatures,
    hyperbolic_cross,
    intrinsic_weights,
)

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "greedy" / "polynomial.npz")
UNIT = (-1, 1)


def _quadrature(kind, n_points):
    """Nodes and weights of Gauss quadrature for the probability measure of ``kind``."""
    roots = special.roots_legendre if kind == "legendre" else special.roots_chebyt
    nodes, weights = roots(n_points)
    return nodes, weights / weights.sum()


def _univariate(kind, degree, t):
    if kind == "legendre":
        return np.sqrt(2 * degree + 1) * special.eval_legendre(degree, t)
    return (np.sqrt(2.0) if degree else 1.0) * special.eval_chebyt(degree, t)


@parametrize_with_checks(
    [
        OrthogonalPolynomialFeatures("chebyshev", index_set="total_degree", degree=2),
        OrthogonalPolynomialFeatures(max_terms=20, include_bias=False),
        OrthogonalPolynomialFeatures(domain=(-10, 10), out_of_domain="extrapolate"),
    ]
)
def test_scikit_learn_check(estimator, check):
    assert check(estimator) is None


@pytest.mark.parametrize("kind", ["legendre", "chebyshev"])
@pytest.mark.parametrize("index_set", ["hyperbolic_cross", "total_degree", "tensor"])
def test_orthonormal_by_quadrature(kind, index_set):
    nodes, weights = _quadrature(kind, 6)  # exact up to degree 11
    points = np.array(list(product(nodes, repeat=3)))
    mass = np.array([np.prod(w) for w in product(weights, repeat=3)])
    features = OrthogonalPolynomialFeatures(kind, index_set=index_set, degree=5, domain=UNIT)
    values = features.fit_transform(points)
    gram = values.T @ (mass[:, None] * values)
    np.testing.assert_allclose(gram, np.eye(features.n_output_features_), atol=1e-12)


@pytest.mark.parametrize("kind", ["legendre", "chebyshev"])
def test_agrees_with_scipy(kind):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (7, 3))
    terms = [[0, 0, 0], [1, 0, 0], [4, 0, 2], [30, 1, 0], [0, 0, 9]]  # no lower set
    features = OrthogonalPolynomialFeatures(kind, index_set=terms, domain=UNIT)
    expected = np.ones((7, 5))
    for j, nu in enumerate(terms):
        for k, degree in enumerate(nu):
            expected[:, j] *= _univariate(kind, degree, X[:, k])
    np.testing.assert_allclose(features.fit_transform(X), expected, rtol=1e-11, atol=1e-13)


def test_golden_values_and_weights():
    terms = GOLDEN["index_set"]
    features = OrthogonalPolynomialFeatures("chebyshev", index_set=terms, domain=UNIT)
    values = features.fit_transform(GOLDEN["samples"])
    np.testing.assert_allclose(
        values[:10], GOLDEN["design_times_sqrtm_first10"], rtol=1e-7, atol=1e-12
    )
    np.testing.assert_allclose(features.weights_, GOLDEN["intrinsic_weights"], rtol=1e-7)
    # The same set, by its order rather than by enumeration.
    ours = hyperbolic_cross(5, int(terms.max()))
    assert {tuple(nu) for nu in ours.tolist()} == {tuple(nu) for nu in terms.tolist()}


@pytest.mark.parametrize("kind", ["legendre", "chebyshev"])
def test_weights_are_the_values_in_the_corner(kind):
    features = OrthogonalPolynomialFeatures(kind, degree=7, domain=UNIT).fit(np.zeros((1, 3)))
    corner = features.transform(np.ones((1, 3)))[0]
    np.testing.assert_allclose(features.weights_, corner, rtol=1e-12)
    inside = features.transform(np.random.default_rng(0).uniform(-1, 1, (200, 3)))
    assert (np.abs(inside) <= features.weights_ * (1 + 1e-12)).all()


def test_unknown_kind_of_weights():
    with pytest.raises(ValueError, match="kind"):
        intrinsic_weights("hermite", [[0, 1]])


def test_domain_is_an_affine_change_of_variables():
    rng = np.random.default_rng(1)
    T = rng.uniform(-1, 1, (20, 2))
    T[0], T[1] = -1.0, 1.0
    lower, upper = np.array([-3.0, 100.0]), np.array([5.0, 101.0])
    X = lower + 0.5 * (T + 1) * (upper - lower)
    expected = OrthogonalPolynomialFeatures(degree=6, domain=UNIT).fit_transform(T)
    given = OrthogonalPolynomialFeatures(degree=6, domain=np.column_stack([lower, upper]))
    learnt = OrthogonalPolynomialFeatures(degree=6, domain="fit")
    np.testing.assert_allclose(given.fit_transform(X), expected, atol=1e-10)
    np.testing.assert_allclose(learnt.fit_transform(X), expected, atol=1e-10)
    np.testing.assert_allclose(learnt.domain_, given.domain_)


def test_values_outside_the_domain():
    outside = np.array([[0.5, -1.5]])
    border = np.array([[0.5, -1.0]])
    strict = OrthogonalPolynomialFeatures(domain=UNIT)
    with pytest.raises(ValueError, match=r"-1\.5 in row 0, feature 1.*\[-1\.0, 1\.0\]"):
        strict.fit(outside)
    strict.fit(border)
    with pytest.raises(ValueError, match="1 values outside the domain"):
        strict.transform(outside)
    clipped = clone(strict).set_params(out_of_domain="clip").fit(border)
    np.testing.assert_array_equal(clipped.transform(outside), clipped.transform(border))
    extrapolated = clone(strict).set_params(out_of_domain="extrapolate").fit(border)
    column = list(extrapolated.get_feature_names_out()).index("P3(x1)")
    value = extrapolated.transform(outside)[0, column]
    assert value == pytest.approx(_univariate("legendre", 3, -1.5))
    learnt = OrthogonalPolynomialFeatures().fit([[0.0, -1.0], [1.0, 1.0]])
    np.testing.assert_array_equal(learnt.transform(outside), learnt.transform(border))
    with pytest.raises(ValueError, match="outside the domain"):
        learnt.set_params(out_of_domain="error").transform(outside)


@pytest.mark.parametrize(("dtype", "far"), [(np.float32, 1e20), (np.float64, 1e150)])
def test_overflow_far_outside_the_domain(dtype, far):
    features = OrthogonalPolynomialFeatures(domain=UNIT, out_of_domain="extrapolate")
    X = np.array([[far]], dtype=dtype)
    with pytest.raises(ValueError, match="overflow"):
        features.fit(X).transform(X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_at_the_border_is_inside(dtype):
    features = OrthogonalPolynomialFeatures(domain=(0.1, 0.3)).fit(np.full((1, 1), 0.2, dtype))
    border = np.nextafter(dtype(0.3), dtype(1.0)).reshape(1, 1)
    np.testing.assert_allclose(features.transform(border)[0], features.weights_, rtol=1e-6)


def test_constant_features_have_a_domain():
    X = np.column_stack([np.full(5, 1e20), np.zeros(5), np.arange(5.0)])
    features = OrthogonalPolynomialFeatures().fit(X)
    assert (features.domain_[:, 0] < features.domain_[:, 1]).all()
    assert np.isfinite(features.transform(X)).all()


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        ((1, -1), "lower < upper"),
        ((0, np.inf), "finite"),
        ((0, 1, 2), "pair"),
        ([[0, 1]] * 3, "pair"),
        ("learn", "domain"),
    ],
)
def test_bad_domain(domain, message):
    with pytest.raises(ValueError, match=message):
        OrthogonalPolynomialFeatures(domain=domain).fit(np.zeros((3, 2)))


def test_max_terms_bounds_the_output():
    X = np.zeros((1, 10))
    with_bias = OrthogonalPolynomialFeatures(max_terms=500).fit(X)
    assert (with_bias.n_output_features_, with_bias.degree_) == (471, 8)
    without = OrthogonalPolynomialFeatures(max_terms=470, include_bias=False).fit(X)
    np.testing.assert_array_equal(without.index_set_, with_bias.index_set_[1:])
    fewer = OrthogonalPolynomialFeatures(max_terms=469, include_bias=False).fit(X)
    assert fewer.degree_ == 7


def test_given_index_set_is_used_as_it_is():
    X = np.zeros((1, 2))
    terms = [[2, 1], [0, 0], [0, 3]]
    features = OrthogonalPolynomialFeatures(index_set=terms).fit(X)
    np.testing.assert_array_equal(features.index_set_, terms)
    features.set_params(include_bias=False).fit(X)
    np.testing.assert_array_equal(features.index_set_, [[2, 1], [0, 3]])
    with pytest.raises(ValueError, match="3 columns"):
        OrthogonalPolynomialFeatures(index_set=[[0, 1, 2]]).fit(X)
    with pytest.raises(ValueError, match="leaves no term"):
        OrthogonalPolynomialFeatures(degree=0, include_bias=False).fit(X)


def test_too_large_a_set_is_refused():
    with pytest.raises(ValueError, match="'tensor' of order 3 in 40 variables"):
        OrthogonalPolynomialFeatures(index_set="tensor").fit(np.zeros((1, 40)))


def test_names():
    X = pd.DataFrame({"age": [0.0, 1.0], "bmi": [2.0, 3.0]})
    terms = [[0, 0], [0, 2], [3, 1]]
    features = OrthogonalPolynomialFeatures("chebyshev", index_set=terms).fit(X)
    assert list(features.get_feature_names_out()) == ["1", "T2(bmi)", "T3(age) T1(bmi)"]
    with pytest.raises(ValueError, match="input_features"):
        features.get_feature_names_out(["age", "height"])
    unnamed = OrthogonalPolynomialFeatures(index_set=terms).fit(X.to_numpy())
    assert list(unnamed.get_feature_names_out()) == ["1", "P2(x1)", "P3(x0) P1(x1)"]


@pytest.mark.parametrize(("library", "frame"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_data_frames_in_and_out(library, frame):
    X = frame({"age": [0.0, 0.3, 1.0], "bmi": [2.0, 2.1, 3.0]})
    features = OrthogonalPolynomialFeatures().set_output(transform=library)
    out = features.fit_transform(X)
    assert isinstance(out, frame)
    assert list(out.columns) == list(features.get_feature_names_out())
    plain = OrthogonalPolynomialFeatures().fit_transform(X.to_numpy())
    np.testing.assert_array_equal(out.to_numpy(), plain)


def test_float32_is_kept_and_accurate():
    X = np.random.default_rng(2).uniform(-1, 1, (50, 3)).astype(np.float32)
    features = OrthogonalPolynomialFeatures(degree=12, domain=UNIT)
    single, double = features.fit_transform(X), features.fit_transform(X.astype(np.float64))
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(single, double, rtol=2e-7, atol=1e-30)


def test_memory_layout_and_read_only_input():
    X = np.random.default_rng(3).uniform(-1, 1, (30, 4))
    expected = OrthogonalPolynomialFeatures().fit_transform(X)
    fortran = np.asfortranarray(X)
    fortran.flags.writeable = False
    strided = np.repeat(np.repeat(X, 2, axis=0), 2, axis=1)[::2, ::2]
    for given in (fortran, strided):
        np.testing.assert_array_equal(OrthogonalPolynomialFeatures().fit_transform(given), expected)


def test_failed_fit_changes_nothing():
    features = OrthogonalPolynomialFeatures(domain=UNIT)
    with pytest.raises(ValueError, match="outside"):
        features.fit([[2.0]])
    with pytest.raises(NotFittedError):
        features.transform([[0.0]])
    features.fit([[0.5]])
    before = features.index_set_
    with pytest.raises(ValueError, match="outside"):
        features.fit([[2.0, 3.0]])
    assert features.index_set_ is before
    assert features.n_features_in_ == 1


@pytest.mark.parametrize("constant", [1.7e308, -1.7e308])
def test_a_constant_near_the_largest_number_is_no_nan(constant):
    features = OrthogonalPolynomialFeatures(degree=2).fit_transform(np.full((3, 1), constant))
    assert np.isfinite(features).all()
