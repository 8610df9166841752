"""
Predicting what an intervention does
====================================

Who takes a treatment may already be healthier. A regression of the outcome on the treatment, which
says what to expect where one *sees* a treatment, then says nothing about what it *does*. A causal
graph tells the difference: :meth:`~sparseopt.causal.CoLiDE.intervene` cuts the edges into the
treatment and follows the others.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sparseopt.causal import CoLiDE
from sparseopt.plotting import DAGDisplay

rng = np.random.default_rng(0)


def draw(n_samples, treatment=None):
    """Draw from the true mechanism, with the treatment as usual or as we decide."""
    health = rng.standard_normal(n_samples)
    dose = 1.5 * health + rng.standard_normal(n_samples) if treatment is None else treatment
    side_effect = 0.8 * dose + rng.standard_normal(n_samples)
    outcome = 2 * health - 0.6 * dose - 0.7 * side_effect + rng.standard_normal(n_samples)
    columns = {"health": health, "dose": dose, "side": side_effect, "outcome": outcome}
    return pd.DataFrame(columns)


X = draw(1000)
model = CoLiDE(refit="ols").fit(X)
print(model.to_dataframe().round(2))
slope = np.polyfit(X["dose"], X["outcome"], 1)[0]
names = list(X.columns)
effect = model.total_effects_[names.index("dose"), names.index("outcome")]
print(f"seen: {slope:+.2f} a unit of dose; done: {effect:+.2f} (in truth {-0.6 - 0.7 * 0.8:+.2f})")

# %%
# The experiment that nobody has done is simulated twice: from the learnt model, and from the truth.

doses = np.linspace(-4, 4, 9)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
DAGDisplay.from_estimator(model, ax=left)
left.set_title("learnt from observations")
right.scatter(X["dose"], X["outcome"], s=4, color="lightgrey", label="observations")
right.plot(doses, slope * doses, ":", color="black", label="regression: outcome where dose is seen")
predicted = [model.intervene({"dose": dose}).mean_[names.index("outcome")] for dose in doses]
right.plot(doses, predicted, color="C0", label="learnt model: outcome under do(dose)")
experiment = [draw(500, treatment=np.full(500, dose))["outcome"].mean() for dose in doses]
right.plot(doses, experiment, "o", color="C1", label="true experiment, means of 500")
right.set(xlabel="dose", ylabel="outcome", ylim=(-6, 10))
right.legend()
plt.show()
