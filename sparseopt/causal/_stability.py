"""How far a learnt graph depends on the sample: the same method on bootstrapped data."""

import numbers

import numpy as np
from sklearn.base import clone
from sklearn.utils import Bunch, _safe_indexing, check_array
from sklearn.utils.validation import _get_feature_names, has_fit_parameter

from sparseopt._core import check_at_least_one, run_parallel, spawn_seeds
from sparseopt.causal._colide import CoLiDE
from sparseopt.causal._colide_path import warn_of_unfinished
from sparseopt.causal._graphs import descendants
from sparseopt.causal._linear_sem import LinearSEMMixin, Moments

SMALLEST_SAMPLE = 2


def edge_stability(
    estimator,
    X,
    *,
    n_bootstrap=100,
    sample_fraction=1.0,
    quantiles=(0.05, 0.5, 0.95),
    min_frequency=0.5,
    n_jobs=None,
    random_state=None,
):
    """Learn a graph from many bootstrapped samples, and count its edges.

    Frequencies tell edges that the data support from those that another sample of the same
    size might not show. They do not tell right directions from wrong ones: what a method gets
    wrong for other reasons than chance it may well get wrong every time.

    Parameters
    ----------
    estimator : estimator
        Anything that has, after ``fit(X)``, the weights of a DAG as ``adjacency_``: row =
        cause, column = effect. It is cloned. If its ``random_state`` is None, each replicate
        gets a seed.
    X : array-like of shape (n_samples, n_features)
        Samples.
    n_bootstrap : int, default=100
        Number of replicates.
    sample_fraction : float, default=1.0
        Rows of a replicate, drawn with replacement, over rows of ``X``; in (0, 1].
    quantiles : sequence of float, default=(0.05, 0.5, 0.95)
        Which quantiles of the weights to compute.
    min_frequency : float, default=0.5
        Edges of the aggregated graph are more frequent than this; in [0, 1).
    n_jobs : int, optional
        Number of replicates computed at once; the result does not depend on it.
    random_state : int, RandomState, Generator or None, default=None
        Seed of the draws.

    Returns
    -------
    result : Bunch
        ``frequencies`` (n_features, n_features): shares of the replicates with the edge from i
        to j. ``weight_quantiles`` (n_quantiles, n_features, n_features): quantiles of its
        weight in those replicates, NaN if there are none. ``ancestor_frequencies``
        (n_features, n_features): shares of the replicates with a directed path from i to j.
        ``adjacency`` (n_features, n_features): a DAG, to which edges were added by falling
        frequency, except where they close a cycle, with their median weights. ``edges``: its
        edges as tuples (cause, effect, frequency, median weight), by names if ``X`` had
        names, the most frequent first. ``feature_names``: list of str or None. ``quantiles``.
        ``n_unfinished``: number of replicates that did not converge.

    Raises
    ------
    TypeError
        If there is no ``adjacency_`` after ``fit``.
    ValueError
        For arguments out of range, invalid data, and replicates that cannot be fitted.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        Once, with the number of replicates whose attribute ``converged_`` is False; CoLiDE's
        own warnings are left out then.
    StandardizedDataWarning
        If all columns have the same standard deviation and the estimator is :class:`CoLiDE`,
        :class:`CoLiDECV` or :class:`SortRegress` by variances.

    See Also
    --------
    CoLiDE : A method to judge in this way.

    Notes
    -----
    Estimators whose ``fit`` takes ``sample_weight`` get each row once, with the number of
    times that it was drawn. Cross-validation inside of them keeps copies of a row together then.

    Equal frequencies are taken by row, then by column, when the graphs are put together.

    References
    ----------
    Friedman, Goldszmidt, Wyner (1999). Data analysis with Bayesian networks: a bootstrap
    approach. UAI.

    Examples
    --------
    >>> from sparseopt.causal import CoLiDE, edge_stability
    >>> from sparseopt.datasets import make_linear_sem
    >>> data = make_linear_sem(n_features=6, edges_per_node=1, random_state=2)
    >>> model = CoLiDE(solver="prox")
    >>> stability = edge_stability(model, data.X, n_bootstrap=10, random_state=0)
    >>> [edge[:3] for edge in stability.edges]  # cause, effect, frequency
    [(1, 2, 1.0), (3, 0, 1.0), (3, 2, 1.0), (5, 3, 1.0), (5, 4, 1.0)]
    >>> stability.ancestor_frequencies[5]
    array([1., 0., 1., 1., 1., 0.])
    """
    n_bootstrap = check_at_least_one(n_bootstrap, "n_bootstrap")
    quantiles = _check_ranges(sample_fraction, quantiles, min_frequency)
    if not hasattr(estimator, "fit"):
        raise TypeError(f"estimator must have a method fit, got {estimator!r}.")
    names = _check_samples(estimator, X)
    n_samples, d = np.shape(X)
    X = X if hasattr(X, "iloc") or hasattr(X, "columns") else np.asarray(X)
    size = max(round(sample_fraction * n_samples), SMALLEST_SAMPLE)
    tasks = [
        (estimator, X, size, number, seed)
        for number, seed in enumerate(spawn_seeds(random_state, n_bootstrap))
    ]
    replicates = run_parallel(_fit_replicate, tasks, n_jobs=n_jobs)
    n_unfinished = sum(not converged for *_, converged in replicates)
    warn_of_unfinished(n_unfinished, n_bootstrap, "to bootstrapped data")
    counts, at_quantiles = _summarise_weights(
        [edges for edges, *_ in replicates],
        [weights for _, weights, *_ in replicates],
        d,
        np.append(quantiles, 0.5),
    )
    frequencies = counts / n_bootstrap
    chosen = _insert_acyclic(frequencies, min_frequency)
    medians = at_quantiles[-1]
    adjacency = np.zeros((d, d))
    for edge in chosen:
        adjacency[edge] = medians[edge]
    labels = range(d) if names is None else names
    return Bunch(
        frequencies=frequencies,
        quantiles=quantiles,
        weight_quantiles=at_quantiles[:-1],
        ancestor_frequencies=sum(ancestors for _, _, ancestors, _ in replicates) / n_bootstrap,
        adjacency=adjacency,
        edges=[
            (labels[i], labels[j], float(frequencies[i, j]), float(medians[i, j]))
            for i, j in chosen
        ],
        feature_names=names,
        n_unfinished=n_unfinished,
    )


