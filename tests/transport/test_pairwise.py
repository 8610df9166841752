"""Costs between all pairs of histograms."""

import joblib
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from sparseopt.transport import _pairwise as module
from sparseopt.transport import pairwise_sinkhorn, sinkhorn


def _histograms(k=7, n=12, *, seed=0, zeros=True):
    rng = np.random.default_rng(seed)
    H = rng.dirichlet(np.full(n, 0.5), size=k)
    if zeros:
        H[H < 0.02] = 0
    return H / H.sum(axis=1, keepdims=True)


def _grid(n=12):
    places = np.linspace(0, 1, n)
    return np.subtract.outer(places, places) ** 2


@pytest.mark.parametrize("reg", [1.0, 0.05, 0.01, 3e-3, 1e-3])  # the last one is not batched
@pytest.mark.parametrize(("kind", "name"), [("value", "value"), ("linear", "value_linear")])
def test_every_pair_equals_sinkhorn(reg, kind, name):
    H1, H2, C = _histograms(4), _histograms(3, seed=1), _grid()
    distances = pairwise_sinkhorn(H1, H2, C, reg=reg, kind=kind, tol=1e-10)
    expected = [[sinkhorn(a, b, C, reg=reg, tol=1e-11)[name] for b in H2] for a in H1]
    np.testing.assert_allclose(distances, expected, rtol=1e-8, atol=1e-12)


def test_rectangular_and_negative_costs():
    H1, H2 = _histograms(4, 12), _histograms(3, 9)
    C = np.random.default_rng(0).standard_normal((12, 9)) - 3
    distances = pairwise_sinkhorn(H1, H2, C, reg=0.1, tol=1e-10)
    expected = [[sinkhorn(a, b, C, reg=0.1, tol=1e-11).value for b in H2] for a in H1]
    np.testing.assert_allclose(distances, expected, rtol=1e-9)


def test_symmetric_case_equals_all_pairs_and_halves_the_work(monkeypatch):
    H, C = _histograms(), _grid()
    numbers = []
    run = module._run

    def counting(problem, A, B, i, j, n_jobs):
        numbers.append(i.size)
        return run(problem, A, B, i, j, n_jobs)

    monkeypatch.setattr(module, "_run", counting)
    half = pairwise_sinkhorn(H, C=C, reg=0.02)
    full = pairwise_sinkhorn(H, H.copy(), C, reg=0.02)
    assert numbers == [28, 49]
    np.testing.assert_array_equal(half, half.T)
    np.testing.assert_allclose(half, full, rtol=1e-9, atol=1e-12)


def test_divergence_is_a_difference_of_values():
    H, C = _histograms(), _grid()
    S = pairwise_sinkhorn(H, C=C, reg=0.02, kind="divergence", tol=1e-10)
    values = pairwise_sinkhorn(H, H.copy(), C, reg=0.02, tol=1e-10)
    own = np.diag(values)
    np.testing.assert_allclose(S, values - (own[:, None] + own) / 2, atol=1e-11)
    np.testing.assert_array_equal(np.diag(S), 0)
    assert S[~np.eye(len(S), dtype=bool)].min() > 0
    other = pairwise_sinkhorn(H, H.copy(), C, reg=0.02, kind="divergence", tol=1e-10)
    np.testing.assert_allclose(other, S, atol=1e-11)


@pytest.mark.parametrize("kind", ["value", "linear", "divergence"])
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_n_jobs_changes_nothing(kind, backend, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_ENTRIES", 200)  # several chunks
    H, C = _histograms(9), _grid()
    serial = pairwise_sinkhorn(H, C=C, reg=0.01, kind=kind, n_jobs=1)
    with joblib.parallel_config(backend=backend):
        parallel = pairwise_sinkhorn(H, C=C, reg=0.01, kind=kind, n_jobs=2)
    np.testing.assert_array_equal(serial, parallel)


def test_a_pair_does_not_depend_on_its_company():
    H, C = _histograms(), _grid()
    together = pairwise_sinkhorn(H, C=C, reg=0.01)
    alone = pairwise_sinkhorn(H[[2]], H[[5]], C, reg=0.01)
    np.testing.assert_allclose(alone, together[2:3, 5:6], rtol=1e-12)


def test_overrelaxation_takes_few_sweeps():
    H, C = _histograms(10, 30, zeros=False), _grid(30)
    problem = module._Problem(C, 0.01, 1e-9, 1000, False)
    i, j = np.triu_indices(10, 1)
    batch = module._Sweeps(problem, np.exp(-C / 0.01), H[i], H[j])
    errors = np.full(i.size, np.inf)
    sweeps = 0
    while batch.pairs.size:
        error = batch.block()
        errors[batch.pairs] = error
        sweeps += module.BLOCK
        batch.adapt(error)
        batch.keep(error > 1e-9)
    plain = [
        sinkhorn(H[k], H[q], C, reg=0.01, tol=1e-9, solver="sinkhorn", max_iter=10000).n_sweeps
        for k, q in zip(i[:5], j[:5], strict=True)
    ]
    assert sweeps < 0.5 * max(plain)


def test_masses_scale_the_distances():
    H, C = _histograms(), _grid()
    once = pairwise_sinkhorn(H, C=C, reg=0.05)
    np.testing.assert_allclose(pairwise_sinkhorn(3 * H, C=C, reg=0.05, normalize=True), once)
    # Sums of M: the value is that of sum one times M, plus M log M times -reg.
    tripled = pairwise_sinkhorn(3 * H[:2], C=C, reg=0.05)
    expected = sinkhorn(3 * H[0], 3 * H[1], C, reg=0.05, tol=1e-11).value
    np.testing.assert_allclose(tripled[0, 1], expected, rtol=1e-8)


def test_dtype_and_scale():
    H, C = _histograms(), _grid()
    single = pairwise_sinkhorn(H.astype(np.float32), C=C.astype(np.float32), reg=0.05, normalize=1)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, pairwise_sinkhorn(H, C=C, reg=0.05), rtol=1e-3, atol=1e-6)
    scaled = pairwise_sinkhorn(H, C=5 * C, reg=0.05, reg_scale="max")
    np.testing.assert_allclose(scaled, 5 * pairwise_sinkhorn(H, C=C, reg=0.05), rtol=1e-9)


