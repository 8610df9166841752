"""
A sparse tensor from a sixteenth of its size
============================================

A tensor of 30 × 30 × 30 is measured through one random matrix an axis: 12 × 12 × 12 numbers and
some noise. It is zero except where all three indices are in the support of their axis, 3 of 30
each. The dictionary that maps one to the other has 27 000 columns, 47 million entries, and is never
formed: its three factors are all that :class:`~sparseopt.sparse_bayes.KroneckerSBL` uses.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.sparse.linalg import lsqr

from sparseopt.datasets import make_kronecker_sparse
from sparseopt.sparse_bayes import KroneckerDictionary, KroneckerOMP, KroneckerSBL

shape = (30, 30, 30)
problem = make_kronecker_sparse(
    shape, (12, 12, 12), n_nonzero=3, separable=False, snr=10, random_state=3
)
model = KroneckerSBL().fit(problem.factors, problem.y)
print(f"noise variance: {model.noise_variance_:.2f}, in truth {problem.noise_variance:.2f}")
print(f"iterations: {model.n_iter_}, certificate: {model.certificate_:.1g}")

# %%
# For comparison: the tensor of least norm that explains the data, by SciPy's solver on the
# :class:`~sparseopt.sparse_bayes.KroneckerDictionary`, and greedy pursuit, which must be told how
# many columns to take.

dictionary = KroneckerDictionary(problem.factors)
least_norm = lsqr(dictionary, problem.y)[0].reshape(shape)
pursuit = KroneckerOMP(n_nonzero_coefs=3).fit(problem.factors, problem.y)
estimates = {
    "truth": problem.coef,
    "least norm": least_norm,
    "KroneckerOMP": pursuit.coef_,
    "KroneckerSBL": model.coef_,
}

# %%
# Above, the largest magnitudes along the third axis; below, the variances that the evidence gives
# to the columns of each factor. All but a few became zero: nobody told their number.


def relative_error(x):
    return np.linalg.norm(x - problem.coef) ** 2 / np.linalg.norm(problem.coef) ** 2


figure, axes = plt.subplots(2, 4, figsize=(11, 5.5), layout="constrained")
for axis, (name, x) in zip(axes[0], estimates.items(), strict=True):
    axis.imshow(np.abs(x).max(axis=2), cmap="magma_r", vmin=0, vmax=np.abs(problem.coef).max())
    error = "" if name == "truth" else f"\nerror {relative_error(x):.2g}"
    axis.set(title=name + error, xticks=[], yticks=[])
for axis, gamma, support, number in zip(axes[1], model.gammas_, problem.supports, "123"):
    axis.vlines(np.arange(30), 0, gamma / gamma.max(), color="C0", linewidth=3)
    axis.plot(np.flatnonzero(support), np.zeros(3), "C1^", clip_on=False, label="true support")
    axis.set(title=f"factor {number}", xlabel="column", ylim=(0, 1.05))
axes[1, 0].set_ylabel("variance, relative")
axes[1, 2].legend()
history = model.history_
axes[1, 3].plot(history["iteration"], history["objective"], "C0.-")
axes[1, 3].set(title="negative log evidence", xlabel="iteration")
plt.show()
