"""Learning linear causal graphs from observations, and comparing graphs."""

from sparseopt.causal._colide import CoLiDE
from sparseopt.causal._colide_cv import CoLiDECV
from sparseopt.causal._colide_path import colide_path
from sparseopt.causal._graphs import is_acyclic, threshold_to_dag, topological_order
from sparseopt.causal._linear_sem import StandardizedDataWarning
from sparseopt.causal._metrics import dag_metrics, dag_to_cpdag, shd, shd_cpdag, sid
from sparseopt.causal._sort_regress import SortRegress
from sparseopt.causal._sortability import r2_sortability, varsortability
from sparseopt.causal._stability import edge_stability

__all__ = [
    "CoLiDE",
    "CoLiDECV",
    "SortRegress",
    "StandardizedDataWarning",
    "colide_path",
    "dag_metrics",
    "dag_to_cpdag",
    "edge_stability",
    "is_acyclic",
    "r2_sortability",
    "shd",
    "shd_cpdag",
    "sid",
    "threshold_to_dag",
    "topological_order",
    "varsortability",
]
