"""Losses: derivatives, limits, extreme predictions, weights, and kernels against classes."""

import math

import numpy as np
import pytest
from scipy import optimize
from sklearn.metrics import log_loss

from sparseopt.optimize import HuberLoss, LogisticLoss, MultinomialLoss, PoissonLoss, SquaredLoss
from sparseopt.optimize import _losses as classes
from sparseopt.optimize._kernels import losses as kernels

LOSSES = [SquaredLoss(), LogisticLoss(), HuberLoss(0.7), PoissonLoss(), MultinomialLoss()]
SCALAR = LOSSES[:-1]
N_CLASSES = 4


def make_data(loss, *, n=9, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, N_CLASSES) if isinstance(loss, MultinomialLoss) else n)
    y = {
        SquaredLoss: rng.standard_normal(n),
        LogisticLoss: rng.choice([-1.0, 1.0], n),
        HuberLoss: rng.standard_normal(n),
        PoissonLoss: rng.poisson(1.5, n).astype(float),
        MultinomialLoss: rng.integers(N_CLASSES, size=n),
    }[type(loss)]
    return loss.check_target(y), z, rng.uniform(0.5, 2, n)


def by_name(losses):
    return pytest.mark.parametrize("loss", losses, ids=lambda loss: type(loss).__name__)


