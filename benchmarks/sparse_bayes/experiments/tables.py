"""The published experiments on Kronecker-structured learning; a function yields one's lines."""

import numpy as np

from benchmarks.clock import timed
from benchmarks.sparse_bayes.experiments import methods, references
from sparseopt.datasets import make_irs_mimo_channel, make_kronecker_sparse
from sparseopt.sparse_bayes import nmse, support_recovery_rate

SMALL = {"n_receive": 8, "n_transmit": 4, "n_elements": 64, "n_grid": 10, "n_patterns": 5}


def _synthetic_options(case):
    """Return the options of the generator for a case such as snr15, m12 or k4."""
    number = int(case.lstrip("snrmk"))
    rows = number if case[0] == "m" else 8
    return {
        "output_shape": (rows, 12, 15),
        "n_nonzero": number if case[0] == "k" else 3,
        "snr": float(number) if case[0] == "s" else 25.0,
    }


def synthetic(n_trials):
    """Sparse 15 x 15 x 15 tensors: by SNR in dB, rows m of the first factor, sparsity k."""
    names = ("am", "svd", "ksbl", "our am", "our svd", "omp", "oracle")
    yield f"{n_trials} trials: median of the squared error, its ratio to the oracle's, mean support"
    yield "recovery rate, mean seconds; then the reference on 20 other trials"
    for case, reference in references.SYNTHETIC.items():
        errors, rates, seconds = ({name: [] for name in names} for _ in range(3))
        for trial in range(n_trials):
            problem = make_kronecker_sparse(**_synthetic_options(case), random_state=trial)
            estimates = {"oracle": (0.0, methods.oracle(problem))}
            for name, model in methods.synthetic(problem).items():
                spent, fitted = timed(lambda m=model, p=problem: m.fit(p.factors, p.y))
                estimates[name] = spent, fitted.coef_
            for name, (spent, coef) in estimates.items():
                errors[name].append(nmse(problem.coef, coef))
                rates[name].append(support_recovery_rate(problem.coef, coef))
                seconds[name].append(spent)
        yield case
        for name in names:
            error, best = np.median(errors[name]), np.median(errors["oracle"])
            line = f"    {name:<8}{error:>10.2e}{error / best:>8.1f}{np.mean(rates[name]):>6.2f}"
            line += f"{np.mean(seconds[name]):>8.3f}"
            if name in reference:
                error, rate = reference[name]
                line += f"{error:>12.2e}{error / reference['oracle'][0]:>8.1f}{rate:>6.2f}"
            yield line


def small_channel(n_trials):
    """Channel error with 8, 4 and 64 elements and 10 angles, by SNR in dB: median, (reference)."""
    yield from _channel(
        n_trials, references.SMALL_RATIOS, references.SMALL_CHANNEL, SMALL, with_classic=True
    )


def channel(n_trials):
    """Channel error at the published size, 256 elements and 18 angles: median, (published)."""
    yield from _channel(n_trials, references.RATIOS, references.CHANNEL, {}, with_classic=False)


def _channel(n_trials, ratios, reference, size, *, with_classic):
    yield f"{n_trials} trials" + "".join(f"{snr:>20} dB" for snr in ratios) + "   mean seconds"
    table: dict[str, list[np.ndarray]] = {}
    seconds: dict[str, list[float]] = {}
    for snr in ratios:
        cells: dict[str, list[float]] = {}
        for trial in range(n_trials):
            scene = make_irs_mimo_channel(**size, snr=float(snr), random_state=trial)
            models = methods.channel(scene)
            if with_classic:
                models["classic"] = methods.classic(scene)
            for name, model in models.items():
                spent, fitted = timed(lambda m=model, s=scene: m.fit(s.factors, s.y))
                cells.setdefault(name, []).append(scene.channel_nmse(fitted.coef_))
                seconds.setdefault(name, []).append(spent)
        for name, errors in cells.items():
            table.setdefault(name, []).append(np.array(errors))
    for name, columns in table.items():
        known = reference.get(name, ("",) * len(ratios))
        cells_text = (
            f"{np.median(errors):.2e} {f'({value})' if value else '':>9}"
            for errors, value in zip(columns, known, strict=True)
        )
        yield (
            f"{name:<12}"
            + "".join(f"{cell:>23}" for cell in cells_text)
            + (f"{np.mean(seconds[name]):>12.2f}")
        )
    yield "mean, (share above 0.1)"
    for name, columns in table.items():
        cells_text = (f"{e.mean():.2e} {f'({np.mean(e > 0.1):.2f})':>9}" for e in columns)
        yield f"{name:<12}" + "".join(f"{cell:>23}" for cell in cells_text)
