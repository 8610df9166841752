"""The published experiments on Kronecker-structured learning; a function yields one's lines."""

from collections import defaultdict

import numpy as np

from benchmarks.clock import timed
from benchmarks.sparse_bayes.experiments import methods, references
from benchmarks.sparse_bayes.experiments.verdicts import LEGEND, interval, verdict
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
    yield f"{n_trials} trials; the reference has 20 others. Error: median of the squared one"
    yield LEGEND.replace("the factor", f"a factor of {references.SYNTHETIC_FACTOR}")
    yield (
        f"{'case':<7}{'method':<9}{'error':>9}{'95 % interval':>20}{'/ oracle':>9}{'support':>8}"
        f"{'seconds':>8}  | reference:{'error':>9}{'/ oracle':>9}{'support':>8}"
    )
    for case, reference in references.SYNTHETIC.items():
        errors, rates, seconds = _synthetic_trials(case, n_trials)
        best = np.median(errors["oracle"])
        for name, values in errors.items():
            error, (low, high) = np.median(values), interval(values)
            line = f"{case:<7}{name:<9}{error:>9.2e}{f'{low:.1e} .. {high:.1e}':>20}"
            line += f"{error / best:>9.1f}{np.mean(rates[name]):>8.2f}"
            line += f"{np.mean(seconds[name]):>8.3f}"
            if name in reference:
                error, rate = reference[name]
                line += f"  | {error:>19.2e}{error / reference['oracle'][0]:>9.1f}{rate:>8.2f}"
                line += f"  {verdict(values, error, references.SYNTHETIC_FACTOR)}"
            yield line


def _synthetic_trials(case, n_trials):
    """Return errors, support recovery rates and seconds of the methods, by name."""
    errors, rates, seconds = defaultdict(list), defaultdict(list), defaultdict(list)
    for trial in range(n_trials):
        problem = make_kronecker_sparse(**_synthetic_options(case), random_state=trial)
        estimates = {}
        for name, model in methods.synthetic(problem).items():
            spent, fitted = timed(lambda m=model, p=problem: m.fit(p.factors, p.y))
            estimates[name] = spent, fitted.coef_
        estimates["oracle"] = 0.0, methods.oracle(problem)
        for name, (spent, coef) in estimates.items():
            errors[name].append(nmse(problem.coef, coef))
            rates[name].append(support_recovery_rate(problem.coef, coef))
            seconds[name].append(spent)
    return errors, rates, seconds


def small_channel(n_trials):
    """Channel error with 8, 4 and 64 elements and 10 angles, by SNR in dB."""
    yield from _channel(
        n_trials, references.SMALL_RATIOS, references.SMALL_CHANNEL, SMALL, with_classic=True
    )


def channel(n_trials):
    """Channel error at the published size, 256 elements and 18 angles, by SNR in dB."""
    yield from _channel(n_trials, references.RATIOS, references.CHANNEL, {}, with_classic=False)


def _channel(n_trials, ratios, reference, size, *, with_classic):
    yield f"{n_trials} trials. Error: median of the squared one; share: of errors above 0.1"
    yield LEGEND.replace("the factor", f"a factor of {references.CHANNEL_FACTOR:g}")
    yield (
        f"{'dB':<4}{'method':<13}{'error':>9}{'95 % interval':>20}{'mean':>8}{'share':>7}"
        f"{'seconds':>8}  | reference"
    )
    for number, snr in enumerate(ratios):
        errors, seconds = _channel_trials(snr, n_trials, size, with_classic=with_classic)
        for name, values in errors.items():
            low, high = interval(values)
            line = f"{snr:<4}{name:<13}{np.median(values):>9.2e}{f'{low:.1e} .. {high:.1e}':>20}"
            line += f"{np.mean(values):>8.3f}{np.mean(np.array(values) > 0.1):>7.2f}"
            line += f"{np.mean(seconds[name]):>8.3f}"
            if name in reference:
                known = reference[name][number]
                line += f"  | {known:>9.2e}  {verdict(values, known, references.CHANNEL_FACTOR)}"
            yield line


def _channel_trials(snr, n_trials, size, *, with_classic):
    """Return errors and seconds of the methods, by name."""
    errors, seconds = defaultdict(list), defaultdict(list)
    for trial in range(n_trials):
        scene = make_irs_mimo_channel(**size, snr=float(snr), random_state=trial)
        models = methods.channel(scene)
        if with_classic:
            models["classic"] = methods.classic(scene)
        for name, model in models.items():
            spent, fitted = timed(lambda m=model, s=scene: m.fit(s.factors, s.y))
            errors[name].append(scene.channel_nmse(fitted.coef_))
            seconds[name].append(spent)
    return errors, seconds
