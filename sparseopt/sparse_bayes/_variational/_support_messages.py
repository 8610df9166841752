r"""Turbo exchange with priors of the support: what the rest of the model says of each s.

Given log-likelihood ratios L[k, q] = log p(data | s_kq = 1) / p(data | s_kq = 0), a prior answers
with the log-odds of s_kq given all ratios but its own. A common support c_q, seen by group k with
probability ``visibility`` and, where it is absent, with ``leakage``, collects from each group

    r_kq = log (1 - visibility + visibility e^L) / (1 - leakage + leakage e^L),

and has a law of its own: independent, a Markov chain, or a Markov random field on a grid.
Everything is exact but for the grid, which has loops. Log-odds are kept as such: a probability that
rounds to 1 says nothing any more.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from sparseopt.sparse_bayes._kernels import messages as kernels

FLOOR = 1e-10  # no probability is learnt to be nearer to 0 or 1
STRONGEST_COUPLING = 20.0
MAX_ROUNDS, SETTLED = 50, 1e-12  # of the stationary chain's M-step
LONGEST_STEP, MAX_TRIALS = 1.0, 10  # of the grid's M-step, in log-odds
RIDGE = 1e-6


def log_mixture(proba, llr):
    """Return log(1 - proba + proba e^llr)."""
    with np.errstate(divide="ignore"):
        return np.logaddexp(np.log1p(-proba), np.log(proba) + llr)


def shared_evidence(llr, visibility, leakage):
    """Return what each group says of the common support (K, Q)."""
    return log_mixture(visibility, llr) - log_mixture(leakage, llr)


def sum_of_others(values):
    """Return the sums over the first axis without the own term, which never enters."""
    out = np.zeros_like(values)
    out[1:] = np.cumsum(values[:-1], axis=0)
    out[:-1] += np.cumsum(values[:0:-1], axis=0)[::-1]
    return out


def seen_log_odds(common, visibility, leakage):
    """Return the log-odds of s, given the log-odds of the common support."""
    with np.errstate(divide="ignore"):
        on = np.logaddexp(np.log(leakage), np.log(visibility) + common)
        off = np.logaddexp(np.log1p(-leakage), np.log1p(-visibility) + common)
    return on - off


def learn_tied(value, successes, trials, low=FLOOR, high=1 - FLOOR):
    """Return the most likely probability, one for all entries that were equal.

    Parameters
    ----------
    value : float or array broadcastable to (K, Q)
        Probabilities so far.
    successes, trials : arrays of shape (K, Q)
        Expected numbers.
    low, high : float
        Where the result is kept.
    """
    value = np.asarray(value, dtype=float)
    old, which = np.unique(value, return_inverse=True)
    which = which.reshape(value.shape)
    where = np.broadcast_to(which, successes.shape).ravel()
    won = np.bincount(where, successes.ravel(), len(old))
    tried = np.bincount(where, trials.ravel(), len(old))
    new = np.where(tried > 0, won / np.where(tried > 0, tried, 1.0), old)
    new = keep_inside(new, old, low, high)[which]
    return float(new) if value.ndim == 0 else new


def keep_inside(new, old, low=FLOOR, high=1 - FLOOR):
    """Keep learnt probabilities between limits, or at least from leaving them any further.

    The expected log-likelihood is concave, so that it rises on the way to its maximum.
    """
    return np.clip(new, np.minimum(low, old), np.maximum(high, old))


class ChainMessages(NamedTuple):
    """``forward`` and ``backward`` messages (R, n), and the log partition function."""

    forward: np.ndarray
    backward: np.ndarray
    log_partition: float


def chain_messages(evidence, p01, p10):
    """Pass messages along stationary Markov chains.

    Parameters
    ----------
    evidence : ndarray of shape (R, n)
        Log-likelihood ratios of R independent chains.
    p01, p10 : float
        Probabilities of switching on, and off.
    """
    forward, backward = np.empty_like(evidence), np.empty_like(evidence)
    log_partition = kernels.chain_messages(evidence, p01, p10, forward, backward)
    return ChainMessages(forward, backward, log_partition)


def learn_chain(evidence, p01, p10):
    """Return more likely ``p01`` and ``p10``, from the expected transitions.

    The start is stationary, which puts - R log(p01 + p10) into the expected log-likelihood. Its
    tangent bounds it from below; what remains is concave and separate, with the maximiser p of
    a log p + b log(1 - p) - c p in closed form.
    """
    forward, backward, _ = chain_messages(evidence, p01, p10)
    counts = np.zeros((2, 2))
    kernels.count_transitions(evidence, p01, p10, forward, backward, counts)
    started_on = float(expit(forward[:, 0] + evidence[:, 0] + backward[:, 0]).sum())
    n_chains = len(evidence)
    old = np.array([p01, p10])
    gained = np.array([counts[0, 1] + started_on, counts[1, 0] + n_chains - started_on])
    kept = np.array([counts[0, 0], counts[1, 1]])
    new = old
    for _ in range(MAX_ROUNDS):
        before, c = new, n_chains / new.sum()
        b = gained + kept + c
        new = keep_inside(2 * gained / (b + np.sqrt(np.maximum(b**2 - 4 * c * gained, 0.0))), old)
        if np.max(np.abs(new - before) / before) <= SETTLED:
            break
    return float(new[0]), float(new[1])


def grid_neighbours(shape):
    """Return the previous and the next cell on each axis, or -1, as an array (n, 2 D)."""
    cells = np.arange(np.prod(shape)).reshape(shape)
    neighbours = np.full((*shape, 2 * len(shape)), -1)
    for axis in range(len(shape)):
        first = [slice(None)] * len(shape)
        last = list(first)
        first[axis], last[axis] = slice(1, None), slice(None, -1)
        neighbours[(*first, 2 * axis)] = cells[tuple(last)]
        neighbours[(*last, 2 * axis + 1)] = cells[tuple(first)]
    return neighbours.reshape(cells.size, -1)


class Grid(NamedTuple):
    """A lattice field exp(sum_i field s_i + coupling sum_edges s_i s_j), and how it is treated."""

    neighbours: np.ndarray
    field: float
    coupling: float
    damping: float
    max_sweeps: int
    tol: float

    def messages(self, evidence):
        """Return the messages (R, n, 2 D) for evidence (R, n)."""
        messages = np.zeros((*evidence.shape, self.neighbours.shape[1]))
        kernels.grid_messages(
            evidence,
            self.neighbours,
            self.field,
            self.coupling,
            self.damping,
            self.max_sweeps,
            self.tol,
            messages,
        )
        return messages

    def log_odds(self, evidence):
        """Return the log-odds of each variable from all but its own evidence."""
        return self.field + self.messages(evidence).sum(axis=2)

    def log_partition(self, evidence):
        """Return Bethe's approximation of the log of the expected exp(evidence . s)."""
        nothing = np.zeros((1, evidence.shape[1]))
        return self._summary(evidence)[0] - len(evidence) * self._summary(nothing)[0]

    def _summary(self, evidence):
        """Return Bethe's log partition function, and a table of weights (state, neighbours)."""
        state = evidence, self.neighbours, self.field, self.coupling, self.messages(evidence)
        table = np.zeros((2, self.neighbours.shape[1] + 1))
        kernels.count_neighbours(*state, table)
        return kernels.grid_partition(*state), table

    def learn(self, evidence):
        """Return a grid of a higher evidence, if a step of Newton's kind leads to one.

        The derivatives of Bethe's evidence are differences of posterior and prior moments: of the
        number of active variables, and of pairs of active neighbours. Its curvature is replaced by
        that of the pseudo-likelihood, a logistic regression on the number of active neighbours,
        and the step is halved until the evidence does not fall. The pseudo-likelihood by itself
        would couple a few clusters so strongly that the prior has everything active.
        """
        value, table = self._summary(evidence)
        prior_value, prior_table = self._summary(np.zeros((1, evidence.shape[1])))
        value -= len(evidence) * prior_value
        numbers = np.arange(table.shape[1])
        excess = table[1] - len(evidence) * prior_table[1]
        gradient = np.array([excess.sum(), excess @ numbers / 2])
        odds = self.field + self.coupling * numbers
        weights = table.sum(axis=0) * expit(odds) * expit(-odds)
        features = np.stack([np.ones(len(numbers)), numbers])
        information = (features * weights) @ features.T + RIDGE * np.eye(2)
        if self.coupling == 0 and gradient[1] <= 0:
            direction = np.array([gradient[0] / information[0, 0], 0.0])
        else:
            direction = np.linalg.solve(information, gradient)
        direction *= min(1.0, LONGEST_STEP / max(np.max(np.abs(direction)), 1e-300))
        for _ in range(MAX_TRIALS):
            trial = self._moved(direction)
            if trial.log_partition(evidence) >= value:
                return trial
            direction = direction / 2
        return self

    def _moved(self, direction):
        widest = max(float(logit(1 - FLOOR)), abs(self.field))
        strongest = max(STRONGEST_COUPLING, self.coupling)
        return self._replace(
            field=float(np.clip(self.field + direction[0], -widest, widest)),
            coupling=float(np.clip(self.coupling + direction[1], 0.0, strongest)),
        )
