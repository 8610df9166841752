r"""Block coordinate descent with greedy rules.

Problem: see ``_block_problem``. Each step selects a block (``_block_rules``), proposes a
change of its variables (``_block_updates``) and takes it. No step increases the objective
by more than rounding.

With a smooth objective, blocks chosen by gsq and the matrix update, the method converges
linearly, ``F(x_{k+1}) - F* <= (1 - mu) (F(x_k) - F*)`` with the strong convexity mu in the
norm dual to ``max_b ||g_b||_{H_b^{-1}}``. With an l1 part or constraint, the set of
variables at zero is that of the solution after finitely many steps; from then on, blocks
as large as the support make the Newton-like updates superlinear.

Nutini, Laradji, Schmidt (2022). Let's Make Block Coordinate Descent Converge Faster:
Faster Greedy Rules, Message-Passing, Active-Set Complexity, and Superlinear Convergence.
JMLR 23(131).
"""

import math

import numpy as np

from sparseopt._core import (
    check_at_least_one,
    check_nonnegative,
    check_regression_data,
    spawn_seeds,
)
from sparseopt.optimize._block_bounds import BoundedProblem
from sparseopt.optimize._block_descent import BlockDescent, run
from sparseopt.optimize._block_groups import GroupedProblem
from sparseopt.optimize._block_problem import BlockProblem
from sparseopt.optimize._block_rules import (
    FIXED,
    GREEDY,
    LARGEST_ENUMERATION,
    PARTITIONS,
    VARIABLE,
    FixedBlocks,
    VariableBlocks,
    make_partition,
)
from sparseopt.optimize._block_updates import UPDATES
from sparseopt.optimize._block_working_sets import SupportBlocks, minimizer
from sparseopt.optimize._losses import MultinomialLoss, SquaredLoss
from sparseopt.optimize._penalties import Box, ElasticNet, GroupL2

BOUND_UPDATES = ("gradient", "matrix", "prox-gradient")
BOUND_SELECTIONS = ("gsl", "gsq", "gsq-iht")
SMOOTH_UPDATES = ("gradient", "matrix", "newton")
BLOCK_SIZE = 10
LARGEST_BLOCK = 500


