"""The function and the estimator of robust PCA."""

import pickle
from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linprog
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sparseopt.decomposition import RobustPCA, robust_pca
from sparseopt.decomposition._row_decomposition import decompose_rows

DATA = Path(__file__).parents[1] / "data" / "decomposition"
TIGHT = {"tol": 1e-11, "tol_gap": 1e-10}


def golden(name):
    return dict(np.load(DATA / f"{name}.npz"))


def relative(A, B):
    return np.linalg.norm(A - B) / np.linalg.norm(B)


def corrupted(m=60, n=45, rank=3, share=0.08, size=6.0, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    L = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
    S = np.where(rng.random((m, n)) < share, rng.uniform(-size, size, (m, n)), 0)
    return L + S + noise * rng.standard_normal((m, n)), L, S


FOUR_ROWS = robust_pca(np.ones((4, 3)))
RANK_ONE = {"solver": "accaltproj", "n_components": 1}


def with_outliers(m=80, n=40, rank=2, n_outliers=5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
    X[:n_outliers] = 3 * rng.standard_normal((n_outliers, n))
    return X


# The function


def test_default_lam_counts_the_observed_entries():
    g = golden("rmc")
    result = robust_pca(g["D"], **TIGHT)
    assert result.lam == pytest.approx(float(g["lam"]))
    assert relative(result.low_rank, g["L"]) < 1e-6
    filled = np.nan_to_num(g["D"], nan=77.0)
    masked = robust_pca(filled, mask=~np.isnan(g["D"]), **TIGHT)
    assert relative(masked.low_rank, result.low_rank) < 1e-12


def test_stable_golden():
    g = golden("spcp")
    result = robust_pca(
        g["D"], method="stable", lam=float(g["lam"]), mu=float(g["mu"]), tol_gap=1e-11
    )
    assert result.fun == pytest.approx(float(g["objective"]), rel=1e-8)
    assert relative(result.low_rank, g["L"]) < 1e-5
    assert result.solver == "fista"


def test_stable_without_noise_is_pcp():
    D, L, _ = corrupted()
    result = robust_pca(D, method="stable")
    assert result.noise_std == 0
    assert result.mu == 0
    assert robust_pca(D, method="stable", solver="fista").solver == "auto"
    single = robust_pca(D.astype(np.float32), method="stable")
    assert single.mu == 0
    assert single.success
    assert relative(result.low_rank, L) < 1e-5


def test_noise_is_estimated():
    D, _, _ = corrupted(150, 120, 3, noise=0.2)
    result = robust_pca(D, method="stable")
    assert result.noise_std == pytest.approx(0.2, rel=0.1)
    assert result.mu == pytest.approx(np.sqrt(300) * result.noise_std)
    given = robust_pca(D, method="stable", noise_std=0.2)
    assert given.mu == pytest.approx(np.sqrt(300) * 0.2)


@pytest.mark.parametrize("solver", ["accaltproj", "scaledgd", "godec", "ircur"])
def test_known_rank(solver):
    D, L, _ = corrupted(300, 250, 3, size=5.0)
    options = {"tau": 0.05} if solver == "godec" else {}
    result = robust_pca(D, solver=solver, n_components=3, random_state=0, **options)
    assert result.x.rank == 3
    assert relative(result.low_rank, L) < (0.05 if solver == "godec" else 1e-5)


@pytest.mark.parametrize(
    ("X", "options", "complaint"),
    [
        ([[1.0, np.inf]], {}, "infinite"),
        ([[np.nan, np.nan], [1.0, 2.0]], {}, "row 0 of X has no observed entry"),
        ([[1.0, np.nan], [1.0, np.nan]], {}, "column 1 of X has no observed entry"),
        (np.ones(3), {}, "non-empty matrix"),
        (np.ones((0, 3)), {}, "non-empty matrix"),
        (np.ones((3, 3)), {"lam": 0}, "lam must be positive"),
        (np.ones((3, 3)), {"lam": -1.0}, "lam must be finite and >= 0"),
        (np.ones((3, 3)), {"lam": "many"}, "lam must be a positive number or 'auto'"),
        (np.ones((3, 3)), {"tol": -1.0}, "tol must be"),
        (np.ones((3, 3)), {"max_iter": 0}, "max_iter must be"),
        (np.ones((3, 3)), {"method": "rpca"}, "method must be one of"),
        (np.ones((3, 3)), {"solver": "fista"}, "solver must be one of"),
        (np.ones((3, 3)), {"svd_solver": "arpack"}, "svd_solver must be one of"),
        (np.ones((3, 3)), {"method": "outlier", "solver": "godec"}, "solver must be one of"),
        (np.ones((3, 3)), {"solver": "accaltproj"}, "needs n_components"),
        (np.ones((3, 4)), {"n_components": 4}, "n_components must be at most min"),
        (np.ones((3, 4)), {"solver": "scaledgd", "n_components": 4}, "n_components must be"),
        (np.ones((3, 3)), {"noise_std": 1.0}, "noise_std is not used by method='pcp'"),
        (np.ones((3, 3)), {"mu": 1.0}, "mu is not used by method='pcp'"),
        (np.ones((3, 3)), {"card": 3}, "card is not used by solver='auto'"),
        (np.ones((3, 3)), {"method": "stable", "mu": 0.0}, "mu must be positive"),
        (np.ones((3, 3)), {"mask": np.ones((2, 3), bool)}, "mask must be"),
        (np.ones((3, 3)), {"mask": np.ones((3, 3))}, "mask must be"),
        (np.ones((3, 3)), {"sample_weight": [1.0, 2.0]}, "sample_weight must have shape"),
        (np.ones((3, 3)), {"sample_weight": [1.0, -2.0, 1.0]}, "sample_weight must be"),
        (np.ones((3, 3)), {"sample_weight": np.zeros(3)}, "positive sum"),
        (np.ones((3, 3)), {"sample_weight": 1j * np.ones(3)}, "sample_weight must hold real"),
        (np.ones((3, 3)), {"sample_weight": ["a", "b", "c"]}, "sample_weight must hold real"),
        (np.ones((3, 3), np.float32), {"lam": 1e-50}, "lam must be at least"),
        (np.ones((3, 3)), {"start": "last"}, "start must be a result"),
        (np.ones((3, 3)), {"start": FOUR_ROWS}, "start must be the result for"),
        (np.ones((3, 3)), RANK_ONE | {"reweighting": 1}, "reweighting is not used"),
        (np.ones((3, 3)), RANK_ONE | {"svd_solver": "full"}, "svd_solver is not used"),
        (np.ones((3, 3)), RANK_ONE | {"observed": np.ones((3, 3), bool)}, "observed is not used"),
    ],
)
def test_bad_input(X, options, complaint):
    with pytest.raises((ValueError, TypeError), match=complaint):
        robust_pca(X, **options)


def test_sparse_and_complex_input():
    with pytest.raises(TypeError, match="toarray"):
        robust_pca(sparse.csr_array(np.eye(3)))
    with pytest.raises(TypeError, match="toarray"):
        RobustPCA().fit(sparse.csr_array(np.eye(3)))
    with pytest.raises(TypeError, match="real numbers"):
        robust_pca(np.eye(3) * 1j)


def test_non_convergence_tells_the_gap():
    with pytest.warns(ConvergenceWarning, match=r"duality gap .* residual .* 3 iterations"):
        robust_pca(corrupted(noise=0.2)[0], max_iter=3)


@pytest.mark.parametrize("method", ["pcp", "stable"])
def test_reweighting_recovers_more(method):
    rng = np.random.default_rng(0)
    L = rng.standard_normal((50, 10)) @ rng.standard_normal((10, 50))
    D = L + 9 * rng.standard_normal(L.shape) * (rng.random(L.shape) < 0.1)
    options = {"method": method, "tol": 1e-6}
    if method == "stable":
        D += 0.05 * rng.standard_normal(L.shape)
        options["noise_std"] = 0.05
    convex, better = robust_pca(D, **options), robust_pca(D, reweighting=3, **options)
    assert relative(better.low_rank, L) < 0.5 * relative(convex.low_rank, L)
    assert np.isnan(better.dual_gap)
    assert 1 <= better.passes <= 3
    with pytest.raises(TypeError, match="reweighting must be an integer"):
        robust_pca(D, reweighting=0.5)


@pytest.mark.parametrize("method", ["pcp", "stable", "outlier"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_large_lam_means_no_errors(method, dtype, weighted):
    D = corrupted()[0].astype(dtype)
    weights = np.linspace(0.1, 3, 60) if weighted else None
    for lam in (5.0, 1e10, 1e300):
        result = robust_pca(D, method=method, lam=lam, sample_weight=weights)
        assert result.success
        assert not result.sparse.any()
        assert relative(result.low_rank, D) < 1e-5
        assert result.lam == lam


def test_a_large_lam_matters_where_weights_are_small():
    D, _, _ = corrupted(noise=0.1)
    small = robust_pca(D, lam=4.0, sample_weight=np.full(60, 0.0025))
    plain = robust_pca(0.05 * D, lam=0.2)
    assert small.sparse.any()
    assert relative(small.low_rank, 20 * plain.low_rank) < 1e-9


def test_start_in_another_dtype():
    D, _, _ = corrupted(noise=0.1)
    single, double = robust_pca(D.astype(np.float32)), robust_pca(D)
    up, down = robust_pca(D, start=single), robust_pca(D.astype(np.float32), start=double)
    assert {up.low_rank.dtype, up.sparse.dtype, up.dual.dtype} == {np.dtype(np.float64)}
    assert {down.low_rank.dtype, down.sparse.dtype, down.dual.dtype} == {np.dtype(np.float32)}
    assert relative(up.low_rank, double.low_rank) < 1e-3


def test_start_of_a_given_rank():
    D, L, _ = corrupted()
    near = robust_pca(D, solver="accaltproj", n_components=3)
    assert relative(robust_pca(D, start=near).low_rank, L) < 1e-4


@pytest.mark.parametrize("method", ["pcp", "stable", "outlier"])
def test_arguments_of_other_array_libraries(method):
    D, _, _ = corrupted(noise=0.1)
    options = {"method": method, "lam": 0.5 if method == "outlier" else 0.15}
    mask = np.random.default_rng(0).random(D.shape) < 0.9
    weights = np.r_[0, 0, np.ones(30), 0, 2 * np.ones(26), 0]
    options |= {"mask": mask, "sample_weight": weights}
    plain = robust_pca(D, **options)
    strict = robust_pca(array_api_strict.asarray(D), start=plain, **options)
    assert strict.success
    rows = weights > 0
    np.testing.assert_array_equal(np.isnan(np.asarray(strict.low_rank)), np.isnan(plain.low_rank))
    assert relative(np.asarray(strict.low_rank)[rows], plain.low_rank[rows]) < 1e-2
    np.testing.assert_array_equal(np.asarray(strict.dual)[~rows], 0)
    assert strict.x.shape == plain.x.shape == D.shape


# Weights and repeated rows


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(
    ("method", "options"),
    [("pcp", {}), ("pcp", {"center": "median"}), ("stable", {"mu": 0.5}), ("outlier", {})],
)
def test_weights_are_repetitions(method, options, missing):
    X = with_outliers() + corrupted(80, 40, 2, noise=0.05)[0]
    weights = np.random.default_rng(0).integers(0, 4, 80)
    if missing:
        X[np.random.default_rng(1).random(X.shape) < np.linspace(0, 0.3, 80)[:, None]] = np.nan
    options = options | {"max_iter": 5000, **TIGHT}
    weighted = RobustPCA(method, **options).fit(X, sample_weight=weights)
    repeated = RobustPCA(method, **options).fit(np.repeat(X, weights, axis=0))
    assert weighted.n_components_ > 0
    assert weighted.lam_ == pytest.approx(repeated.lam_, rel=1e-12)
    np.testing.assert_allclose(weighted.mean_, repeated.mean_, rtol=1e-12)
    assert weighted.objective_ == pytest.approx(repeated.objective_, rel=1e-8)
    np.testing.assert_allclose(
        np.repeat(weighted.low_rank_, weights, axis=0), repeated.low_rank_, atol=1e-6
    )
    np.testing.assert_allclose(weighted.decompose(X)[0], repeated.decompose(X)[0], atol=1e-6)
    assert np.isfinite(weighted.low_rank_).all()


# New rows


@pytest.mark.parametrize("method", ["pcp", "stable", "outlier"])
@pytest.mark.parametrize("missing", [False, True])
def test_training_rows_are_decomposed_as_in_training(method, missing):
    X = with_outliers() if method == "outlier" else corrupted(noise=0.1)[0]
    if missing:
        X[np.random.default_rng(1).random(X.shape) < 0.1] = np.nan
    model = RobustPCA(method, mu=0.5 if method == "stable" else "auto", **TIGHT).fit(X)
    low_rank, rest = model.decompose(X)
    np.testing.assert_allclose(low_rank, model.low_rank_, atol=1e-5)
    np.testing.assert_allclose(rest, model.sparse_, atol=1e-5)
    np.testing.assert_allclose(
        model.inverse_transform(model.transform(X)), model.low_rank_, atol=1e-5
    )


def test_training_rows_after_reweighting():
    X, _, _ = corrupted(noise=0.02)
    model = RobustPCA(reweighting=2).fit(X)
    # A reweighted pass comes to rest near a stationary point, not at one.
    assert relative(model.decompose(X)[0], model.low_rank_) < 2e-3


def test_new_row_solves_a_linear_program_of_its_own():
    # For a given rank, a row is split by least absolute deviations.
    rng = np.random.default_rng(0)
    V = np.linalg.qr(rng.standard_normal((30, 3)))[0].T
    z = rng.standard_normal(3) @ V + np.where(rng.random(30) < 0.2, 9.0, 0.1 * rng.random(30))
    scores, _ = decompose_rows(z[None], np.ones(3), V, method="pcp", lam=None)
    cost = np.r_[np.zeros(3), np.ones(30)]
    A = np.block([[V.T, -np.eye(30)], [-V.T, -np.eye(30)]])
    program = linprog(cost, A_ub=A, b_ub=np.r_[z, -z], bounds=[(None, None)] * 3 + [(0, None)] * 30)
    assert np.abs(z - scores[0] @ V).sum() == pytest.approx(program.fun, rel=1e-9)


@pytest.mark.parametrize("missing", [False, True])
def test_outlying_rows_are_stationary(missing):
    rng = np.random.default_rng(0)
    V = np.linalg.qr(rng.standard_normal((12, 3)))[0].T
    s, lam = np.array([5.0, 2.0, 0.5]), 0.7
    Z = 4 * rng.standard_normal((20, 12))
    if missing:
        Z[rng.random(Z.shape) < 0.3] = np.nan
    scores, _ = decompose_rows(Z, s, V, method="outlier", lam=lam)
    rest = np.nan_to_num(Z - scores @ V)
    slope = lam * rest / np.linalg.norm(rest, axis=1, keepdims=True)
    np.testing.assert_allclose(scores / s, slope @ V.T, atol=1e-9)


def test_rows_among_the_components_are_kept_whole():
    V = np.eye(2, 6)
    scores, rest = decompose_rows(V, np.array([9.0, 9.0]), V, method="outlier", lam=0.5)
    np.testing.assert_allclose(scores, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(rest, 0, atol=1e-12)


def test_new_rows_of_the_same_space_are_recovered():
    D, L, _ = corrupted(120, 80, 3)
    model = RobustPCA().fit(D[:100])
    low_rank, rest = model.decompose(D[100:])
    assert relative(low_rank, L[100:]) < 0.05
    assert relative(rest, D[100:] - L[100:]) < 0.05


# The estimator


def test_attributes():
    X, L, _ = corrupted()
    model = RobustPCA().fit(X)
    assert model.converged_
    assert model.n_components_ == len(model.components_) == len(model.singular_values_)
    assert model.effective_rank_ == 3
    assert model.lam_ == pytest.approx(60**-0.5)
    assert model.dual_gap_ <= 1e-4
    assert model.n_iter_ == model.history_["iteration"][-1]
    np.testing.assert_array_equal(model.mean_, np.zeros(45))
    np.testing.assert_allclose(model.low_rank_, L, atol=1e-4)
    np.testing.assert_allclose(model.components_ @ model.components_.T, np.eye(3), atol=1e-10)


def test_leading_components_are_kept():
    X, _, _ = corrupted(noise=0.1)
    whole, two = RobustPCA().fit(X), RobustPCA(n_components=2).fit(X)
    np.testing.assert_array_equal(two.components_, whole.components_[:2])
    np.testing.assert_array_equal(two.low_rank_, whole.low_rank_)
    assert two.transform(X).shape == (60, 2)
    assert list(two.get_feature_names_out()) == ["robustpca0", "robustpca1"]


def test_missing_values_are_imputed():
    X, L, _ = corrupted(120, 100, 3)
    holes = np.random.default_rng(5).random(X.shape) < 0.1
    X[holes] = np.nan
    model = RobustPCA().fit(X)
    filled = model.impute(X)
    np.testing.assert_allclose(filled[holes], L[holes], atol=1e-3)
    np.testing.assert_array_equal(filled[~holes], X[~holes])


def test_missing_values_have_other_marks():
    X, _, _ = corrupted()
    X[::7, ::3] = np.nan
    marked = np.where(np.isnan(X), -99.0, X)
    model, other = RobustPCA().fit(X), RobustPCA(missing_values=-99).fit(marked)
    np.testing.assert_array_equal(model.low_rank_, other.low_rank_)
    hidden = RobustPCA().fit(np.nan_to_num(X), mask=~np.isnan(X))
    np.testing.assert_array_equal(model.low_rank_, hidden.low_rank_)
    with pytest.raises(ValueError, match="NaN"):
        RobustPCA(missing_values=-99).fit(X)


def test_median_is_subtracted():
    X, _, _ = corrupted()
    shifted = X + 100 * np.arange(45)
    model = RobustPCA(center="median").fit(shifted)
    np.testing.assert_allclose(model.mean_, np.median(shifted, axis=0))
    np.testing.assert_allclose(model.low_rank_ + model.sparse_, shifted, atol=1e-3)
    np.testing.assert_allclose(model.decompose(shifted)[0], model.low_rank_, atol=1e-2)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_constant_data(value):
    model = RobustPCA().fit(np.full((6, 4), value))
    np.testing.assert_allclose(model.low_rank_, value, atol=1e-5)
    assert model.n_components_ <= 1
    assert model.transform(np.full((2, 4), value)).shape == (2, model.n_components_)


def test_outliers_are_labelled():
    X = with_outliers()
    truth = np.r_[np.full(5, -1), np.ones(75)]
    model = RobustPCA("outlier")
    np.testing.assert_array_equal(model.fit_predict(X), truth)
    np.testing.assert_array_equal(model.predict(X), truth)
    np.testing.assert_array_equal(model.decision_function(X) < 0, truth < 0)
    np.testing.assert_allclose(model.outlier_scores_, np.linalg.norm(model.sparse_, axis=1))
    rng = np.random.default_rng(7)
    new = np.vstack([rng.standard_normal(2) @ model.components_, rng.standard_normal(40)])
    np.testing.assert_array_equal(model.predict(new), [1, -1])


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_outliers_are_labelled_at_any_scale(scale):
    X = with_outliers()
    reference, model = RobustPCA("outlier").fit(X), RobustPCA("outlier").fit(scale * X)
    np.testing.assert_allclose(model.score_samples(scale * X), reference.score_samples(X))
    np.testing.assert_allclose(model.outlier_scores_ / scale, reference.outlier_scores_, atol=1e-12)
    np.testing.assert_array_equal(model.predict(scale * X), reference.predict(X))
    np.testing.assert_array_equal(model.predict(np.vstack([1e300 * X[:1], 1e-300 * X[:1]])), -1)


def test_golden_outliers_are_labelled():
    g = golden("outlier_pursuit")
    model = RobustPCA("outlier", lam=float(g["lam"])).fit(g["D"].T)
    np.testing.assert_array_equal(np.flatnonzero(model.outlier_mask_), g["outlier_columns"])


def test_share_of_outliers_may_be_given():
    model = RobustPCA("outlier", contamination=0.1).fit(with_outliers())
    assert model.outlier_mask_.sum() == 8


def test_all_outlying_is_warned_of():
    X = np.random.default_rng(0).standard_normal((40, 30))
    with pytest.warns(UserWarning, match="every sample as an outlier"):
        model = RobustPCA("outlier", lam=0.05).fit(X)
    assert model.n_components_ == 0
    assert model.transform(X).shape == (40, 0)


def test_only_outlier_pursuit_labels():
    model = RobustPCA().fit(corrupted()[0])
    assert not hasattr(model, "predict")
    with pytest.raises(AttributeError):
        model.fit_predict(corrupted()[0])


def test_warm_start():
    X, _, _ = corrupted(noise=0.1)
    model = RobustPCA(warm_start=True, **TIGHT).fit(X)
    cold = model.n_iter_
    first = model.low_rank_
    model.set_params(lam=1.02 * model.lam_).fit(X)
    assert model.n_iter_ < cold
    again = clone(model).set_params(warm_start=False).fit(X)
    np.testing.assert_allclose(model.low_rank_, again.low_rank_, atol=1e-5)
    assert np.abs(model.low_rank_ - first).max() > 1e-4
    model.fit(X[:50])
    assert model.low_rank_.shape == (50, 45)


def test_warm_start_with_other_weights_and_dtypes():
    X, _, _ = corrupted(noise=0.1)
    for method in ("pcp", "stable"):
        again = RobustPCA(method, warm_start=True).fit(X)
        assert again.fit(X).n_iter_ <= 5  # the start is the solution, with its signs
    weights = np.r_[np.zeros(5), np.ones(55)]
    model = RobustPCA(warm_start=True).fit(X)
    cold = RobustPCA().fit(X, sample_weight=weights)
    assert model.fit(X, sample_weight=weights).n_iter_ < cold.n_iter_
    assert relative(model.low_rank_, cold.low_rank_) < 1e-2
    assert model.fit(X.astype(np.float32)).low_rank_.dtype == np.float32
    assert model.fit(X).low_rank_.dtype == np.float64


def test_a_fit_forgets_what_an_earlier_one_has_found():
    X = with_outliers()
    model = RobustPCA("outlier").fit(X)
    scores = model.score_samples(X)
    model.set_params(method="pcp")  # says nothing before the next fit
    np.testing.assert_array_equal(model.score_samples(X), scores)
    model.fit(X)
    assert not {"outlier_scores_", "outlier_mask_", "offset_"} & set(vars(model))
    with pytest.raises(NotFittedError):
        model.set_params(method="outlier").predict(X)


def test_pipeline_grid_search_and_pickle():
    X, _, _ = corrupted(noise=0.05)
    y = (X[:, 0] > 0).astype(int)
    pipeline = make_pipeline(RobustPCA(n_components=2), LogisticRegression())
    search = GridSearchCV(pipeline, {"robustpca__lam": [0.1, 0.2]}, cv=2, n_jobs=2).fit(X, y)
    assert search.best_params_["robustpca__lam"] in (0.1, 0.2)
    restored = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(restored.predict(X), search.predict(X))


def test_score_prefers_the_model_of_the_data():
    D, _, _ = corrupted(120, 80, 3)
    good = RobustPCA().fit(D[:80])
    poor = RobustPCA(n_components=1).fit(D[:80])
    assert good.score(D[80:]) > poor.score(D[80:])
    assert np.all(good.score_samples(D) <= 0)


def test_not_fitted():
    with pytest.raises(NotFittedError):
        RobustPCA().transform(np.ones((2, 2)))