@by_name(LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_against_finite_differences(loss, weighted):
    y, z, weights = make_data(loss)
    weights = weights if weighted else None

    def flat(p):
        return loss.value(y, p.reshape(z.shape), weights)

    numerical = optimize.approx_fprime(z.ravel(), flat, 1e-6)
    np.testing.assert_allclose(loss.gradient(y, z, weights).ravel(), numerical, atol=1e-6)


@by_name(LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_hessian_diagonal_against_finite_differences(loss, weighted):
    y, z, weights = make_data(loss)
    weights = weights if weighted else None
    step = 1e-5
    numerical = np.zeros(z.shape)
    for index in np.ndindex(z.shape):
        ahead, behind = z.copy(), z.copy()
        ahead[index] += step
        behind[index] -= step
        difference = loss.gradient(y, ahead, weights) - loss.gradient(y, behind, weights)
        numerical[index] = difference[index] / (2 * step)
    np.testing.assert_allclose(loss.hessian_diagonal(y, z, weights), numerical, atol=1e-9)


@by_name(LOSSES)
def test_integer_weights_equal_repeated_rows(loss):
    y, z, _ = make_data(loss)
    repeats = np.array([0, 1, 2, 3, 1, 0, 2, 1, 5])
    y_long, z_long = np.repeat(y, repeats, axis=0), np.repeat(z, repeats, axis=0)
    weights = repeats.astype(float)
    assert loss.value(y, z, weights) == pytest.approx(loss.value(y_long, z_long), rel=1e-14)
    starts = np.cumsum(repeats) - repeats
    for method in ("gradient", "hessian_diagonal"):
        short = getattr(loss, method)(y, z, weights)
        long = getattr(loss, method)(y_long, z_long)
        for i in range(len(y)):
            total = long[starts[i] : starts[i] + repeats[i]].sum(axis=0)
            np.testing.assert_allclose(short[i], total, rtol=1e-13)


@by_name(LOSSES)
def test_curvature_bounds_the_hessian(loss):
    rng = np.random.default_rng(3)
    y, _, _ = make_data(loss, n=2000)
    if isinstance(loss, MultinomialLoss):
        z = 4 * rng.standard_normal((2000, N_CLASSES))
        z[0] = [50, 50, 0, 0]  # two equal classes attain the bound
        p = loss.gradient(y, z) * len(y)
        p[np.arange(len(y)), y] += 1
        hessians = p[:, :, None] * (np.eye(N_CLASSES) - p[:, None, :])
        largest = np.linalg.eigvalsh(hessians)[:, -1].max()
    else:
        z = 4 * rng.standard_normal(2000)
        z[0] = y[0] = 1.0
        z[1] = 0.0
        largest = len(y) * loss.hessian_diagonal(y, z).max()
    assert largest <= loss.curvature * (1 + 1e-12)
    if np.isfinite(loss.curvature):
        assert largest == pytest.approx(loss.curvature)
    assert np.all(loss.lipschitz(np.array([8.0]), 4.0) <= 2 * loss.curvature)


def test_coordinate_lipschitz_constants():
    norms = np.array([8.0])
    expected = {SquaredLoss: 2.0, LogisticLoss: 0.5, MultinomialLoss: 0.5, HuberLoss: 2.0}
    for loss in LOSSES:
        value = expected.get(type(loss), math.inf)
        np.testing.assert_array_equal(loss.lipschitz(norms, 4.0), [value])


def test_logistic_loss_of_extreme_predictions():
    loss, y = LogisticLoss(), np.array([1.0, -1.0, 1.0, -1.0])
    z = np.array([1e4, -1e4, -1e4, 1e4])
    assert loss.value(y, z) == 5e3
    np.testing.assert_array_equal(loss.gradient(y, z), [0, 0, -0.25, 0.25])
    np.testing.assert_array_equal(loss.hessian_diagonal(y, z), np.zeros(4))
    # Digits survive where 1 + exp(-z) rounds to one.
    assert loss.value(np.ones(1), np.array([40.0])) == pytest.approx(math.exp(-40), rel=1e-14)
    tail = loss.hessian_diagonal(np.ones(1), np.array([40.0]))
    np.testing.assert_allclose(tail, math.exp(-40), rtol=1e-14)


def test_multinomial_loss_of_extreme_predictions():
    loss, y = MultinomialLoss(), np.array([0, 1])
    z = np.array([[1e4, 0.0, -1e4], [1e4, 0.0, -1e4]])
    assert loss.value(y, z) == 5e3
    np.testing.assert_array_equal(loss.gradient(y, z), [[0, 0, 0], [0.5, -0.5, 0]])
    np.testing.assert_array_equal(loss.hessian_diagonal(y, z), np.zeros((2, 3)))


def test_poisson_loss_overflows_to_infinity_but_ignores_rows_without_weight():
    loss, y, z = PoissonLoss(), np.array([1.0, 2.0]), np.array([0.0, 1e4])
    assert loss.value(y, z) == np.inf
    weights = np.array([1.0, 0.0])
    assert loss.value(y, z, weights) == 1.0
    np.testing.assert_array_equal(loss.gradient(y, z, weights), [0.0, 0.0])
    np.testing.assert_array_equal(loss.hessian_diagonal(y, z, weights), [1.0, 0.0])


def test_multinomial_of_two_classes_is_logistic():
    y, z, weights = make_data(LogisticLoss())
    labels = (y > 0).astype(int)
    two = np.column_stack([np.zeros_like(z), z])
    loss = MultinomialLoss()
    assert loss.value(labels, two, weights) == pytest.approx(LogisticLoss().value(y, z, weights))
    np.testing.assert_allclose(
        loss.gradient(labels, two, weights)[:, 1], LogisticLoss().gradient(y, z, weights)
    )


def test_multinomial_agrees_with_scikit_learn():
    y, z, weights = make_data(MultinomialLoss())
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    expected = log_loss(y, p, sample_weight=weights, labels=np.arange(N_CLASSES))
    assert MultinomialLoss().value(y, z, weights) == pytest.approx(expected, rel=1e-12)


def test_huber_limits():
    y, z, weights = make_data(HuberLoss())
    squared = SquaredLoss()
    wide = HuberLoss(100.0)
    assert wide.value(y, z, weights) == pytest.approx(squared.value(y, z, weights), rel=1e-14)
    np.testing.assert_allclose(wide.gradient(y, z, weights), squared.gradient(y, z, weights))
    narrow = HuberLoss(1e-9)
    absolute = np.average(np.abs(y - z), weights=weights)
    assert narrow.value(y, z, weights) / 1e-9 == pytest.approx(absolute, rel=1e-8)


def test_poisson_gradient_vanishes_at_the_log_of_the_counts():
    y = np.array([1.0, 2.0, 7.0])
    np.testing.assert_allclose(PoissonLoss().gradient(y, np.log(y)), 0, atol=1e-15)


def test_squared_loss_of_complex_predictions():
    y, z = np.array([1 + 2j, 3.0]), np.array([0.0, 1j])
    loss = SquaredLoss()
    assert loss.value(y, z) == pytest.approx((5 + 10) / 4)
    np.testing.assert_allclose(loss.gradient(y, z), (z - y) / 2)
    assert loss.hessian_diagonal(y, z).dtype == np.float64
    np.testing.assert_array_equal(loss.check_target(y), y)


@by_name(LOSSES)
def test_single_precision_stays(loss):
    y, z, weights = make_data(loss)
    z, weights = z.astype(np.float32), weights.astype(np.float32)
    y = y if y.dtype.kind == "i" else y.astype(np.float32)
    for method in (loss.gradient, loss.hessian_diagonal):
        assert method(y, z).dtype == np.float32
        assert method(y, z, weights).dtype == np.float32


@by_name(SCALAR)
@pytest.mark.parametrize("scale", [1.0, 30.0, 600.0])
def test_kernels_agree_with_the_classes(loss, scale):
    y, z, weights = make_data(loss, n=50)
    z, weights[::7] = scale * z, 0
    code, parameter = loss.kernel_code, loss.kernel_parameter
    total = weights.sum()
    gradient, curvature = np.full((2, 50), np.nan)
    kernels.weighted_derivatives(code, parameter, y, z, weights, gradient, curvature)
    value = kernels.weighted_loss(code, parameter, y, z, weights)
    assert value / total == pytest.approx(loss.value(y, z, weights), rel=1e-13)
    np.testing.assert_allclose(gradient / total, loss.gradient(y, z, weights), rtol=1e-12)
    np.testing.assert_allclose(curvature / total, loss.hessian_diagonal(y, z, weights), rtol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 600.0])
def test_multinomial_kernel_agrees_with_the_class(scale):
    loss = MultinomialLoss()
    y, z, weights = make_data(loss, n=50)
    z, weights[::7] = scale * z, 0
    probabilities = np.full(z.shape, np.nan)
    value = kernels.weighted_multinomial_loss(y, z, weights, probabilities)
    assert value / weights.sum() == pytest.approx(loss.value(y, z, weights), rel=1e-13)
    derivatives = probabilities.copy()
    derivatives[np.arange(50), y] -= 1
    expected = loss.gradient(y, z) * 50
    np.testing.assert_allclose(derivatives, expected, rtol=1e-12, atol=1e-15)


@by_name(LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
def test_best_constant_has_no_gradient(loss, weighted):
    y, z, weights = make_data(loss, n=60)
    weights = weights if weighted else None
    constant = loss.best_constant(y, weights)
    gradient = loss.gradient(y, np.zeros_like(z) + constant, weights).sum(axis=0)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


def test_best_constant_of_a_constant_target():
    assert HuberLoss().best_constant(np.full(3, 2.0)) == 2.0
    assert PoissonLoss().best_constant(np.full(3, 2.0)) == pytest.approx(math.log(2))


def test_losses_without_a_best_constant_say_so():
    with pytest.raises(ValueError, match="both labels"):
        LogisticLoss().best_constant(np.array([1.0, -1.0]), np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="count above 0"):
        PoissonLoss().best_constant(np.zeros(2))
    with pytest.raises(ValueError, match="got no 1"):
        MultinomialLoss().best_constant(np.array([0, 2]))


@by_name(SCALAR)
def test_model_curvature_is_positive_and_at_least_the_second_derivative(loss):
    y, z, _ = make_data(loss, n=50)
    z = 20 * z
    curvature = np.empty(50)
    kernels.weighted_model(
        loss.kernel_code, loss.kernel_parameter, y, z, np.ones(50), curvature
    )  # fmt: skip
    assert np.all(curvature >= 50 * loss.hessian_diagonal(y, z) * (1 - 1e-12))
    assert np.all(curvature * 1000 >= np.abs(50 * loss.gradient(y, z)) * (1 - 1e-12))
    if isinstance(loss, SquaredLoss):
        np.testing.assert_array_equal(curvature, 1)
    if isinstance(loss, HuberLoss):  # the model lies above the loss, and touches it twice
        residual = z - y
        np.testing.assert_allclose(curvature, np.minimum(1, loss.delta / np.abs(residual)))
        for change in (-3.0, 0.5, 40.0):
            moved = loss.gradient(y, z) * 50 * change + curvature * change**2 / 2
            losses = [
                loss.value(y[[i]], z[[i]] + change) - loss.value(y[[i]], z[[i]]) for i in range(50)
            ]
            assert np.all(moved >= np.array(losses) - 1e-12)


@by_name(SCALAR)
def test_model_curvatures_are_weighted(loss):
    y, z, weights = make_data(loss, n=50)
    code, parameter = loss.kernel_code, loss.kernel_parameter
    plain, weighted = np.full((2, 50), np.nan)
    kernels.weighted_model(code, parameter, y, z, np.ones(50), plain)
    weights[::7], z[::14] = 0, 1e4  # where the curvature may be infinite
    kernels.weighted_model(code, parameter, y, z, weights, weighted)
    np.testing.assert_allclose(weighted, np.where(weights > 0, weights * plain, 0), rtol=1e-14)


@by_name(LOSSES)
def test_fenchel_young(loss):
    # f(z) + f*(v) >= v z for every slope v, with equality at v = f'(z).
    y, z, weights = make_data(loss, n=200)
    _, other, _ = make_data(loss, n=200, seed=1)
    slopes = loss.gradient(y, z) * 200
    products = np.sum(slopes * z, axis=tuple(range(1, z.ndim)))
    gap = loss.value(y, z, weights) + loss.conjugate(y, slopes, weights)
    assert gap == pytest.approx(np.average(products, weights=weights), rel=1e-12)
    products = np.sum(slopes * other, axis=tuple(range(1, z.ndim)))
    assert loss.value(y, other) + loss.conjugate(y, slopes) > products.mean() + 1e-3


@pytest.mark.parametrize(
    ("loss", "y", "slope"),
    [
        (LogisticLoss(), 1.0, 0.1),
        (LogisticLoss(), 1.0, -1.1),
        (HuberLoss(1.0), 0.0, 1.1),
        (PoissonLoss(), 2.0, -2.1),
        (MultinomialLoss(), 0, [0.1, -0.1]),
        (MultinomialLoss(), 0, [-0.5, 0.6]),  # sums to 0.1
    ],
)
def test_conjugate_is_infinite_where_no_prediction_has_the_slope(loss, y, slope):
    assert loss.conjugate(np.array([y]), np.array([slope])) == np.inf


def test_conjugates_at_the_ends_of_their_domains():
    # Limits where the prediction runs to infinity: the entropies vanish.
    for y, slope in [(1.0, 0.0), (1.0, -1.0), (-1.0, 0.0), (-1.0, 1.0)]:
        assert LogisticLoss().conjugate(np.array([y]), np.array([slope])) == 0
    for slope in ([0.0, 0.0], [-1.0, 1.0]):
        assert MultinomialLoss().conjugate(np.array([0]), np.array([slope])) == 0
    assert PoissonLoss().conjugate(np.array([2.0]), np.array([-2.0])) == 0
    assert HuberLoss(1.0).conjugate(np.array([3.0]), np.array([-1.0])) == 0.5 - 3.0


def test_conjugate_of_the_squared_loss_in_complex_numbers():
    y, z = np.array([1 + 2j, 3.0]), np.array([5.0, 1 - 1j])
    loss = SquaredLoss()
    slopes = loss.gradient(y, z) * 2
    product = np.mean(np.real(np.conj(slopes) * z))
    assert loss.value(y, z) + loss.conjugate(y, slopes) == pytest.approx(product, rel=1e-14)


@by_name(LOSSES)
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool])
def test_integer_and_boolean_targets_become_numbers_that_subtract(loss, dtype):
    # Unsigned and boolean arrays wrap around or raise where they are negated.
    accepted = np.ones(3, dtype)
    y = loss.check_target(accepted)
    assert y.dtype == (np.intp if isinstance(loss, MultinomialLoss) else np.float64)
    np.testing.assert_array_equal(y, accepted)


