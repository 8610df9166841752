"""The solvers of CoLiDE: reference trajectories, gradients, stationarity, invariances."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from sparseopt._core import Status
from sparseopt.causal._colide_adam import solve_adam
from sparseopt.causal._colide_prox import solve_prox
from sparseopt.causal._graphs import threshold_to_dag
from sparseopt.causal._kernels.m_matrix import invert_m_matrix, workspace_size
from sparseopt.causal._problem import CoLiDEProblem, largest_alpha

DATA = Path(__file__).parents[1] / "data" / "causal"
CASES = [
    "er2_d10_ev_gauss",
    "er2_d10_nv_gauss",
    "er2_d20_nv_laplace",
    "sf2_d20_ev_exp",
    "sachs_obs853",
]
MODELS = ["ev", "nv"]


def load(name):
    return np.load(DATA / f"{name}.npz", allow_pickle=False)


def published_problem(C, model, alpha=0.05):
    """Return the problem as the published code poses it, with a free diagonal."""
    everywhere = np.ones(C.shape, dtype=bool)
    return CoLiDEProblem(C, model == "ev", alpha, allowed=everywhere)


def random_covariance(d=12, seed=0):
    X = np.random.default_rng(seed).standard_normal((3 * d, d)) @ np.diag(np.linspace(1, 2, d))
    return X.T @ X / len(X)


def strongest_pair(C, allowed):
    """Return the allowed pair of variables with the largest covariance."""
    return np.unravel_index(np.argmax(np.abs(C) * allowed), C.shape)


def random_weights(d=12, radius=0.5, seed=0):
    """Return W whose W∘W has the given spectral radius."""
    W = np.random.default_rng(seed).standard_normal((d, d))
    return W * np.sqrt(radius / np.max(np.abs(np.linalg.eigvals(W * W))))


# ---------------------------------------------------------------- inverse of an M-matrix


@pytest.mark.parametrize("order", [1, 2, 3, 4, 7, 31, 32, 33, 50, 65, 67, 130])
def test_inverse_and_log_determinant_of_an_m_matrix(order):
    W = random_weights(order, radius=0.9, seed=order)
    A = np.eye(order) - W * W
    inverse = A.copy()
    log_determinant = invert_m_matrix(inverse, np.empty(workspace_size(order)))
    exact = np.linalg.inv(A)
    np.testing.assert_allclose(inverse, exact, rtol=0, atol=1e-13 * np.abs(exact).max())
    np.testing.assert_allclose(log_determinant, np.linalg.slogdet(A)[1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("order", [1, 2, 5, 33, 50, 67])
def test_no_inverse_outside_of_the_domain(order):
    W = random_weights(order, radius=1.01, seed=order)
    A = np.eye(order) - W * W
    assert np.min(np.linalg.inv(A)) < 0
    assert invert_m_matrix(A, np.empty(workspace_size(order))) == -np.inf


@pytest.mark.parametrize("order", [2, 40])
def test_the_domain_ends_where_the_matrix_is_singular(order):
    for excess, inside in ((-1e-9, True), (1e-9, False)):
        A = np.eye(order)
        A[0, -1] = -1.0
        A[-1, 0] = -1.0 - excess
        log_determinant = invert_m_matrix(A, np.empty(workspace_size(order)))
        if inside:
            np.testing.assert_allclose(log_determinant, np.log(-excess), rtol=1e-6)
        else:
            assert log_determinant == -np.inf


def test_nan_is_outside_of_the_domain():
    A = np.full((40, 40), np.nan)
    assert invert_m_matrix(A, np.empty(workspace_size(40))) == -np.inf


# ---------------------------------------------------------------- objective


@pytest.mark.parametrize("model", MODELS)
def test_objective_and_gradient_match_the_reference(model):
    cases = load("objective_gradient")
    for i in range(int(cases["count"])):
        s, mu, alpha = cases[f"par_{i}"]
        W = cases[f"W_{i}"]
        problem = published_problem(cases[f"C_{i}"], model, alpha)
        point = problem.point(W, s)
        scales = cases[f"{model}_sigma_{i}"] * np.ones(len(W))
        np.testing.assert_allclose(point.acyclicity, cases[f"h_{i}"], rtol=1e-10)
        np.testing.assert_allclose(point.scales, scales, rtol=1e-10)
        np.testing.assert_allclose(problem.score(point), cases[f"{model}_score_{i}"], rtol=1e-10)
        np.testing.assert_allclose(
            problem.objective(point, mu), cases[f"{model}_obj_{i}"], rtol=1e-10
        )
        slope = problem.gradient(point, mu, s) + mu * alpha * np.sign(W)
        reference = cases[f"{model}_subgrad_{i}"]
        np.testing.assert_allclose(slope, reference, rtol=1e-10, atol=1e-10 * abs(reference).max())


@pytest.mark.parametrize("equal_variance", [True, False])
def test_gradient_matches_central_differences(equal_variance):
    problem = CoLiDEProblem(random_covariance(), equal_variance, alpha=0.0)
    W = random_weights()
    np.fill_diagonal(W, 0)
    gradient = problem.gradient(problem.point(W, 0.9), 0.3, 0.9)
    for i, j in [(0, 1), (5, 3), (11, 2)]:
        step = np.zeros_like(W)
        step[i, j] = 1e-6
        high, low = (problem.objective(problem.point(W + t * step, 0.9), 0.3) for t in (1, -1))
        np.testing.assert_allclose((high - low) / 2e-6, gradient[i, j], rtol=1e-6)


@pytest.mark.parametrize("equal_variance", [True, False])
def test_noise_scales_minimise_the_score(equal_variance):
    problem = CoLiDEProblem(random_covariance(), equal_variance, alpha=0.1)
    point = problem.point(random_weights(), 1.0)
    best = problem.score(point)
    profile = np.diagonal((np.eye(12) - point.W).T @ point.residual)
    expected = np.sqrt(12 * profile.sum()) if equal_variance else np.sqrt(profile).sum()
    np.testing.assert_allclose(best, expected, rtol=1e-12)
    for factor in (0.99, 1.01):
        point.scales = point.scales * factor
        assert problem.score(point) > best
        point.scales = point.scales / factor


def test_floor_holds_the_noise_scales():
    C = np.ones((3, 3)) + 1e-12 * np.eye(3)
    W = np.zeros((3, 3))
    W[0, 1:] = 1.0
    problem = CoLiDEProblem(C, False, 0.1, scale_floor=1e-2)
    np.testing.assert_allclose(problem.point(W, 1.0).scales, [1, 0.01, 0.01])


def test_acyclicity_is_zero_exactly_for_dags():
    d = 40
    rng = np.random.default_rng(0)
    order = rng.permutation(d)
    dag = np.triu(rng.standard_normal((d, d)), 1)[np.ix_(order, order)]
    problem = CoLiDEProblem(np.eye(d), True, 0.1)
    for s in (0.3, 1.0, 5.0):
        assert abs(problem.acyclicity(dag, s)[0]) < 1e-12
    cyclic = np.zeros((d, d))
    cyclic[2, 7], cyclic[7, 2] = 0.5, 0.6
    np.testing.assert_allclose(
        problem.acyclicity(cyclic, 0.8)[0],
        2 * np.log(0.8) - np.log(0.8**2 - 0.5**2 * 0.6**2),
        rtol=1e-12,
    )
    W = random_weights(d)
    permuted = W[np.ix_(order, order)]
    np.testing.assert_allclose(
        problem.acyclicity(W, 0.9)[0], problem.acyclicity(permuted, 0.9)[0], rtol=1e-12
    )


# ---------------------------------------------------------------- the published algorithm


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("case", CASES)
def test_adam_reproduces_the_published_iterates(case, model):
    golden = load(case)
    problem = published_problem(golden["C"], model)
    for steps in (1, 2, 10, 100, 500):
        if f"{model}_W_it{steps}" not in golden:
            continue
        result = solve_adam(problem, mu=(1.0,), s=(1.0,), max_iter=steps, warn=False)
        tolerance = 1e-10 if steps == 500 else 1e-12
        np.testing.assert_allclose(result.x, golden[f"{model}_W_it{steps}"], rtol=0, atol=tolerance)
        sigma = golden[f"{model}_sigma_it{steps}"]
        np.testing.assert_allclose(result.scales, np.broadcast_to(sigma, result.scales.shape))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("case", CASES)
def test_adam_ends_where_the_published_code_does(case, model):
    golden = load(case)
    result = solve_adam(published_problem(golden["C"], model), warn=False)
    sigma = golden[f"{model}_sigma_final"]
    np.testing.assert_allclose(result.x, golden[f"{model}_W_final"], rtol=0, atol=5e-3)
    np.testing.assert_allclose(result.scales, np.broadcast_to(sigma, result.scales.shape), 1e-3)
    dag = threshold_to_dag(result.x, 0.3) != 0
    reference = golden[f"{model}_W_dag"] != 0
    if case == "sachs_obs853":
        assert result.n_retries > 0  # leaves the domain: the stages start again
        if model == "ev":  # the published cut takes w_77 = 0.35 for a cycle and deletes up to it
            weakest = np.abs(result.x) < abs(result.x[7, 7])
            assert np.count_nonzero(dag & weakest) == 2
            dag &= ~weakest
    np.testing.assert_array_equal(dag, reference)
    assert result.nit == result.nit_per_stage.sum()
    assert len(result.nit_per_stage) == 4
    assert np.all(np.diff(result.history["iteration"]) > 0)
    assert np.all(np.diff(result.history["time"]) >= 0)


def plain_adam(C, s, rate, n_steps, alpha=0.05):
    """Take the published steps with equal variances, mu = 1, from zero; count the undone ones."""
    d = len(C)
    W = first = second = step = np.zeros((d, d))
    sigma = np.sqrt(np.diagonal(C).min())
    undone = 0
    for t in range(1, n_steps + 1):
        inverse = np.linalg.inv(s * np.eye(d) - W * W)
        while np.any(inverse < -1e-6):
            W = W + rate * step
            rate /= 2
            W = W - rate * step
            undone += 1
            sigma = np.sqrt(np.trace((np.eye(d) - W).T @ C @ (np.eye(d) - W)) / d)
            inverse = np.linalg.inv(s * np.eye(d) - W * W)
        gradient = -C @ (np.eye(d) - W) / sigma + alpha * np.sign(W) + 2 * W * inverse.T
        first = 0.99 * first + 0.01 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        step = first / (1 - 0.99**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        W = W - rate * step
        sigma = np.sqrt(np.trace((np.eye(d) - W).T @ C @ (np.eye(d) - W)) / d)
    return W, undone


def test_a_step_that_leaves_the_domain_is_halved_and_taken_again():
    C = load("sachs_obs853")["C"]
    options = {"learning_rate": 0.05, "max_iter": 50, "check_every": 50, "warn": False}
    result = solve_adam(published_problem(C, "ev"), mu=(1.0,), s=(0.95,), **options)
    expected, undone = plain_adam(C, 0.95, 0.05, 50)
    assert undone > 1
    np.testing.assert_allclose(result.x, expected, rtol=0, atol=1e-10)
    assert (result.n_retries, result.s) == (0, 0.95)


def test_a_stage_that_leaves_a_small_domain_starts_again_in_a_larger_one():
    C = load("sachs_obs853")["C"]
    options = {"max_iter": 50, "check_every": 50, "warn": False}
    problem = published_problem(C, "ev")
    result = solve_adam(problem, mu=(1.0,), s=(0.9,), learning_rate=0.05, **options)
    assert (result.n_retries, result.s) == (1, 1.0)
    again = solve_adam(problem, mu=(1.0,), s=(1.0,), learning_rate=0.025, **options)
    np.testing.assert_array_equal(result.x, again.x)


def test_adam_begins_a_stage_with_the_scales_of_its_start():
    problem = published_problem(load("er2_d10_nv_gauss")["C"], "nv")
    short = {"check_every": 20, "warn": False}
    path = {"mu": (1.0, 0.1), "s": (1.0, 0.9), "warm_iter": 20, "max_iter": 20, **short}
    whole = solve_adam(problem, **path)
    first = solve_adam(problem, mu=(1.0,), s=(1.0,), max_iter=20, **short)
    second = solve_adam(problem, first.x, mu=(0.1,), s=(0.9,), max_iter=20, **short)
    np.testing.assert_array_equal(whole.x, second.x)
    given = solve_adam(problem, first.x, first.scales, mu=(0.1,), s=(0.9,), max_iter=20, warn=False)
    np.testing.assert_allclose(given.x, second.x, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(np.unique(whole.history["stage"]), [0, 1])


def test_adam_reports_a_last_step_outside_of_the_domain():
    C = load("er2_d10_nv_gauss")["C"]
    problem = published_problem(C, "nv")
    result = solve_adam(problem, mu=(1.0,), s=(1.0,), learning_rate=2.0, max_iter=1, warn=False)
    assert result.h == np.inf
    D = np.eye(10) - result.x
    score = np.sum(np.sqrt(np.diagonal(D.T @ C @ D))) + 0.05 * np.abs(result.x).sum()
    expected = score - np.linalg.slogdet(np.eye(10) - result.x**2)[1]
    np.testing.assert_allclose(result.fun, expected)


def test_adam_keeps_excluded_entries_at_zero_and_does_not_penalise_required_ones():
    C = load("er2_d10_ev_gauss")["C"]
    allowed = ~np.eye(10, dtype=bool)
    allowed[:, 3] = False
    required = np.zeros_like(allowed)
    cause, effect = strongest_pair(C, allowed)
    required[cause, effect] = True
    problem = CoLiDEProblem(C, True, 1e3, allowed=allowed, required=required)
    result = solve_adam(problem, warm_iter=2000, max_iter=4000, warn=False)
    assert np.all(result.x[~allowed] == 0)
    ols = C[cause, effect] / C[cause, cause]
    np.testing.assert_allclose(result.x[cause, effect], ols, rtol=0.05)
    rest = result.x.copy()
    rest[cause, effect] = 0
    assert np.abs(rest).max() < 0.05  # rattles at the size of a step


# ---------------------------------------------------------------- the proximal method


def test_prox_is_stationary_at_the_end_of_each_stage():
    C = load("er2_d20_nv_laplace")["C"]
    problem = CoLiDEProblem(C, False, 0.05, scale_floor=1e-2)
    W = None
    for mu, s in ((1.0, 1.0), (0.1, 0.9), (0.01, 0.8), (0.001, 0.7)):
        result = solve_prox(problem, W, mu=(mu,), s=(s,), tol=1e-3)
        W = result.x
        assert result.success
        point = problem.point(W, s)
        gradient = problem.gradient(point, mu, s)
        zeros, support = problem.allowed & (W == 0), W != 0
        assert np.all(np.diagonal(W) == 0)
        assert np.all(np.abs(gradient[zeros]) <= 1.001 * mu * 0.05)
        np.testing.assert_allclose(
            gradient[support], -mu * 0.05 * np.sign(W[support]), rtol=0, atol=1e-3 * mu * 0.05
        )
        np.testing.assert_allclose(result.certificate, problem.kkt_residual(point, mu, s))
        objective = result.history["objective"]
        assert np.all(np.diff(objective) <= 1e-13 * (20 + objective[:-1]))


@pytest.mark.parametrize("equal_variance", [True, False])
def test_prox_is_zero_from_the_largest_alpha_on(equal_variance):
    C = random_covariance()
    top = largest_alpha(C, equal_variance)
    for factor, n_zero in ((1.0001, True), (0.99, False)):
        result = solve_prox(CoLiDEProblem(C, equal_variance, factor * top), warn=False)
        assert np.all(result.x == 0) == n_zero
    variances = np.diagonal(C)
    scales = problem_scales = np.sqrt(variances)
    if equal_variance:
        scales = np.full_like(problem_scales, np.sqrt(variances.mean()))
    result = solve_prox(CoLiDEProblem(C, equal_variance, 2 * top))
    np.testing.assert_allclose(result.scales, scales)


def test_prox_on_a_known_order_solves_square_root_lassos():
    C = load("er2_d20_nv_laplace")["C"]
    order = np.random.default_rng(1).permutation(20)
    position = np.argsort(order)
    allowed = position[:, None] < position[None, :]
    problem = CoLiDEProblem(C, False, 0.05, allowed=allowed)
    result = solve_prox(problem, mu=(1.0,), s=(1.0,), tol=1e-6)
    assert abs(result.h) < 1e-12
    for node in order[1:]:
        parents = order[: position[node]]
        expected = square_root_lasso(C[np.ix_(parents, parents)], C[parents, node], C[node, node])
        np.testing.assert_allclose(result.x[parents, node], expected, atol=1e-5)


def square_root_lasso(gram, cross, power, alpha=0.05):
    """Minimise sqrt(power - 2 cross'w + w'gram w) + alpha |w|_1 by plain alternation."""
    w = np.zeros(len(cross))
    for _ in range(3000):
        scale = np.sqrt(power - 2 * cross @ w + w @ gram @ w)
        for i in range(len(w)):
            pull = cross[i] - gram[i] @ w + gram[i, i] * w[i]
            w[i] = np.sign(pull) * max(abs(pull) - alpha * scale, 0) / gram[i, i]
    return w


@pytest.mark.parametrize("solve", [solve_adam, solve_prox])
def test_a_start_outside_of_the_domain_widens_it(solve):
    C = load("er2_d10_nv_gauss")["C"]
    W = np.zeros((10, 10))
    W[0, 1] = W[1, 0] = 1.0
    result = solve(CoLiDEProblem(C, False, 0.05), W, mu=(0.1,), s=(0.85,), max_iter=50, warn=False)
    assert result.n_retries == 2
    np.testing.assert_allclose(result.s, 1.05)
    assert np.isfinite(result.h)


def test_prox_stalls_where_precision_ends():
    problem = CoLiDEProblem(1e40 * load("er2_d10_nv_gauss")["C"], True, 0.05)
    with pytest.warns(ConvergenceWarning, match="no step improves"):
        result = solve_prox(problem, mu=(1.0,), s=(1.0,))
    assert result.status == Status.STALLED
    assert not result.success
    assert result.certificate > 1
    assert result.nit < 5000


@pytest.mark.parametrize(
    ("case", "equal_variance", "limit"),
    # Without extrapolation they take 399 and 92 iterations, with a constant radius 123 and 112.
    [("er2_d20_nv_laplace", False, 250), ("er2_d10_ev_gauss", True, 85)],
)
def test_prox_needs_few_iterations(case, equal_variance, limit):
    problem = CoLiDEProblem(load(case)["C"], equal_variance, 0.05, scale_floor=1e-2)
    result = solve_prox(problem, tol=1e-6)
    assert result.success
    assert result.nit < limit


def test_prox_respects_prior_knowledge():
    C = load("er2_d10_nv_gauss")["C"]
    allowed = ~np.eye(10, dtype=bool)
    allowed[2:5] = False
    required = np.zeros_like(allowed)
    cause, effect = strongest_pair(C, allowed)
    required[cause, effect] = True
    result = solve_prox(CoLiDEProblem(C, False, 1e3, allowed=allowed, required=required))
    ols = C[cause, effect] / C[cause, cause]
    np.testing.assert_allclose(result.x[cause, effect], ols, rtol=1e-2)
    rest = result.x.copy()
    rest[cause, effect] = 0
    assert np.all(rest == 0)


@pytest.mark.parametrize("solve", [solve_adam, solve_prox])
def test_a_solver_that_stops_short_says_so(solve):
    C = load("er2_d10_nv_gauss")["C"]
    options = {"warm_iter": 3, "max_iter": 3}
    with pytest.warns(ConvergenceWarning, match="last stage"):
        result = solve(CoLiDEProblem(C, False, 0.05), **options)
    assert not result.success


@pytest.mark.parametrize("solve", [solve_adam, solve_prox])
def test_a_callback_ends_the_whole_run(solve):
    C = load("er2_d10_nv_gauss")["C"]
    seen = []

    def callback(intermediate_result):
        seen.append(intermediate_result.nit)
        if len(seen) == 3:
            raise StopIteration

    result = solve(CoLiDEProblem(C, False, 0.05), callback=callback)
    assert len(seen) == 3
    assert len(result.nit_per_stage) == 1
    assert "stopped by its callback" in result.message


@pytest.mark.parametrize("solve", [solve_adam, solve_prox])
def test_a_callback_counts_over_stages_and_stops_where_one_converges(solve):
    problem = CoLiDEProblem(load("er2_d10_nv_gauss")["C"], False, 0.05)
    seen = []
    path = {"mu": (1.0, 0.1, 0.01), "s": (1.0, 0.9, 0.8), "warn": False}
    if solve is solve_adam:
        path |= {"warm_iter": 20_000, "max_iter": 1000}

    def count(intermediate_result):
        seen.append(intermediate_result.nit)

    whole = solve(problem, callback=count, **path)
    history = whole.history
    np.testing.assert_array_equal(np.unique(history["iteration"][history["iteration"] > 0]), seen)
    assert seen[-1] == whole.nit
    last_of_second = whole.nit_per_stage[:2].sum()

    def stop(intermediate_result):
        if intermediate_result.nit == last_of_second:
            raise StopIteration

    result = solve(problem, callback=stop, **path)
    assert result.nit == last_of_second
    assert not result.success
    assert result.message == "CoLiDE was stopped by its callback in stage 2 of 3."
    expected = problem.objective(problem.point(result.x, result.s), 0.01)
    np.testing.assert_allclose(result.fun, expected)


@pytest.mark.parametrize("solve", [solve_adam, solve_prox])
def test_permuted_variables_give_the_permuted_solution(solve):
    C = load("er2_d10_nv_gauss")["C"]
    order = np.random.default_rng(0).permutation(10)
    short = {"mu": (1.0,), "s": (1.0,), "max_iter": 100, "warn": False}
    direct = solve(CoLiDEProblem(C, False, 0.05), **short)
    permuted = solve(CoLiDEProblem(C[np.ix_(order, order)], False, 0.05), **short)
    tolerance = 1e-12 if solve is solve_adam else 1e-3
    np.testing.assert_allclose(permuted.x, direct.x[np.ix_(order, order)], atol=tolerance)


@pytest.mark.parametrize("solve", [solve_adam, solve_prox])
def test_runs_repeat_bit_by_bit_and_leave_their_input_alone(solve):
    C = load("er2_d10_nv_gauss")["C"]
    before = C.copy()
    start = np.zeros_like(C)
    first, second = (
        solve(CoLiDEProblem(C, True, 0.05), start, warm_iter=500, max_iter=500, warn=False)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.x, second.x)
    np.testing.assert_array_equal(C, before)
    assert np.all(start == 0)
