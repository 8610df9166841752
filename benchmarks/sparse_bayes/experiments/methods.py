"""The methods of the experiments: the authors' settings, ours, and the simple rivals."""

import numpy as np

from sparseopt.sparse_bayes import KroneckerOMP, KroneckerSBL

ANGLES = (0.5, None, 0.5)  # coupling of neighbouring angles; the middle factor has one path


def synthetic(problem):
    """Return the estimators for random factors, by name; all know the noise variance."""
    known = {"noise_variance": problem.noise_variance}
    return {
        "am": KroneckerSBL.published("am", **known),
        "svd": KroneckerSBL.published("svd", **known),
        "ksbl": KroneckerSBL.published("ksbl", **known),
        "our am": KroneckerSBL("am", **known),
        "our svd": KroneckerSBL("svd", **known),
        "omp": KroneckerOMP(10, tol=1e-4 * np.sum(np.abs(problem.y) ** 2)),
    }


def channel(scene):
    """Return the estimators for the channel of a reflecting surface, by name."""
    known = {"noise_variance": scene.noise_variance}
    # The authors bound variances below in units of the factor, which only the last one has: it
    # carries the scale of all, up to a million here, and the bound never acts on it.
    published = {"prune_floor": (1e-4, 1e-4, 0.0), "inner_tol": 1e-4} | known
    one_path = (1e-2, 1e-1, 1e-2)  # the authors know that the mobile station has one path

    def coupled(strength):
        couplings = (strength, None, strength)
        return KroneckerSBL.published(
            "am", pattern_coupling=couplings, prune_tol=one_path, **published
        )

    return {
        "am": KroneckerSBL.published("am", prune_tol=(1e-2, 1e-1, 1e-3), **published),
        "svd": KroneckerSBL.published("svd", prune_tol=0.0, **published),
        "coupled 0.5": coupled(0.5),
        "coupled 0.8": coupled(0.8),
        "our am": KroneckerSBL("am", **known),
        "our svd": KroneckerSBL("svd", **known),
        "our coupled": KroneckerSBL("am", pattern_coupling=ANGLES, **known),
        "omp": KroneckerOMP((3, 1, 3)),
    }


def classic(scene):
    """Return the estimator without structure, which forms the dictionary."""
    return KroneckerSBL.published("classic", noise_variance=scene.noise_variance, prune_tol=1e-4)


def oracle(problem):
    """Return the least-squares coefficients on the true support, one factor after the other."""
    solved = problem.y.reshape([len(factor) for factor in problem.factors])
    for axis, (factor, support) in enumerate(zip(problem.factors, problem.supports, strict=True)):
        rows = np.moveaxis(solved, axis, 0)
        part, *_ = np.linalg.lstsq(factor[:, support], rows.reshape(len(factor), -1), rcond=None)
        solved = np.moveaxis(part.reshape(-1, *rows.shape[1:]), 0, axis)
    coef = np.zeros([factor.shape[1] for factor in problem.factors], dtype=solved.dtype)
    coef[np.ix_(*problem.supports)] = solved
    return coef