def test_codes_agree():
    for name in ("SQUARED", "LOGISTIC", "MULTINOMIAL", "HUBER", "POISSON"):
        assert getattr(classes, name) == getattr(kernels, name)
    assert [loss.kernel_code for loss in LOSSES] == [0, 1, 3, 4, 2]


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        (LogisticLoss(), [0, 1], "labels -1 and \\+1 for LogisticLoss, got"),
        (LogisticLoss(), ["a", "b"], "real numbers for LogisticLoss"),
        (MultinomialLoss(), [0, 1.5], "integer labels 0, 1, ... for MultinomialLoss"),
        (MultinomialLoss(), [0, -1], "integer labels"),
        (PoissonLoss(), [1.0, -1.0], "y must be >= 0 for PoissonLoss"),
        (HuberLoss(), [1.0, np.nan], "y must be finite"),
        (HuberLoss(), [1.0, 1j], "real numbers for HuberLoss"),
        (SquaredLoss(), [1.0, np.inf], "y must be finite"),
        (SquaredLoss(), [1.0, complex(0, np.nan)], "y must be finite"),
        (SquaredLoss(), [[1.0]], "one-dimensional"),
        (PoissonLoss(), [], "non-empty"),
    ],
)
def test_bad_targets_are_refused(loss, y, message):
    with pytest.raises(ValueError, match=message):
        loss.check_target(y)


