r"""
The average of a path that finds nothing
========================================

A single-index model :math:`y = \sigma(\theta_* \cdot x) + \text{noise}` hides a direction. Where
the link is a Hermite polynomial of degree three, the correlation of a projection with the labels is
flat near all directions orthogonal to :math:`\theta_*`, that is, near almost all directions.
Langevin dynamics on the sphere at a high temperature stays there: no iterate comes near
:math:`\theta_*`. Its average over time does, and the average of the drift along the same path much
sooner, since it carries no Brownian noise. For degree four, both averages vanish by symmetry, and
the leading eigenvectors of averaged products take their place.
"""

import matplotlib.pyplot as plt
import numpy as np

from sparseopt.optimize import langevin_average

rng = np.random.default_rng(0)
n_features, n_chains, n_steps = 50, 16, 600
hidden = rng.standard_normal(n_features)
hidden /= np.linalg.norm(hidden)


def overlap(directions):
    """The |cos| between directions and the hidden one: 0.8 / sqrt(d) for random ones."""
    return np.abs(directions @ hidden) / np.linalg.norm(directions, axis=-1)


# %%
# The links are normalised Hermite polynomials, and the drift is the gradient of the mean of
# :math:`y\, h_k(\theta \cdot x)`. All chains go through it as one product of matrices. The
# temperature is set by one number without units, ``kappa``, the pull of the drift beside that of
# the noise. At 0.2 the noise has its way. The outermost labels are clipped: a few samples with huge
# ones would make peaks of their own, at which chains get caught.

LINKS = {
    3: (lambda u: (u**3 - 3 * u) / np.sqrt(6), lambda u: (3 * u**2 - 3) / np.sqrt(6)),
    4: (lambda u: (u**4 - 6 * u**2 + 3) / np.sqrt(24), lambda u: (4 * u**3 - 12 * u) / np.sqrt(24)),
}


def leading_eigenvector(matrix):
    return np.linalg.eigh(matrix)[1][:, -1]


def run(degree, n_samples):
    """Return the overlaps after each step: of all chains, and of the averages by name."""
    link, slope = LINKS[degree]
    X = rng.standard_normal((n_samples, n_features))
    y = link(X @ hidden) + 0.5 * rng.standard_normal(n_samples)
    y = np.clip(y, *np.quantile(y, [0.02, 0.98]))
    chains, averages = [], {}

    def watch(intermediate_result):
        state = intermediate_result
        chains.append(overlap(state.theta))
        found = {"iterate": state.x, "drift": state.drift_mean}
        if degree == 4:
            found["top eigenvector, iterate"] = leading_eigenvector(state.second_moment)
            found["top eigenvector, drift"] = leading_eigenvector(state.drift_second)
        for name, direction in found.items():
            averages.setdefault(name, []).append(overlap(direction))

    result = langevin_average(
        lambda theta: (slope(theta @ X.T) * y) @ X / n_samples,
        n_features,
        eps=("auto", 0.2),
        n_chains=n_chains,
        max_iter=n_steps,
        burn_in=0,
        second_moment=degree == 4,
        random_state=0,
        callback=watch,
    )
    print(f"degree {degree}: inverse temperature {result.eps:.2f}, {result.message}")
    return np.array(chains), averages


# %%
# Grey: each of the chains. From the first step to the last, they wander about the equator, and are
# on average hardly nearer to the hidden direction than chance.

figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.6), sharey=True, layout="constrained")
gradients = n_chains * np.arange(1, n_steps + 1)
for axis, degree, n_samples in zip(axes, (3, 4), (4_000, 10_000), strict=True):
    chains, averages = run(degree, n_samples)
    axis.plot(gradients, chains, color="0.88", lw=0.5, zorder=0)
    axis.plot([], [], color="0.7", label="each chain")
    for name, values in averages.items():
        axis.plot(gradients, values, label=f"average: {name}", lw=2)
    axis.axhline(np.sqrt(2 / np.pi / n_features), color="k", ls=":", label="chance")
    axis.set(
        xscale="log", xlabel="gradients", ylim=(0, 1),
        title=f"degree {degree}, {n_samples} samples",
    )  # fmt: skip
    last = {name: round(float(values[-1]), 2) for name, values in averages.items()}
    print(f"  overlap of the last iterates {chains[-1].mean():.2f}, of averages {last}")
axes[0].set_ylabel("overlap with the hidden direction")
figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
plt.show()

# %%
# What an average has reached at the end is not what the data can tell: refining it, by a fit of the
# link and Gauss-Newton steps, goes on from there. It shows only that a direction can be found
# where no iterate has been.