def block_coordinate_descent(
    X,
    y,
    penalty=None,
    *,
    loss=None,
    sample_weight=None,
    fit_intercept=False,
    block_size="auto",
    partition="variable",
    selection="gsd",
    update="auto",
    coef_init=None,
    max_iter=10_000,
    tol=1e-6,
    callback=None,
    random_state=None,
):
    r"""Minimise a smooth loss plus a separable penalty by block coordinate descent.

    .. math::

        \min_{x, b} \frac{1}{\sum_i s_i} \sum_i s_i \, \ell(y_i, (X x)_i + b)
        + \alpha \sum_j w_j \left(\rho |x_j| + \tfrac{1 - \rho}{2} x_j^2\right),
        \qquad x \ge 0 \text{ if the penalty is positive}

    or, in place of the penalty, bounds :math:`l_j \le x_j \le u_j` or the norms of groups,
    :math:`\alpha \sum_g w_g \|x_g\|_2`.

    Parameters
    ----------
    X : ndarray or sparse matrix/array of shape (n_samples, n_features)
        Real design. The arithmetic is in double precision.
    y : ndarray of shape (n_samples,)
        Target: numbers for ``SquaredLoss`` and ``HuberLoss``, -1 and +1 for
        ``LogisticLoss``, labels 0, 1, ... for ``MultinomialLoss``, numbers >= 0 for
        ``PoissonLoss``.
    penalty : L1, ElasticNet, NonNegative, Box or GroupL2, optional
        Penalty, possibly with ``positive=True``, or bounds; none by default. The groups of
        ``GroupL2`` are the blocks, and the rules for fixed blocks apply. Its weights are one a
        feature, shared by the classes of a multinomial loss.
    loss : SquaredLoss, LogisticLoss, MultinomialLoss, HuberLoss or PoissonLoss, optional
        The loss; half the mean squared error by default. ``PoissonLoss``, whose curvature
        has no bound, goes with the updates that search along a line and, of the greedy
        selections, with ``"gs"`` and ``"gsd"``, which then promise nothing.
    sample_weight : ndarray of shape (n_samples,), optional
        Row weights :math:`s_i \ge 0`.
    fit_intercept : bool, default=False
        Whether the intercept b, one a class for a multinomial loss, is free and
        unpenalised; otherwise it is zero. It minimises the objective after each step,
        and every rule and update counts on that.
    block_size : int or "auto", default="auto"
        Number of variables in a block; at most all. ``"auto"`` is 10, except where
        larger blocks bring the superlinear finish. With an l1 part and the default
        ``partition``, ``selection`` and ``update``, a block is the support and as many
        variables beside it, at least some dozens, and a step minimises over it in
        compiled code. With variable blocks of ``"gs"``, ``"gsd"`` and ``"gsq"`` and with
        ``"prox-newton"`` or ``"tmp"``, blocks grow to twice the number of nonzero
        variables, up to 500.
    partition : str or array of shape (n_variables,), default="variable"
        ``"variable"``: any variables may form a block. Fixed blocks: consecutive
        variables (``"order"``), variables of similar Lipschitz constants (``"sort"``),
        small and large ones mixed (``"avg"``), or the block label of each variable, which
        leaves no choice of ``block_size``.
    selection : str, default="gsd"
        Which block moves. Greedy rules take the block of largest guaranteed progress,
        under a bound of the Hessian block that is a constant (``"gs"``), isotropic
        (``"gsl"``, fixed blocks only), diagonal (``"gsd"``) or full (``"gsq"``; grown
        greedily on variable blocks; ``"gsq-iht"`` finds them by hard thresholding).
        ``"mi"`` tries the update on every block. ``"cyclic"`` and ``"permutation"`` need
        fixed blocks; ``"random"`` samples uniformly and ``"lipschitz"`` with chances
        proportional to Lipschitz constants.
    update : str, default="auto"
        How the block moves: ``"gradient"``, ``"matrix"`` or ``"newton"`` for smooth
        objectives, ``"prox-gradient"``, ``"prox-newton"`` or ``"tmp"`` (two-metric
        projection) with an l1 part or constraint, ``"backtracking"`` (a gradient or
        prox-gradient step of estimated length) with any. ``"auto"`` is ``"matrix"`` for a
        squared loss, ``"newton"`` for others, and ``"prox-newton"`` with an l1 part or
        constraint; see also ``block_size``.
    coef_init : ndarray of shape (n_variables,), optional
        Warm start; zero by default.
    max_iter : int, default=10000
        Largest number of block steps.
    tol : float, default=1e-6
        The run ends once the largest distance of a coordinate from stationarity is at
        most ``tol`` times the largest partial derivative of the loss at zero, or at the
        best constant model. The derivative by the intercept counts, relative to the sum of the
        moduli of the samples' derivatives there. Where rounding is all that keeps them from
        zero, the largest value that they could have had takes their place.
    callback : callable, optional
        Called after each step as SciPy's optimizers do; ``StopIteration`` ends the run.
    random_state : None, int, RandomState or Generator, default=None
        For the random rules.

    Returns
    -------
    result : OptimizeResult
        ``x`` of shape (n_variables,): for a multinomial loss ``n_variables = n_features *
        n_classes``, and ``x.reshape(n_features, n_classes)`` holds the coefficients;
        ``intercept``, a float, or for a multinomial loss an array of shape (n_classes,) and
        mean zero; ``fun``; ``kkt`` (the largest distance from stationarity);
        ``certificate`` (the same, relative); ``dual_gap`` (a bound on ``fun`` minus the
        minimum, for objectives with an l1 part; NaN for others, infinite if no dual point
        is at hand); ``nit`` (block steps); ``active_set`` (the nonzero variables; with bounds,
        those strictly between) and
        ``active_set_iteration`` (the step after which that set no longer changed);
        ``success``, ``status``, ``message`` and ``history`` (``iteration``, ``time``,
        ``objective``, ``certificate``, and ``blocks``, the list of the blocks moved). Rules
        that are not greedy refresh the certificate once every pass only.

    Raises
    ------
    ValueError
        For bad arguments, and for rules that cannot be combined.

    Warns
    -----
    ConvergenceWarning
        If ``tol`` is not reached, or if separable classes without a penalty leave the
        loss without a minimiser.

    References
    ----------
    Nutini, Laradji, Schmidt (2022). Let's Make Block Coordinate Descent Converge Faster.
    JMLR 23(131).

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.optimize import L1, block_coordinate_descent
    >>> X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> result = block_coordinate_descent(X, X @ [2.0, 0.0], L1(alpha=0.1), block_size=1)
    >>> result.x.round(3), result.active_set
    (array([1.85, 0.  ]), array([0]))
    """
    loss = SquaredLoss() if loss is None else loss
    if not (isinstance(block_size, str) and block_size == "auto"):
        check_at_least_one(block_size, "block_size")
    check_at_least_one(max_iter, "max_iter")
    check_nonnegative(tol, "tol")
    problem = pose(X, y, loss, penalty, sample_weight, fit_intercept)
    working_sets = _takes_working_sets(problem, partition, selection, update, block_size)
    update = _check_update(update, problem)
    if isinstance(problem, GroupedProblem):
        partition = _check_groups(partition, block_size, problem)
    else:
        partition = _check_partition(partition, block_size, problem)
    block_size, largest = _block_sizes(block_size, selection, update)
    _check_selection(selection, partition, block_size, problem)
    if coef_init is not None:
        problem.move_to(_check_start(coef_init, problem))
    if problem.usable.size == 0:
        selection, partition = "gs", "variable"  # no step will be taken
    random = np.random.default_rng(spawn_seeds(random_state, 1)[0])
    move = UPDATES[update]
    if working_sets:
        move = minimizer(problem, penalty)
        rule = SupportBlocks(problem, move.smallest)
    elif isinstance(partition, str) and partition == "variable":
        rule = VariableBlocks(problem, selection, block_size, move, random, largest)
    else:
        blocks = make_partition(problem, partition, block_size)
        rule = FixedBlocks(problem, selection, blocks, move, random)
    check_every = 1 if selection in GREEDY else rule.n_blocks
    state = BlockDescent(problem, rule, move, check_every, tol)
    result = run(state, max_iter, tol, callback)
    result.kkt = result.certificate * problem.gradient_scale
    result.dual_gap = _dual_gap(problem, penalty, move)
    return result


