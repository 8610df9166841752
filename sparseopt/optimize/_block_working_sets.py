r"""Blocks that hold the support, minimised over in compiled code: what ``"auto"`` stands for.

Variable blocks chosen by gsd, of twice the size of the support and never without any of it,
make block coordinate descent a working-set method. One scan of the gradient then pays for
a whole minimisation over its best variables, and an identified support ends the run. A
minimisation is as exact as a share of the current certificate. It is the one of the
coordinate descent engine: epochs, and Newton steps on the support with kept Gram entries.
A very weak penalty on a squared loss is approached in stages, as the engine does; a stage
moves the block of its own support.

Nutini, Laradji, Schmidt (2022), JMLR 23(131).
"""

import math

import numpy as np

from sparseopt.optimize._block_descent import BlockDescent, run
from sparseopt.optimize._block_model import Step
from sparseopt.optimize._block_updates import prox_newton_update
from sparseopt.optimize._coordinate_descent import (
    PenalizedLeastSquares,
    continuation,
    solve_roughly,
)
from sparseopt.optimize._design import make_design
from sparseopt.optimize._multinomial import PenalizedMultinomial
from sparseopt.optimize._prox_newton import PenalizedLoss
from sparseopt.optimize._working_set import WorkingSetProblem

GROWTH = 2
GAP_FRACTION = 0.5  # of the duality gap, the accuracy asked of a block
SLOPE_FRACTION = 0.3  # of the distance from stationarity, likewise


class SupportBlocks:
    """The support, and the variables with the largest gsd scores beside it.

    Where a score is zero, the variable that is closest to entering goes first.

    Parameters
    ----------
    problem : BlockProblem
        The problem.
    smallest : int
        Size of the first block.
    """

    n_blocks = 1

    def __init__(self, problem, smallest):
        self.problem, self.smallest = problem, smallest
        self._roots = np.sqrt(problem.lipschitz[problem.usable])

    def select(self):
        """Return the next block."""
        problem, usable = self.problem, self.problem.usable
        if usable.size == problem.n_variables:
            usable = slice(None)  # a view, where an index would copy
        x, gradient, l1 = problem.x[usable], problem.gradient[usable], problem.l1[usable]
        outward = -gradient if problem.positive else np.abs(gradient)
        # Its positive part is the root of the score of a variable at zero.
        prospect = (outward - l1) / self._roots
        kept = x != 0
        if not problem.positive:
            kept |= l1 == 0
        prospect[kept] = math.inf
        size = max(self.smallest, GROWTH * int(np.count_nonzero(kept)))
        if size >= prospect.size:
            return problem.block(problem.usable)
        best = np.argpartition(prospect, prospect.size - size)[prospect.size - size :]
        return problem.block(problem.usable[np.sort(best)])


class MinimizeSquares:
    """Minimises a squared loss plus penalty over a block.

    Parameters
    ----------
    problem : BlockProblem
        The problem.
    """

    def __init__(self, problem):
        self.problem = problem
        design = problem.design
        if problem.fit_intercept or problem.sample_weight is not None:
            design = make_design(
                problem.X, sample_weight=problem.sample_weight, fit_intercept=problem.fit_intercept
            )
        target, self._target_mean = design.transform_target(problem.y)
        self.model = PenalizedLeastSquares(design, target)
        self.smallest = design.smallest_working_set
        self.table = problem.table * problem.total_weight
        self.model.set_penalty(problem.code, self.table)
        self._stages = None

    def dual_gap(self):
        """Bring the engine to the current point and return the duality gap."""
        problem, model = self.problem, self.model
        model.x = problem.x.copy()
        residual = problem.y - problem.predictions
        rows = model.design.row_scale
        model.residual = residual if rows is None else rows * residual
        smooth = problem.gradient - problem.ridge * problem.x
        model.correlations = -problem.total_weight * smooth
        model._certify()
        return model.gap / problem.total_weight

    def __call__(self, block):
        """Return the step to the minimiser over ``block``."""
        self.dual_gap()
        model, indices = self.model, block.indices
        if self._stages is None:
            self._stages = iter(continuation(model))
        for factor in self._stages:
            solve_roughly(model, factor * self.table)
            new = model.x.copy()
            model.set_penalty(self.problem.code, self.table)
            block = self.problem.block(np.flatnonzero((new != 0) | (self.problem.x != 0)))
            break
        else:
            new = self.problem.x.copy()
            new[indices] = WorkingSetProblem(model, indices).solve(GAP_FRACTION * model.gap)
        intercept = float(model.design.intercept(new, self._target_mean))
        predictions = self.problem.predict(new, intercept)
        return fresh_step(block, new, predictions, intercept)


class MinimizeLoss:
    """Minimises another loss plus penalty over a block that holds the support.

    Parameters
    ----------
    problem : BlockProblem
        The problem.
    penalty : ElasticNet
        Its penalty.
    """

    def __init__(self, problem, penalty):
        self.problem = problem
        options = {"sample_weight": problem.sample_weight, "fit_intercept": problem.fit_intercept}
        data = (problem.X, problem.y, problem.loss)
        if problem.multinomial:
            self.model = PenalizedMultinomial(*data, problem.n_classes, **options)
        else:
            self.model = PenalizedLoss(*data, **options)
        self.smallest = self.model.smallest_working_set
        self.model.set_penalty(penalty)

    def dual_gap(self):
        """Bring the engine to the current point and return the duality gap."""
        self._move_engine()
        return self.model.dual_gap()

    def _move_engine(self):
        problem, model = self.problem, self.model
        model.x, model.intercept = problem.x.copy(), problem.intercept
        model.predictions = problem.predictions.copy(order="F")
        model._gradient_is_current = False
        model.differentiate()

    def __call__(self, block):
        """Return the step to the minimiser over ``block``."""
        problem, model = self.problem, self.model
        self._move_engine()
        violation = float(np.max(problem.subdifferential_distance(), initial=0.0))
        model._working_set(block.indices).solve(SLOPE_FRACTION * violation)
        predictions = model.predict(model.x, model.intercept)
        return fresh_step(block, model.x, predictions, model.intercept)


def minimizer(problem, penalty):
    """Return the update that minimises the objective of ``problem`` over a block."""
    return MinimizeSquares(problem) if problem.is_quadratic else MinimizeLoss(problem, penalty)


def fresh_step(block, x, predictions, intercept):
    """Return the step to ``x``, or another one if rounding makes that one ascend."""
    problem = block.problem
    objective = problem._objective(predictions, problem._penalty(slice(None), x))
    rounding = 10 * np.finfo(float).eps * abs(problem.objective)
    if not objective <= problem.objective + rounding:
        return prox_newton_update(block)
    change = x[block.indices] - block.x
    return Step(block, change, predictions, intercept, objective)


def solve_squares(problem, *, max_iter, tol, callback=None):
    """Minimise a squared loss plus penalty until the duality gap is small.

    The gap is relative to the objective of the best constant model. The result has
    ``dual_gap``, in the units of the objective.
    """
    update = MinimizeSquares(problem)
    unit = 0.5 * update.model.target_norm_squared / problem.total_weight or 1.0
    rule = SupportBlocks(problem, update.smallest)
    state = BlockDescent(problem, rule, update, 1, tol, lambda: update.dual_gap() / unit)
    result = run(state, max_iter, tol, callback, "relative duality gap")
    result.dual_gap = result.certificate * unit
    return result