def _check_ranges(sample_fraction, quantiles, min_frequency):
    """Return the quantiles as an array."""
    if not isinstance(sample_fraction, numbers.Real) or isinstance(sample_fraction, bool):
        raise TypeError(f"sample_fraction must be a real number, got {sample_fraction!r}.")
    if not 0 < sample_fraction <= 1:
        raise ValueError(f"sample_fraction must be in (0, 1], got {sample_fraction!r}.")
    if not isinstance(min_frequency, numbers.Real) or not 0 <= min_frequency < 1:
        raise ValueError(f"min_frequency must be in [0, 1), got {min_frequency!r}.")
    levels = np.asarray(quantiles, dtype=float)
    if levels.ndim != 1 or levels.size == 0 or not np.all((levels >= 0) & (levels <= 1)):
        raise ValueError(f"quantiles must be numbers from [0, 1], got {quantiles!r}.")
    return levels


def _check_samples(estimator, X):
    """Refuse what no replicate can be fitted to; return the names of the columns, or None."""
    names = _get_feature_names(X)
    names = None if names is None else [str(name) for name in names]
    checked = check_array(
        X,
        dtype=[np.float64, np.float32],
        ensure_min_samples=2,
        ensure_min_features=2,
        input_name="X",
    )
    if isinstance(estimator, LinearSEMMixin):
        moments = Moments.of(checked)
        moments.check(names)
        if getattr(estimator, "criterion", "variance") == "variance":  # bootstrapped data hide it
            moments.warn_if_standardised(stacklevel=3)
    return names


def _draw_rows(random, n_samples, size):
    return random.integers(n_samples, size=size)


def _fit_replicate(estimator, X, size, number, seed):
    """Return the positions and weights of the edges, who is whose ancestor, and convergence."""
    random = np.random.default_rng(seed)
    rows = _draw_rows(random, X.shape[0], size)
    model = clone(estimator)
    if model.get_params(deep=False).get("random_state", 0) is None:
        model.set_params(random_state=int(random.integers(2**31 - 1)))
    if isinstance(model, CoLiDE):
        model._quiet = True
    weights = {}
    if has_fit_parameter(model, "sample_weight"):
        rows, counts = np.unique(rows, return_counts=True)
        weights = {"sample_weight": counts.astype(np.float64)}
    kind = type(estimator).__name__
    try:
        model.fit(_safe_indexing(X, rows), **weights)
        if not hasattr(model, "adjacency_"):
            raise TypeError(f"{kind} has no adjacency_ after fit: it learns no graph.")
        adjacency = np.asarray(model.adjacency_, dtype=np.float64)
        if adjacency.shape != (X.shape[1],) * 2:
            raise ValueError(
                f"adjacency_ of {kind} must be a matrix with a row and a column for each of the "
                f"{X.shape[1]} features, got shape {adjacency.shape}."
            )
        ancestors = descendants(adjacency != 0)
    except ValueError as error:
        raise ValueError(f"In replicate {number} of the bootstrap: {error}") from error
    edges = np.flatnonzero(adjacency)
    return edges, adjacency.ravel()[edges], ancestors, bool(getattr(model, "converged_", True))


def _summarise_weights(edges, weights, d, levels):
    """Return how often each edge occurs, (d, d), and quantiles of its weights, NaN if never."""
    seen, position = np.unique(np.concatenate(edges), return_inverse=True)
    samples = np.full((len(edges), seen.size), np.nan)
    replicate = np.repeat(np.arange(len(edges)), [len(part) for part in edges])
    samples[replicate, position] = np.concatenate(weights)
    samples.sort(axis=0)  # NaN last
    counts = np.count_nonzero(~np.isnan(samples), axis=0)
    places = levels[:, None] * (counts - 1)
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, counts - 1)
    columns = np.arange(seen.size)
    low, high = samples[below, columns], samples[above, columns]
    all_counts, at_levels = np.zeros(d * d), np.full((len(levels), d * d), np.nan)
    all_counts[seen] = counts
    at_levels[:, seen] = low + (places - below) * (high - low)
    return all_counts.reshape(d, d), at_levels.reshape(-1, d, d)


def _insert_acyclic(frequencies, min_frequency):
    """Return the edges (i, j) of the greedy DAG, in the order in which they were added."""
    reaches = np.eye(len(frequencies), dtype=bool)
    causes, effects = np.nonzero(frequencies > min_frequency)
    falling = np.argsort(-frequencies[causes, effects], kind="stable")
    chosen = []
    for i, j in zip(causes[falling].tolist(), effects[falling].tolist(), strict=True):
        if reaches[j, i]:
            continue
        chosen.append((i, j))
        reaches |= np.outer(reaches[:, i], reaches[j])
    return chosen