def pose(X, y, loss, penalty, sample_weight, fit_intercept=False):
    """Validate the data and return the :class:`BlockProblem` at zero."""
    curvature = getattr(loss, "curvature", None)
    operations = getattr(loss, "operations", frozenset())
    if curvature is None or not {"value", "gradient", "hessian_diagonal"} <= operations:
        raise ValueError(
            f"block_coordinate_descent cannot minimise {loss!r}: loss must be SquaredLoss, "
            "LogisticLoss, MultinomialLoss, HuberLoss or PoissonLoss."
        )
    if penalty is not None and not isinstance(penalty, (ElasticNet, Box, GroupL2)):
        raise ValueError(
            "block_coordinate_descent needs an L1, ElasticNet, NonNegative, Box or GroupL2 "
            f"penalty or None, got {type(penalty).__name__}."
        )
    if np.asarray(y).dtype.kind in "biuf":  # else y and weights take single precision from X
        y = np.asarray(y, dtype=np.float64)
    X, y, sample_weight = check_regression_data(X, y, sample_weight)
    if np.iscomplexobj(X):
        raise ValueError("block_coordinate_descent needs real data, got complex values.")
    y = loss.check_target(y)
    n_classes = None
    if isinstance(loss, MultinomialLoss):
        n_classes = loss.count_classes(y)
    kinds = {Box: BoundedProblem, GroupL2: GroupedProblem}
    kind = kinds.get(type(penalty), BlockProblem)
    return kind(X, y, loss, penalty, sample_weight, n_classes, fit_intercept)


def _dual_gap(problem, penalty, move):
    if not _has_costs(problem):
        return math.nan
    return (move if hasattr(move, "dual_gap") else minimizer(problem, penalty)).dual_gap()


def _takes_working_sets(problem, partition, selection, update, block_size):
    """Return whether the choice of everything but gsd is left to the solver."""
    choices = (partition, selection, update, block_size)
    if not all(isinstance(choice, str) for choice in choices):
        return False
    return choices == ("variable", "gsd", "auto", "auto") and _has_costs(problem)


def _has_costs(problem):
    """Return whether the engine of working sets is made for the problem.

    Constraints without a cost let in too many variables at once.
    """
    if problem.is_smooth or not problem.has_engine:
        return False
    return not problem.positive or bool(np.all(problem.l1[problem.usable] > 0))