def test_labels_must_lie_below_the_number_of_classes():
    assert MultinomialLoss().check_target([0.0, 2.0], n_classes=3).dtype == np.intp
    with pytest.raises(ValueError, match=r"labels 0, ..., 1 for MultinomialLoss, got .*2"):
        MultinomialLoss().check_target([0, 2], n_classes=2)


@pytest.mark.parametrize(
    ("delta", "error"),
    [(0, ValueError), (-1.0, ValueError), (np.nan, ValueError), ("1", TypeError)],
)
def test_bad_deltas_are_refused(delta, error):
    with pytest.raises(error, match="delta"):
        HuberLoss(delta)


@by_name(LOSSES)
def test_shapes_that_would_broadcast_are_refused(loss):
    y, z, weights = make_data(loss)
    derivatives = loss.gradient(y, z)
    for method, argument in (
        (loss.value, z),
        (loss.gradient, z),
        (loss.hessian_diagonal, z),
        (loss.conjugate, derivatives),
    ):
        for wrong in (argument[:1], argument[..., None], argument.ravel()[0]):
            with pytest.raises(ValueError, match=r"y must have shape \(n_samples,\) and"):
                method(y, wrong)
        with pytest.raises(ValueError, match="sample_weight must have shape"):
            method(y, argument, weights[:1])
        for bad in (-weights, 0 * weights, np.where(np.arange(9) == 4, np.nan, weights)):
            with pytest.raises(ValueError, match="sample_weight must be >= 0"):
                method(y, argument, bad)


