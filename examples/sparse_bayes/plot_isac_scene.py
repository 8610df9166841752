"""
Scatterers and symbols from a single pilot
==========================================

A base station hears three users, directly and by way of scatterers. It wants to know where the
scatterers are, and what the users say. Either would be easy if the other were known: known symbols
show the channels, and known channels show the symbols. But each user sends one known symbol and
seven unknown ones on each of 16 subcarriers, the scatterers are anywhere, and the users' own places
and clocks are uncertain.

:class:`~sparseopt.sparse_bayes.BilinearSubspaceVBI` estimates all of it together. The coefficients
of a grid of 128 places are sparse; places that turn out active are moved off the grid, along with
users and clocks; and the symbols that are decoded on the way serve as further pilots.
:func:`~sparseopt.datasets.make_isac_scene` draws the scenes, with a dictionary that has
derivatives.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sparseopt.datasets import make_isac_scene
from sparseopt.sparse_bayes import BilinearSubspaceVBI, JointSupport, check_dictionary_gradient

warnings.simplefilter("ignore", ConvergenceWarning)
scene = make_isac_scene(snr=15, random_state=0)
small = make_isac_scene(2, 3, array_shape=(3, 2), grid_shape=(2, 2, 1), random_state=0)
print("derivatives off by", check_dictionary_gradient(small.dictionary, small.params))


def model(scene, **options):
    """All users see a common set of scatterers, each a part of it."""
    return BilinearSubspaceVBI(
        scene.dictionary,
        scene.params,
        support_prior=JointSupport(scene.probability, scene.visibility),
        constellation=scene.constellation,
        param_std=scene.param_std,
        n_init=3,  # the default takes twice as long and fails less often
        random_state=0,
        **options,
    )


def fit(scene, **options):
    return model(scene, **options).fit(scene.y, pilots=scene.pilots, pilot_mask=scene.pilot_mask)


def places(fitted):
    """Return the places of active columns, without the line of sight, and their strengths."""
    strength = np.abs(fitted.coef_[:, :-1]).max(axis=0)
    active = (fitted.support_proba_[:, :-1] > 0.5).any(axis=0)
    return fitted.params_["positions"][active], strength[active]


def receive(scene, channel):
    """Return what a least-squares receiver that knows channels (K, N, M) makes of the symbols."""
    response = np.moveaxis(channel, 0, 2)  # (N, M, K)
    return np.moveaxis(np.linalg.pinv(response) @ np.swapaxes(scene.y, 1, 2), 1, 0)


def methods(scene):
    return {
        "pilots only": model(scene).fit(scene.y[:, :1], pilots=scene.pilots[:, :, :1]),
        "together, on the grid": fit(scene, m_step=None),
        "together": fit(scene),
        "all symbols known": model(scene).fit(scene.y, pilots=scene.symbols),
    }


fitted = methods(scene)

# %%
# On the left, seen from above, are the places of which the model is sure. If they have to stay on
# the grid, several of them share what one scatterer sends, and others make up for phases that none
# of them has. On the right is what a receiver makes of all signals if it takes the channels to be
# those estimated: phases are off if channels stay on the grid.

shown = {"together, on the grid": ("s", "tab:orange"), "together": ("o", "tab:blue")}
figure, (above, plane) = plt.subplots(
    1, 2, figsize=(10, 5), layout="constrained", width_ratios=[1, 1.2]
)
grid = scene.params["positions"]
above.plot(grid[:, 0], grid[:, 1], ".", color="0.85", markersize=4, label="grid")
for name, (marker, color) in shown.items():
    where, strength = places(fitted[name])
    above.scatter(
        where[:, 0], where[:, 1], 90 * strength, marker=marker, color=color, alpha=0.6, label=name
    )
    values = receive(scene, fitted[name].response_)[:, ~scene.pilot_mask].ravel()
    plane.plot(values.real, values.imag, ".", color=color, alpha=0.5, markersize=4, label=name)
above.plot(*scene.positions[:, :2].T, "k+", markersize=14, markeredgewidth=2, label="scatterers")
above.plot(*scene.true_params["users"][:, :2].T, "k^", label="users")
above.plot(0, 0, "kv", markersize=10, label="base station")
above.set(xlabel="x (m)", ylabel="y (m)", aspect="equal", title="The scene from above")
above.legend(loc="upper right", bbox_to_anchor=(-0.2, 1), frameon=False)
plane.plot(scene.constellation.real, scene.constellation.imag, "k+", markersize=14)
plane.set(
    title="Symbols received by these channels",
    aspect="equal",
    xlim=(-2.5, 2.5),
    ylim=(-2.5, 2.5),
    xlabel="real part",
    ylabel="imaginary part",
)
plane.legend(loc="upper right")

# %%
# What is each part worth? Errors of the channels, wrong symbols and distances of the scatterers, in
# the mean of two scenes. "Pilots only" has but the first symbols to estimate channels from, and
# finds the others with these channels. "All symbols known" is what nobody has.

results = {}
for seed in range(2):
    scene = make_isac_scene(snr=15, random_state=seed)
    for name, estimate in (fitted if seed == 0 else methods(scene)).items():
        symbols = estimate.symbols_
        if name == "pilots only":
            symbols = receive(scene, estimate.response_)
        distances = scene.localisation_error(places(estimate)[0])
        errors = (
            scene.channel_nmse(estimate.response_),
            scene.symbol_error_rate(symbols),
            np.median(distances),
        )
        results.setdefault(name, []).append(errors)
print(f"{'':<24}{'channel':>10}{'wrong symbols':>16}{'metres':>9}")
for name, rows in results.items():
    channel, wrong, metres = np.mean(rows, axis=0)
    print(f"{name:<24}{channel:>10.4f}{wrong:>16.3f}{metres:>9.2f}")
plt.show()
