"""The weight of the sparse part chosen by predicting entries held out."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from sparseopt.decomposition import RobustPCA, RobustPCACV, robust_pca
from sparseopt.decomposition._noise import noise_level
from sparseopt.decomposition._robust_pca_cv import choose_weight, hold_out
from sparseopt.decomposition._robust_pca_path import lam_range
from sparseopt.testing import check_sparseopt_estimator


def make_data(shape=(60, 40), rank=2, share=0.1, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
    X = low + noise * rng.standard_normal(shape)
    errors = rng.random(shape) < share
    X[errors] = rng.uniform(-9, 9, errors.sum())
    return X, low


def relative(A, B):
    return np.linalg.norm(A - B) / np.linalg.norm(B)


@pytest.mark.parametrize("method", ["pcp", "stable"])
def test_chosen_weight_is_about_the_best(method):
    X, low = make_data()
    model = RobustPCACV(method, n_masks=2, random_state=0).fit(X)
    options = {"tol": 1e-5, "tol_gap": 1e-4, "max_iter": 5000}
    options |= {"noise_std": model.noise_std_} if method == "stable" else {}
    errors = [
        relative(robust_pca(X, method=method, lam=lam, **options).low_rank, low)
        for lam in model.lams_[1:-1]
    ]
    assert relative(model.low_rank_, low) < 1.25 * min(errors)
    assert max(errors) > 4 * min(errors)
    assert 0 < np.argmin(model.error_path_.mean(axis=1)) < 9


def test_errors_are_those_of_hidden_entries():
    X, _ = make_data()
    X[3, 4] = np.nan
    lams = [0.3, 0.1, 0.2]
    model = RobustPCACV(lams=lams, n_masks=2, held_out=0.2, random_state=7).fit(X)
    assert_array_equal(model.lams_, np.sort(lams))
    observed = np.isfinite(X)
    seeds = np.random.SeedSequence(7).spawn(2)
    for k, seed in enumerate(seeds):
        held = hold_out(observed, 0.2, np.random.default_rng(seed))
        kept = observed & ~held
        for row, lam in enumerate(model.lams_):
            scaled = lam * np.sqrt(observed.sum() / kept.sum())
            low = robust_pca(X, lam=scaled, mask=kept, tol_gap=1e-6, max_iter=9999).low_rank
            error = np.median(np.abs(X - low)[held])
            assert_allclose(model.error_path_[row, k], error, rtol=0.02)
    assert model.lam_ == model.lams_[np.argmin(model.error_path_.mean(axis=1))]


def test_final_fit_is_that_of_robust_pca():
    X, _ = make_data()
    X[5, :20] = np.nan
    options = {"center": "median", "n_components": 3, "energy": 0.99}
    model = RobustPCACV(lams=3, n_masks=2, random_state=0, **options).fit(X)
    plain = RobustPCA(lam=model.lam_, random_state=0, **options).fit(X)
    for name in ("low_rank_", "sparse_", "components_", "singular_values_", "mean_", "dual_"):
        assert_array_equal(getattr(model, name), getattr(plain, name))
    assert model.effective_rank_ == plain.effective_rank_
    assert model.dual_gap_ == plain.dual_gap_ <= 1e-4
    assert_array_equal(model.transform(X), plain.transform(X))
    assert_array_equal(model.impute(X), plain.impute(X))
    assert_array_equal(model.score_samples(X), plain.score_samples(X))
    assert not hasattr(model, "lam")


def test_units_and_offsets_of_columns_do_not_matter_after_centring():
    X, _ = make_data((30, 20))
    options = {"lams": 3, "n_masks": 2, "center": "median", "random_state": 0}
    plain = RobustPCACV(**options).fit(X)
    moved = RobustPCACV(**options).fit(X + np.arange(20.0))
    assert_allclose(moved.lams_, plain.lams_)
    assert_allclose(moved.error_path_, plain.error_path_, rtol=1e-6)
    assert_allclose(moved.low_rank_ - np.arange(20.0), plain.low_rank_, atol=1e-4)


def test_noise_is_estimated_once_for_all_fits():
    X, _ = make_data((30, 25))
    model = RobustPCACV("stable", lams=3, n_masks=1, random_state=0).fit(X)
    assert model.noise_std_ == noise_level(X).noise_std
    given = RobustPCACV("stable", lams=3, n_masks=1, mu=2.0, random_state=0).fit(X)
    assert given.mu_ == 2.0
    assert given.noise_std_ is None


def test_grid_lies_between_the_ends():
    X, _ = make_data()
    model = RobustPCACV(lams=4, n_masks=1, random_state=0).fit(X)
    assert_allclose(model.lams_, np.geomspace(*lam_range(X), 4))
    assert model.error_path_.shape == (4, 1)
    # Without a low-rank part the prediction is zero.
    held = hold_out(
        np.isfinite(X), 0.1, np.random.default_rng(np.random.SeedSequence(0).spawn(1)[0])
    )
    assert_allclose(model.error_path_[0, 0], np.median(np.abs(X[held])), rtol=1e-6)


def test_result_does_not_depend_on_n_jobs():
    X, _ = make_data((30, 20))
    models = [
        RobustPCACV("stable", lams=3, n_masks=3, random_state=1, n_jobs=n_jobs).fit(X)
        for n_jobs in (None, 2)
    ]
    assert_array_equal(models[0].error_path_, models[1].error_path_)
    assert_array_equal(models[0].low_rank_, models[1].low_rank_)


def test_one_standard_error_gives_the_smaller_weight():
    X, _ = make_data((30, 20), noise=0.5)
    options = {"lams": 8, "n_masks": 4, "random_state": 0}
    best = RobustPCACV(**options).fit(X)
    simple = RobustPCACV(selection_rule="1se", **options).fit(X)
    assert_array_equal(simple.error_path_, best.error_path_)
    mean = best.error_path_.mean(axis=1)
    k = int(np.argmin(mean))
    bound = mean[k] + best.error_path_[k].std(ddof=1) / 2
    assert best.lam_ == best.lams_[k]
    assert simple.lam_ == best.lams_[mean <= bound].min() < best.lam_


def test_gross_errors_among_the_hidden_do_not_matter():
    X, _ = make_data(share=0.05)
    options = {"lams": 6, "n_masks": 2, "random_state": 0}
    huge = np.where(np.abs(X) > 6, 100 * X, X)
    errors = RobustPCACV(**options).fit(huge).error_path_
    assert np.min(errors.mean(axis=1)) < 0.3


def test_middle_of_equal_errors_is_taken():
    errors = np.array([[5.0, 5.0], [1e-5, 1e-5], [2e-5, 1e-5], [3e-5, 1e-6], [4.0, 4.0]])
    assert choose_weight(errors, "min", 1e-4) == 2
    assert choose_weight(errors, "1se", 1e-4) == 1
    assert choose_weight(errors, "min", 0.0) == 1
    assert choose_weight(errors[:, :1], "1se", 0.0) == 1
    X, low = make_data(share=0.0, noise=0.0)
    X[np.random.default_rng(1).random(X.shape) < 0.05] += 7
    model = RobustPCACV(lams=9, n_masks=2, random_state=0).fit(X)
    exact = np.flatnonzero(model.error_path_.mean(axis=1) < 1e-4 * np.sqrt(np.mean(X**2)))
    assert len(exact) >= 3
    assert model.lam_ == model.lams_[exact[len(exact) // 2]]
    assert relative(model.low_rank_, low) < 1e-5


def test_outlying_samples():
    X, _ = make_data((50, 30), share=0.0, noise=0.01)
    X[:4] = 3 * np.random.default_rng(1).standard_normal((4, 30))
    model = RobustPCACV("outlier", lams=8, n_masks=2, random_state=0).fit(X)
    assert model.outlier_mask_[:4].all()
    assert model.outlier_mask_.sum() <= 6
    assert_array_equal(model.predict(X) == -1, model.outlier_mask_)


def test_data_without_noise_are_pursued_exactly():
    X, low = make_data((50, 40), share=0.0, noise=0.0)
    X[np.random.default_rng(1).random(X.shape) < 0.05] += 7
    model = RobustPCACV("stable", lams=6, n_masks=1, random_state=0).fit(X)
    assert model.noise_std_ == model.mu_ == 0
    assert relative(model.low_rank_, low) < 1e-5


def test_missing_values_and_masks_are_the_same():
    X, _ = make_data((30, 20))
    mask = np.random.default_rng(1).random(X.shape) < 0.9
    options = {"lams": 3, "n_masks": 2, "random_state": 0}
    by_mask = RobustPCACV(**options).fit(X, mask=mask)
    by_value = RobustPCACV(missing_values=-99.0, **options).fit(np.where(mask, X, -99.0))
    assert_array_equal(by_mask.error_path_, by_value.error_path_)
    assert_array_equal(by_mask.sparse_, by_value.sparse_)
    assert not np.any(by_mask.sparse_[~mask])


def test_float32_clones_and_pickles():
    X, _ = make_data((30, 20))
    X = X.astype(np.float32)
    X.setflags(write=False)
    model = clone(RobustPCACV(lams=3, n_masks=1, random_state=0)).fit(X)
    assert model.low_rank_.dtype == model.components_.dtype == np.float32
    copy = pickle.loads(pickle.dumps(model))
    assert_array_equal(copy.transform(X), model.transform(X))


def test_unfinished_fits_are_counted_once():
    X, _ = make_data((30, 20))
    model = RobustPCACV(lams=3, n_masks=2, max_iter=12, random_state=0)
    with pytest.warns(ConvergenceWarning) as record:
        model.fit(X)
    counts = [str(w.message) for w in record if "fits that were compared" in str(w.message)]
    assert len(counts) == 1
    assert "of the 6 fits" in counts[0]


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_masks_leave_an_entry_in_each_row_and_column(share):
    observed = np.random.default_rng(0).random((30, 20)) < 0.3
    observed[:, 0] = observed[0] = True
    held = hold_out(observed, share, np.random.default_rng(1))
    kept = observed & ~held
    assert not np.any(held & ~observed)
    assert kept.any(axis=0).all()
    assert kept.any(axis=1).all()
    free = observed.sum() - sum(observed.shape)  # at least
    wanted = round(share * observed.sum())
    assert min(wanted, free) <= held.sum() <= wanted


def test_estimator_checks():
    check_sparseopt_estimator(RobustPCACV(lams=3, n_masks=2, random_state=0))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"lams": [0.1, -1.0]}, "lams"),
        ({"lams": 0}, "lams"),
        ({"n_masks": 0}, "n_masks"),
        ({"held_out": 1.0}, "held_out"),
        ({"selection_rule": "max"}, "selection_rule"),
        ({"solver": "godec"}, "solver"),
        ({"method": "pcp", "solver": "fista"}, "solver"),
        ({"mu": 1.0}, "mu"),
    ],
)
def test_bad_parameters(options, match):
    with pytest.raises(ValueError, match=match):
        RobustPCACV(**options).fit(make_data((9, 7))[0])


def test_data_that_are_too_small():
    with pytest.raises(ValueError, match="n_samples=1"):
        RobustPCACV().fit(np.ones((1, 5)))
    with pytest.raises(ValueError, match="too few observed"):
        RobustPCACV().fit(np.where(np.eye(3) > 0, 1.0, np.nan))
