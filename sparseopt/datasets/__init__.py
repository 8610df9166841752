"""Generators of the published experiments and of the speed comparisons, and their real data."""

from sparseopt.datasets._approximation import make_iso_exponential
from sparseopt.datasets._badly_scaled import (
    make_badly_scaled_classification,
    make_badly_scaled_multiclass,
    make_badly_scaled_regression,
)
from sparseopt.datasets._causal import load_sachs, make_linear_sem
from sparseopt.datasets._graphs import make_lattice_labels, make_two_moons_graph
from sparseopt.datasets._images import (
    load_pedestrian_frames,
    make_infrared_targets,
    make_moving_objects,
)
from sparseopt.datasets._isac import make_isac_scene
from sparseopt.datasets._isac_dictionary import IsacDictionary
from sparseopt.datasets._kronecker import make_irs_mimo_channel, make_kronecker_sparse
from sparseopt.datasets._langevin import make_single_index, make_spiked_tensor
from sparseopt.datasets._low_rank import make_low_rank_plus_sparse
from sparseopt.datasets._regression import make_correlated_regression, make_text_like_regression
from sparseopt.datasets._sparse_recovery import make_sparse_recovery

__all__ = [
    "IsacDictionary",
    "load_pedestrian_frames",
    "load_sachs",
    "make_badly_scaled_classification",
    "make_badly_scaled_multiclass",
    "make_badly_scaled_regression",
    "make_correlated_regression",
    "make_infrared_targets",
    "make_irs_mimo_channel",
    "make_isac_scene",
    "make_iso_exponential",
    "make_kronecker_sparse",
    "make_lattice_labels",
    "make_linear_sem",
    "make_low_rank_plus_sparse",
    "make_moving_objects",
    "make_single_index",
    "make_sparse_recovery",
    "make_spiked_tensor",
    "make_text_like_regression",
    "make_two_moons_graph",
]