@by_name(LOSSES)
def test_lists_are_arrays(loss):
    y, z, weights = make_data(loss)
    for method in (loss.value, loss.gradient, loss.hessian_diagonal):
        actual = method(y.tolist(), z.tolist(), weights.tolist())
        np.testing.assert_array_equal(actual, method(y, z, weights))


def test_huber_of_a_numpy_delta_keeps_single_precision():
    y, z = np.array([0.0, 3.0], np.float32), np.zeros(2, np.float32)
    loss = HuberLoss(np.float64(1.35))
    assert loss.gradient(y, z).dtype == np.float32
    assert loss == HuberLoss(1.35)


def test_best_constant_of_a_rare_label():
    y = np.ones(1_000_000, np.float32)
    y[:3] = -1
    odds = math.log(999_997 / 3)
    assert LogisticLoss().best_constant(y) == pytest.approx(odds, rel=1e-14)
    weights = np.ones_like(y)
    assert LogisticLoss().best_constant(y, weights) == pytest.approx(odds, rel=1e-14)
    rare = LogisticLoss().best_constant(np.array([1.0, -1.0]), np.array([1.0, 1e-20]))
    assert rare == pytest.approx(math.log(1e20), rel=1e-14)


@pytest.mark.parametrize("scale", [1e-300, 1e-100, 1e300])
def test_huber_best_constant_at_any_scale(scale):
    y = np.array([0.0, 1.0, 2.0, 40.0])
    loss = HuberLoss(1.35 * scale)
    # Clipped slopes of the first and last cancel: the others leave their midpoint.
    assert loss.best_constant(scale * y) / scale == pytest.approx(1.5, rel=1e-12)


def test_huber_best_constant_of_targets_that_nearly_agree():
    y = np.array([0.0, 1e-310])
    assert 0 <= HuberLoss().best_constant(y) <= 1e-310


@by_name(LOSSES)
def test_an_empty_column_has_the_lipschitz_constant_zero(loss):
    assert loss.lipschitz(np.array([0.0, 1.0]), 2.0)[0] == 0
    assert loss.lipschitz(np.array([0, 4]), 2)[1] > 0


def test_labels_beyond_the_integers_are_refused():
    with pytest.raises(ValueError, match="integer labels"):
        MultinomialLoss().check_target([0.0, 1e300])