def _check_update(update, problem):
    if update == "auto":
        if not problem.is_smooth:
            return "prox-newton"
        return "matrix" if problem.is_quadratic else "newton"
    if not isinstance(update, str) or update not in UPDATES:
        raise ValueError(f"update must be 'auto' or one of {list(UPDATES)}, got {update!r}.")
    if update in BOUND_UPDATES and not problem.is_bounded:
        raise ValueError(
            f"update={update!r} cannot be combined with {type(problem.loss).__name__}, whose "
            "curvature has no bound: take 'newton', 'prox-newton', 'tmp' or 'backtracking'."
        )
    if update in SMOOTH_UPDATES and not problem.is_smooth:
        raise ValueError(
            f"update={update!r} cannot be combined with an l1 penalty, positive=True, bounds or "
            "groups: take 'prox-gradient', 'prox-newton' or 'tmp'."
        )
    if update == "tmp" and problem.is_smooth:
        raise ValueError(
            "update='tmp' cannot be combined with a smooth objective, which leaves nothing to "
            "project: take 'newton'."
        )
    if update == "tmp" and not problem.has_engine:
        raise ValueError(
            "update='tmp' cannot be combined with bounds or groups, which have no orthant to "
            "stay in: take 'prox-newton'."
        )
    return update


def _check_groups(partition, block_size, problem):
    """Return the groups as the partition, if no other is asked for."""
    if not (isinstance(partition, str) and partition == "variable"):
        raise ValueError(
            f"partition={partition!r} cannot be combined with GroupL2, whose groups are the "
            "blocks: leave it out."
        )
    if block_size != "auto":
        raise ValueError(
            f"block_size={block_size!r} cannot be combined with GroupL2, whose groups are the "
            "blocks: leave it out."
        )
    return problem.groups


def _check_partition(partition, block_size, problem):
    if isinstance(partition, str):
        if partition not in PARTITIONS:
            raise ValueError(
                f"partition must be one of {list(PARTITIONS)} or an array of labels, got "
                f"{partition!r}."
            )
        return partition
    labels = np.asarray(partition)
    if labels.shape != (problem.n_variables,):
        raise ValueError(
            f"partition must have shape ({problem.n_variables},), one label a variable, got "
            f"{labels.shape}."
        )
    if labels.dtype.kind not in "biufUS" or (labels.dtype.kind == "f" and np.isnan(labels).any()):
        raise ValueError(
            f"partition must hold numbers or strings, and no NaN, got dtype {labels.dtype}."
        )
    if block_size != "auto":
        raise ValueError(
            f"block_size={block_size!r} cannot be combined with labels, which make the blocks: "
            "leave it out."
        )
    return labels


def _check_selection(selection, partition, block_size, problem):
    is_variable = isinstance(partition, str) and partition == "variable"
    rules, other = (VARIABLE, FIXED) if is_variable else (FIXED, VARIABLE)
    kind = "variable" if is_variable else "fixed"
    if not isinstance(selection, str) or selection not in (*rules, *other):
        raise ValueError(f"selection must be one of {sorted({*rules, *other})}, got {selection!r}.")
    if selection not in rules:
        hint = "take 'gsd', or fixed blocks" if is_variable else "take 'gsq'"
        raise ValueError(
            f"selection={selection!r} cannot be combined with {kind} blocks: {hint}. The rules "
            f"for {kind} blocks are {list(rules)}."
        )
    if selection in BOUND_SELECTIONS and not problem.is_bounded:
        raise ValueError(
            f"selection={selection!r} cannot be combined with {type(problem.loss).__name__}, "
            "whose curvature has no bound: take 'gsd'."
        )
    if selection == "gsq-iht" and not problem.is_smooth:
        raise ValueError(
            "selection='gsq-iht' cannot be combined with an l1 penalty, positive=True, bounds or "
            "groups: take 'gsq'."
        )
    if selection == "mi":
        _check_enumeration(is_variable, block_size, problem)


def _check_enumeration(is_variable, block_size, problem):
    n = problem.usable.size
    candidates = math.comb(n, min(block_size, n)) if is_variable else n
    if candidates > LARGEST_ENUMERATION:
        what = f"{candidates} blocks" if is_variable else f"{n} variables"
        raise ValueError(
            f"selection='mi' enumerates and is meant for small problems, at most "
            f"{LARGEST_ENUMERATION} {'blocks' if is_variable else 'variables'}, got {what}: take "
            "'gsq'."
        )


def _block_sizes(block_size, selection, update):
    """Return the block size, and up to which size blocks grow with the support."""
    if isinstance(block_size, str):
        grows = selection in ("gs", "gsd", "gsq") and update in ("prox-newton", "tmp")
        return BLOCK_SIZE, LARGEST_BLOCK if grows else 0
    return block_size, 0


def _check_start(coef_init, problem):
    start = np.asarray(coef_init, dtype=np.float64)
    if start.shape != (problem.n_variables,):
        raise ValueError(f"coef_init must have shape ({problem.n_variables},), got {start.shape}.")
    if not np.all(np.isfinite(start)):
        raise ValueError("coef_init must be finite, got NaN or infinite entries.")
    return start
