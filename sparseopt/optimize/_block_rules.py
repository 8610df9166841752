r"""Which block a step of block coordinate descent moves.

Variable blocks: any set of ``block_size`` variables may be chosen. Fixed blocks: the
variables are divided once. Both take the block with the largest score, which bounds the
progress of a step from below, ``F(x) - F(x_+) >= score / 2``, with the matching update:

    gs    ||g_b||^2 (/ L_b)          gradient: only the slope counts
    gsl   ||g_b||^2 / L_b            gradient
    gsd   sum_i g_i^2 / L_i (/ |b|)  a diagonal bound of the Hessian block
    gsq   g_b' H_b^+ g_b             matrix: the full bound of the Hessian block

With an l1 part or constraint, gs and gsl take the distance from stationarity in place of
|g_i|, gsd the progress of the prox step along each coordinate, and gsq the minimum of the
block model plus penalty. On variable blocks the best set for gsq is NP-hard to find: the
rule grows it greedily, as matching pursuit grows a support; ``gsq-iht`` runs ten
iterations of hard thresholding instead.

Nutini, Laradji, Schmidt (2022), JMLR 23(131).
"""

import functools
import itertools

import numpy as np

from sparseopt.optimize._block_model import euclidean_norm, solve_semidefinite, spectrum
from sparseopt.optimize._block_updates import minimize_model

GREEDY = frozenset({"gs", "gsl", "gsd", "gsq", "gsq-iht", "mi"})
VARIABLE = ("gs", "gsd", "gsq", "gsq-iht", "random", "lipschitz", "mi")
FIXED = ("cyclic", "permutation", "random", "lipschitz", "gs", "gsl", "gsd", "gsq", "mi")
PARTITIONS = ("variable", "order", "sort", "avg")
LARGEST_ENUMERATION = 5000
THRESHOLDING_ITERATIONS = 10
GREEDY_ROUNDS = 10