def test_tiny_masses_among_batched_pairs():
    C = np.random.default_rng(0).random((6, 6))
    C = (C + C.T) / np.max(C + C.T) * (1 - np.eye(6))
    H = np.random.default_rng(1).dirichlet(np.ones(6), 4)
    H[0], H[1] = [1, 0, 0, 0, 0, 0], [1 - 1e-10, 1e-300, 1e-10, 0, 0, 0]
    reg = np.ptp(C) / 480  # just batched: factors reach from 1e-208 to 1e208
    with np.errstate(all="raise", under="ignore"):
        distances = pairwise_sinkhorn(H, C=C, reg=reg, tol=1e-10)
    expected = [[sinkhorn(a, b, C, reg=reg, tol=1e-11).value for b in H] for a in H]
    np.testing.assert_allclose(distances, expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e200, 1.7e308])
def test_masses_of_any_size(scale):
    H, C = _histograms(), _grid()
    expected = pairwise_sinkhorn(H, C=C, reg=0.05)
    scaled = scale * H / H.max()
    rtol = 1e-6 if scale > 1e-300 else 0.1  # the smallest numbers have few digits
    np.testing.assert_allclose(
        pairwise_sinkhorn(scaled, C=C, reg=0.05, normalize=True), expected, rtol=rtol, atol=1e-3
    )
    with pytest.raises(ValueError, match="Each row of H1 must have a sum between"):
        pairwise_sinkhorn(scaled, C=C, reg=0.05)


@pytest.mark.parametrize("max_iter", [1, 2, 10, 25, 60, 500])
def test_a_pair_takes_no_more_sweeps_than_allowed(max_iter, monkeypatch):
    H, C = _histograms(3), _grid()
    sweeps, rest = [], []
    block = module._Sweeps.block

    def counted(self):
        sweeps.append(module.BLOCK)
        return block(self)

    def left_over(*arguments, **options):
        rest.append(options["max_iter"])
        return sinkhorn(*arguments, **options)

    monkeypatch.setattr(module._Sweeps, "block", counted)
    monkeypatch.setattr(module, "sinkhorn", left_over)
    with pytest.warns(ConvergenceWarning):
        pairwise_sinkhorn(H[:1], H[1:2], C, reg=2e-3, tol=1e-15, max_iter=max_iter)
    assert len(rest) == 1
    assert sum(sweeps) + rest[0] <= max(max_iter, sum(sweeps) + 1)
    assert sum(sweeps) <= max_iter


def test_pairs_that_do_not_converge_are_counted():
    H, C = _histograms(), _grid()
    with pytest.warns(ConvergenceWarning, match=r"of 28 pairs: marginal errors up to"):
        distances = pairwise_sinkhorn(H, C=C, reg=1e-3, max_iter=2)
    assert np.isfinite(distances).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"C": None}, "matrix C"),
        ({"C": np.full((12, 12), np.inf)}, "C must be finite"),
        ({"C": np.full((12, 12), np.nan)}, "C must be finite"),
        ({"C": np.zeros((12, 11))}, r"H2 must have.*11 bins.*\(12, 11\)"),
        ({"H1": np.ones((2, 11))}, r"H1 must have.*12 bins.*got shape \(2, 11\)"),
        ({"H1": np.ones(12)}, "one histogram a row"),
        ({"H1": -np.ones((2, 12))}, "H1 must be >= 0"),
        ({"H1": np.full((2, 12), np.nan)}, "H1 must be finite"),
        ({"H1": np.zeros((2, 12))}, "positive sum"),
        ({"H1": np.ones((2, 12)) * [[1], [2]]}, "same sum"),
        ({"H2": np.ones((2, 12))}, "same sum.*row 0 of H2"),
        ({"H1": np.ones((2, 12)) * 1j}, "real"),
        ({"kind": "plan"}, "kind must be"),
        ({"kind": "divergence", "C": np.triu(np.ones((12, 12)))}, "symmetric C"),
        ({"reg": 0}, "reg must be positive"),
        ({"tol": 0}, "tol must be"),
        ({"tol": "small"}, "tol must be"),
        ({"max_iter": 0}, "max_iter must be"),
    ],
)
def test_bad_input_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        pairwise_sinkhorn(**({"H1": _histograms(), "C": _grid()} | change))
