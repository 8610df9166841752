"""
Weights for polynomial approximation
====================================

A smooth function of ten variables is approximated by sparse sums of Legendre polynomials, from
200 noisy samples and 471 candidates. Orthogonal matching pursuit (OMP) finds the constant and
the ten linear terms and then stalls: from there on it fits the noise with polynomials that few
samples cannot tell apart. Penalty weights equal to the largest value of each polynomial, its
*intrinsic weight*, put the smoother terms first, and the error goes on decreasing. The convex
LASSO profits in the same way.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import gmean

from sparseopt.datasets import make_iso_exponential
from sparseopt.linear_model import weighted_lasso_path, weighted_omp_path
from sparseopt.preprocessing import OrthogonalPolynomialFeatures

N_TRIALS = 10
N_STEPS = 100
STRENGTHS = np.geomspace(1e-4, 5e-6, 5)  # of the LASSO; the best one is shown

# %%
# The candidates are the hyperbolic cross of degree 8. Their weights come with them.

features = OrthogonalPolynomialFeatures("legendre", max_terms=500, domain=(-1, 1))
features.fit(np.zeros((1, 10)))
weights = features.weights_
print(
    f"{features.n_output_features_} polynomials, weights from {weights[0]} to {weights.max():.1f}"
)

# %%
# Errors are relative L2 errors on fresh samples. Every method sees the same data. The
# least-squares system is scaled so that the columns have norms near 1.


def relative_errors(design, truth, coefs):
    """Relative errors of the approximations whose coefficients are the rows of ``coefs``."""
    return np.linalg.norm(coefs @ design.T - truth, axis=1) / np.linalg.norm(truth)


pursuits = {
    "OMP": {"loss": "omp"},
    "WeightedOMP, no weights": {"lam": 0.0178},
    "WeightedOMP, intrinsic weights": {"lam": 0.0178, "weights": weights},
}
lassos = {"LASSO, no weights": None, "LASSO, intrinsic weights": weights}
steps = np.arange(N_STEPS + 1)
errors = {name: [] for name in [*pursuits, *lassos]}
for trial in range(N_TRIALS):
    X, y = make_iso_exponential(200, 10, noise=1e-3, random_state=trial)
    X_test, truth = make_iso_exponential(2000, 10, random_state=N_TRIALS + trial)
    test_design = features.transform(X_test)
    design, target = features.transform(X) / np.sqrt(len(X)), y / np.sqrt(len(X))
    for name, options in pursuits.items():
        path = weighted_omp_path(design, target, n_nonzero_coefs=N_STEPS, **options)
        path_errors = relative_errors(test_design, truth, path.coefs.toarray())
        # A pursuit that has stopped keeps its error.
        errors[name].append(path_errors[np.minimum(steps, len(path_errors) - 1)])
    for name, penalty_weights in lassos.items():
        path = weighted_lasso_path(
            design, target, alphas=STRENGTHS / len(y), weights=penalty_weights, tol=1e-6
        )
        errors[name].append(relative_errors(test_design, truth, path.coefs.T))

# %%
# Geometric means over the trials. Without weights the penalty only decides when to stop, so that
# WeightedOMP goes the way of OMP.

figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
axis.semilogy(steps, gmean(errors["OMP"]), color="0.75", linewidth=5, label="OMP")
for name, style in (
    ("WeightedOMP, no weights", "C0-"),
    ("WeightedOMP, intrinsic weights", "C3-"),
):
    axis.semilogy(steps, gmean(errors[name]), style, label=name)
for name, color in zip(lassos, ("C0", "C3")):
    axis.axhline(gmean(errors[name]).min(), color=color, linestyle=":", label=name)
axis.set(xlabel="number of polynomials", ylabel="relative L2 error", ylim=(1e-3, 0.2))
axis.legend()
plt.show()

for name in errors:
    print(f"{name:<34} {gmean(errors[name]).min():.1e}")