class VariableBlocks:
    """Blocks that are chosen afresh in each step.

    Parameters
    ----------
    problem : BlockProblem
        The problem.
    rule : str
        One of ``VARIABLE``.
    block_size : int
        Number of variables in a block.
    update : callable
        The update rule, which ``"mi"`` tries on every candidate.
    random : Generator
        For the random rules.
    largest : int, default=0
        Blocks grow to twice the number of nonzero variables, but not beyond this size.
    """

    def __init__(self, problem, rule, block_size, update, random, largest=0):
        self.problem, self.update, self.random = problem, update, random
        self._smallest, self._largest_size = block_size, largest
        self.n_blocks = -(-problem.usable.size // self.block_size)
        self.select = getattr(self, "_" + rule.replace("-", "_"))

    @property
    def block_size(self):
        """The number of variables in the next block."""
        size = self._smallest
        if self._largest_size:
            n_free = np.count_nonzero(self.problem.is_free(self.problem.x))
            size = max(size, min(2 * n_free, self._largest_size))
        return max(1, min(size, self.problem.usable.size))

    def _gs(self):
        return self._largest(self.problem.subdifferential_distance()[self.problem.usable])

    def _gsd(self):
        return self._largest(self.problem.prox_scores()[self.problem.usable])

    def _random(self):
        chosen = self.random.choice(self.problem.usable, self.block_size, replace=False)
        return self.problem.block(np.sort(chosen))

    def _lipschitz(self):
        usable = self.problem.usable
        chances = self.problem.lipschitz[usable]
        chosen = self.random.choice(
            usable, self.block_size, replace=False, p=chances / chances.sum()
        )
        return self.problem.block(np.sort(chosen))

    def _mi(self):
        candidates = itertools.combinations(self.problem.usable, self.block_size)
        blocks = (self.problem.block(np.array(candidate)) for candidate in candidates)
        return min(blocks, key=lambda block: self.update(block).objective)

    def _gsq(self):
        """Grow the block: add the variable of largest score, minimise the model, repeat."""
        problem = self.problem
        chosen = np.empty(0, dtype=np.intp)
        gradient = problem.gradient
        size = self.block_size
        growth = max(1, size // GREEDY_ROUNDS)
        if growth == 1:
            quickly = problem.grow_block(size)
            if quickly is not None:
                return problem.block(quickly)
        while True:
            scores = problem.prox_scores(gradient)
            scores[chosen] = -1.0
            more = min(growth, size - chosen.size)
            best = _largest_positions(scores[problem.usable], more)
            chosen = np.sort(np.concatenate([chosen, problem.usable[best]]))
            block = problem.block(chosen)
            if chosen.size == size:
                return block
            d = minimize_bound(block)
            gradient = problem.gradient + problem.bound_product(chosen, d)

    def _gsq_iht(self):
        """Minimise the global quadratic bound over sparse vectors by hard thresholding.

        The dense start is the one of the authors' code, and matters a lot.
        """
        problem, usable = self.problem, self.problem.usable
        d = np.zeros(problem.n_variables)
        scale = np.sqrt(problem.total_weight / problem.lipschitz[usable])
        d[usable] = problem.gradient[usable] * scale
        for _ in range(THRESHOLDING_ITERATIONS):
            moved = d - (problem.gradient + problem.bound_times(d)) / problem.largest_curvature
            support = usable[_largest_positions(np.abs(moved[usable]), self.block_size)]
            new = np.zeros_like(d)
            new[support] = moved[support]
            settled = euclidean_norm(new - d) < 1e-10 * euclidean_norm(new)
            d = new
            if settled:
                break
        return problem.block(np.sort(support))

    def _largest(self, scores):
        """Return the block of the largest scores; of zero scores, the support goes first.

        Once only the support has scores above zero, a block as large as the support then
        holds all of it, which is what makes the last steps superlinear.
        """
        if not self.problem.is_smooth:
            usable = self.problem.usable
            settled = (scores == 0) & self.problem.is_free(self.problem.x[usable], usable)
            scores = np.where(settled, np.finfo(float).tiny, scores)
        best = _largest_positions(scores, self.block_size)
        return self.problem.block(self.problem.usable[np.sort(best)])


class FixedBlocks:
    """Blocks of a partition.

    Parameters
    ----------
    problem : BlockProblem
        The problem.
    rule : str
        One of ``FIXED``.
    blocks : list of ndarray
        The partition, from :func:`make_partition`.
    update : callable
        The update rule, which ``"mi"`` tries on every block.
    random : Generator
        For the random rules.
    """

    def __init__(self, problem, rule, blocks, update, random):
        self.problem, self.update, self.random = problem, update, random
        self.blocks = blocks
        self.n_blocks = len(blocks)
        self._order = np.concatenate(blocks)
        self._starts = np.cumsum([0] + [len(block) for block in blocks[:-1]])
        self._queue: list[int] = []
        self._rule = getattr(self, "_" + rule)

    def select(self):
        """Return the next block."""
        return self.problem.block(self.blocks[self._rule()])

    def _cyclic(self):
        return self._from_queue(lambda: np.arange(self.n_blocks))

    def _permutation(self):
        return self._from_queue(lambda: self.random.permutation(self.n_blocks))

    def _from_queue(self, refill):
        if not self._queue:
            self._queue = refill()[::-1].tolist()
        return self._queue.pop()

    def _random(self):
        return int(self.random.integers(self.n_blocks))

    def _lipschitz(self):
        return int(self.random.choice(self.n_blocks, p=self._lipschitz_chances))

    def _gs(self):
        return int(np.argmax(self._squared_slopes()))

    def _gsl(self):
        return int(np.argmax(self._squared_slopes() / self._block_lipschitz))

    def _gsd(self):
        return int(np.argmax(self._sums(self.problem.prox_scores())))

    def _gsq(self):
        gradient = self.problem.gradient
        if self.problem.is_smooth:
            scores = [
                float(np.sum((vectors.T @ gradient[block]) ** 2 / values))
                for block, (values, vectors) in zip(self.blocks, self._spectra, strict=True)
            ]
        else:
            scores = [self._model_progress(position) for position in range(self.n_blocks)]
        return int(np.argmax(scores))

    def _mi(self):
        objectives = [self.update(self.problem.block(block)).objective for block in self.blocks]
        return int(np.argmin(objectives))

    def _model_progress(self, position):
        """Return the decrease of the bound of one block plus its penalty."""
        block = self.problem.block(self.blocks[position])
        hessian = self._bounds[position]
        d = minimize_model(block, hessian, block.gradient, block.x) - block.x
        return -float(block.gradient @ d + 0.5 * d @ hessian @ d) - block.cost_change(block.x + d)

    def _squared_slopes(self):
        """Return the squared distances from stationarity of the blocks, up to a constant."""
        distance = self.problem.subdifferential_distance()
        return self._sums((distance / (np.max(distance) or 1.0)) ** 2)

    def _sums(self, scores):
        return np.add.reduceat(scores[self._order], self._starts)

    @functools.cached_property
    def _bounds(self):
        return [self.problem.block(block).hessian_bound() for block in self.blocks]

    @functools.cached_property
    def _spectra(self):
        return [spectrum(bound) for bound in self._bounds]

    @functools.cached_property
    def _block_lipschitz(self):
        return np.array([values[-1] for values, _ in self._spectra])

    @functools.cached_property
    def _lipschitz_chances(self):
        return self._block_lipschitz / self._block_lipschitz.sum()


def minimize_bound(block):
    """Return the change of the block that (nearly) minimises the bound plus the penalty."""
    hessian = block.hessian_bound()
    if block.problem.is_smooth:
        return -solve_semidefinite(hessian, block.gradient)
    return minimize_model(block, hessian, block.gradient, block.x, rounds=1) - block.x


def make_partition(problem, partition, block_size):
    """Divide the variables that may move into blocks.

    Parameters
    ----------
    problem : BlockProblem
        The problem.
    partition : {"order", "sort", "avg"} or ndarray of shape (n_variables,)
        Neighbours; neighbours by Lipschitz constant; small and large Lipschitz constants
        mixed; or the block label of each variable.
    block_size : int
        Number of variables in a block; the last may have fewer.

    Returns
    -------
    blocks : list of ndarray
        The variables of each block, in increasing order.
    """
    usable = problem.usable
    if not isinstance(partition, str):
        order = np.argsort(partition[usable], kind="stable")
        labels = partition[usable][order]
        return np.split(usable[order], np.flatnonzero(labels[1:] != labels[:-1]) + 1)
    order = np.arange(usable.size)
    if partition != "order":
        order = np.argsort(problem.lipschitz[usable], kind="stable")
    if partition == "avg":
        half = -(-usable.size // 2)
        mixed = np.empty_like(order)
        mixed[::2], mixed[1::2] = order[:half], order[half:][::-1]
        order = mixed
    cuts = np.arange(block_size, usable.size, block_size)
    return [np.sort(block) for block in np.split(usable[order], cuts)]


def _largest_positions(scores, count):
    """Return where the ``count`` largest scores are; of equal ones, the last positions."""
    if count >= scores.size:
        return np.arange(scores.size)
    if count == 1:
        return np.array([scores.size - 1 - np.argmax(scores[::-1])])
    threshold = np.partition(scores, scores.size - count)[scores.size - count]
    above = np.flatnonzero(scores > threshold)
    ties = np.flatnonzero(scores == threshold)
    return np.concatenate([above, ties[ties.size - (count - above.size) :]])
