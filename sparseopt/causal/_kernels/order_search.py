"""Search over causal orders, in Numba: grow-shrink of parents and best insertions.

A node chooses its parents among its predecessors by growing (the candidate that explains most
of the remaining variance enters, while the score falls) and shrinking (the parent that is missed
least leaves, while the score falls). The growth is an incremental Cholesky factorization that
carries the residual covariances of all candidates: k^2/2 operations a candidate for k parents.

The path of a growth is kept with each node. Whether another candidate would have changed it
takes k^2/2 operations, and one that would not leaves the node's score as it is: most scores
that a search over orders asks for are found that way.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

# A candidate with less than this part of its variance left depends on those chosen, and a node
# is never explained further than that.
DEPENDENCE = 1e-10
NOBODY = np.int64(-1)  # of this type, or Numba compiles for the literal number once more


class Model(NamedTuple):
    """What a score is made of: d nodes, entries [i, j] speak of the edge from i to j."""

    covariance: np.ndarray  # (d, d)
    half_samples: float
    penalty: float  # of an edge
    common_variance: float  # the noise variance that all share, 0 if each has its own
    allowed: np.ndarray  # (d, d) bool, the edges that are not forbidden
    required: np.ndarray  # (d, d) bool


class Paths(NamedTuple):
    """The growths and their results, a row a node, and the two spare rows OWN and TRIAL."""

    length: np.ndarray  # nodes on the path, -1 if they are too many to keep
    fixed: np.ndarray  # how many of them came first because they are required
    nodes: np.ndarray  # (rows, capacity) in the order of growth
    reductions: np.ndarray  # (rows, capacity) of the variance, by each
    factor: np.ndarray  # (rows, capacity, capacity) Cholesky factor of the covariance of nodes
    target: np.ndarray  # (rows, capacity) the node's own row of that factor
    grown: np.ndarray  # variance that is left after growing
    variance: np.ndarray  # variance that is left after shrinking
    edges: np.ndarray  # number of parents
    grew: np.ndarray  # (rows, d) bool, whether a node is on the path or required
    parents: np.ndarray  # (rows, d) bool


class Workspace(NamedTuple):
    """Memory that the kernels share."""

    candidates: np.ndarray  # (d,)
    rows: np.ndarray  # (d, d) rows of the Cholesky factor, for all candidates
    variances: np.ndarray  # (d,) residual
    covariances: np.ndarray  # (d,) residual, with the target
    chosen: np.ndarray  # (d,) places among the candidates
    least: np.ndarray  # (d,) residual variances from which on they depend on those chosen
    lower: np.ndarray  # (d, d) inverse of the Cholesky factor
    inverse: np.ndarray  # (d, d) of the covariance matrix of the chosen
    weights: np.ndarray  # (d,)
    row: np.ndarray  # (d,)
    others: np.ndarray  # (d - 1,) the order without the node that moves
    without: np.ndarray  # (2, d) fit and edges of the others without it before them
    within: np.ndarray  # (2, d) the same with it
    own: np.ndarray  # (2, d) its own fit and edges, by position
    scores: np.ndarray  # (d,) of the whole order, by position


class Memo(NamedTuple):
    """Scores that were asked for before, and the versions of what they were found for."""

    node: np.ndarray  # (d,) version of the set before each node
    cut: np.ndarray  # (d + 1,) version of the set of the first k nodes
    clock: np.ndarray  # (1,) the latest version of a cut
    toggled: np.ndarray  # (2, d, d) fit and edges of a node with another moved across it
    toggled_version: np.ndarray  # (d, d)
    own: np.ndarray  # (2, d, d) fit and edges of a node, by position
    own_version: np.ndarray  # (d, d)


@njit(cache=True, nogil=True)
def node_cost(model, variance):
    """Return the part of the score of a node that falls with its variance."""
    if model.common_variance > 0:
        return model.half_samples * variance / model.common_variance
    return model.half_samples * np.log(variance)


@njit(cache=True, nogil=True)
def total_score(model, fit, edges, n_nodes):
    """Return the score of an order from the sums over its nodes."""
    if model.common_variance > 0:
        fit = model.half_samples * n_nodes * np.log(fit / n_nodes)
    return fit + model.penalty * edges


@njit(cache=True, nogil=True)
def node_fit(model, variance):
    """Return what a node adds to the sum that ``total_score`` takes."""
    if model.common_variance > 0:
        return variance
    return model.half_samples * np.log(variance)


@njit(cache=True, nogil=True)
def is_worth_it(model, variance, reduced, floor):
    """Whether a parent that reduces the variance so far lowers the score."""
    gain = node_cost(model, max(variance, floor)) - node_cost(model, max(reduced, floor))
    return gain > model.penalty


@njit(cache=True, nogil=True)
def gather_candidates(model, target, order, stop, skip, extra, work):
    """List the candidates before ``stop``, required ones first; return how many (both)."""
    size = 0
    for required in (True, False):
        for k in range(stop + 1):
            node = order[k] if k < stop else extra
            if node < 0 or node == skip or node == target:
                continue
            if model.allowed[node, target] and model.required[node, target] == required:
                work.candidates[size] = node
                size += 1
        if required:
            n_required = size
    return size, n_required


@njit(cache=True, nogil=True)
def admit(model, place, size, step, pivot_root, share, work):
    """Take a candidate onto the path and update what is left of the others; 2 k size flops."""
    C, rows, candidates = model.covariance, work.rows, work.candidates
    row = rows[step]
    chosen = candidates[place]
    for c in range(size):
        row[c] = C[chosen, candidates[c]]
    for i in range(step):
        factor, earlier = rows[i, place], rows[i]
        for c in range(size):
            row[c] -= factor * earlier[c]
    scale = 1 / pivot_root
    for c in range(size):
        row[c] *= scale
        work.variances[c] -= row[c] * row[c]
        work.covariances[c] -= share * row[c]
    row[place] = pivot_root
    work.variances[place] = 0.0


@njit(cache=True, nogil=True)
def most_reducing(size, work):
    """Return the place of the candidate that explains most, and how much it explains."""
    best, largest = -1, 0.0
    for c in range(size):
        variance, covariance = work.variances[c], work.covariances[c]
        if covariance * covariance > largest * variance and variance > work.least[c]:
            best, largest = c, covariance * covariance / variance
    return best, largest


@njit(cache=True, nogil=True)
def grow(model, paths, row, target, size, n_required, work):
    """Grow the parents of a node; return the length of the path and the variance left."""
    C, candidates = model.covariance, work.candidates
    for c in range(size):
        work.variances[c] = C[candidates[c], candidates[c]]
        work.covariances[c] = C[candidates[c], target]
        work.least[c] = DEPENDENCE * work.variances[c]
    variance = C[target, target]
    floor = DEPENDENCE * variance
    capacity = paths.nodes.shape[1]
    length, fixed, waiting = 0, 0, 0
    while True:
        if waiting < n_required:
            place, waiting = waiting, waiting + 1
            if not work.variances[place] > work.least[place]:
                continue  # it depends on those before: a parent that explains nothing more
            reduction = work.covariances[place] ** 2 / work.variances[place]
            fixed += 1
        else:
            place, reduction = most_reducing(size, work)
            if place < 0 or not is_worth_it(model, variance, variance - reduction, floor):
                break
        pivot_root = np.sqrt(work.variances[place])
        share = work.covariances[place] / pivot_root
        admit(model, place, size, length, pivot_root, share, work)
        work.chosen[length] = place
        work.weights[length] = share
        if length < capacity:
            paths.nodes[row, length] = candidates[place]
            paths.reductions[row, length] = reduction
            paths.target[row, length] = share
            for i in range(length + 1):
                paths.factor[row, length, i] = work.rows[i, place]
        variance -= reduction
        length += 1
    paths.fixed[row] = fixed
    paths.grown[row] = variance
    paths.length[row] = length if length <= capacity else -1
    return length, variance


@njit(cache=True, nogil=True)
def invert_factor(length, work):
    """Write the inverse of the chosen's covariance matrix, and the regression weights; k^3 flops.

    ``work.weights`` holds the target's row of the factor before.
    """
    rows, lower, inverse, weights = work.rows, work.lower, work.inverse, work.weights
    for i in range(length):
        place = work.chosen[i]
        row, scale = lower[i], 1 / rows[i, place]
        for j in range(i):
            row[j] = 0.0
        for k in range(i):
            factor, earlier = rows[k, place] * scale, lower[k]
            for j in range(k + 1):
                row[j] -= factor * earlier[j]
        row[i] = scale
    for k in range(length):
        share = weights[k]
        weights[k] = 0.0
        for j in range(k + 1):
            weights[j] += share * lower[k, j]
    for i in range(length):
        for j in range(i + 1):
            inverse[i, j] = 0.0
    for k in range(length):
        row = lower[k]
        for i in range(k + 1):
            factor, sums = row[i], inverse[i]
            for j in range(i + 1):
                sums[j] += factor * row[j]
    for i in range(length):
        for j in range(i):
            inverse[j, i] = inverse[i, j]


@njit(cache=True, nogil=True)
def shrink(model, paths, row, target, length, variance, work):
    """Remove the parents that are not worth their penalty, the least missed one first.

    Without parent j the variance is larger by ``weight_j^2 / inverse_jj``.
    """
    C, inverse, weights, chosen = model.covariance, work.inverse, work.weights, work.chosen
    floor = DEPENDENCE * C[target, target]
    fixed = paths.fixed[row]
    edges = length
    while edges > fixed:
        least, smallest = -1, np.inf
        for j in range(fixed, length):
            if chosen[j] >= 0:
                loss = weights[j] * weights[j] / inverse[j, j]
                if loss < smallest:
                    least, smallest = j, loss
        if is_worth_it(model, variance + smallest, variance, floor):
            break
        variance += smallest
        edges -= 1
        chosen[least] = -1
        scale = 1 / inverse[least, least]
        shift = weights[least] * scale
        for i in range(length):
            if i == least or chosen[i] < 0:
                continue
            factor = inverse[i, least] * scale
            weights[i] -= inverse[i, least] * shift
            for j in range(length):
                inverse[i, j] -= factor * inverse[least, j]
    return edges, max(variance, floor)


@njit(cache=True, nogil=True)
def choose_parents(model, paths, row, target, order, stop, skip, extra, work):
    """Let a node choose among ``order[:stop]``, less ``skip`` and with ``extra``."""
    size, n_required = gather_candidates(model, target, order, stop, skip, extra, work)
    length, variance = grow(model, paths, row, target, size, n_required, work)
    for c in range(paths.grew.shape[1]):
        paths.grew[row, c] = False
        paths.parents[row, c] = False
    for k in range(length):
        paths.grew[row, work.candidates[work.chosen[k]]] = True
    if length > paths.fixed[row]:
        invert_factor(length, work)
    edges, variance = shrink(model, paths, row, target, length, variance, work)
    for k in range(length):
        if work.chosen[k] >= 0:
            paths.parents[row, work.candidates[work.chosen[k]]] = True
    for c in range(n_required):
        paths.grew[row, work.candidates[c]] = True
        paths.parents[row, work.candidates[c]] = True
    paths.edges[row] = edges + n_required - paths.fixed[row]
    paths.variance[row] = variance


@njit(cache=True, nogil=True)
def would_enter(model, paths, row, target, candidate, work):
    """Whether a candidate that comes to those of a growth would change it; k^2 flops."""
    if not model.allowed[candidate, target]:
        return False
    length = paths.length[row]
    if length < 0:
        return True
    C = model.covariance
    variance, covariance = C[candidate, candidate], C[candidate, target]
    dependent = DEPENDENCE * variance
    for k in range(length + 1):
        if k >= paths.fixed[row]:
            if variance <= dependent:
                return False
            explained = covariance * covariance
            if k == length:
                left = paths.grown[row]
                floor = DEPENDENCE * C[target, target]
                return is_worth_it(model, left, left - explained / variance, floor)
            if explained > paths.reductions[row, k] * variance:
                return True
        value = C[candidate, paths.nodes[row, k]]
        for i in range(k):
            value -= paths.factor[row, k, i] * work.row[i]
        value /= paths.factor[row, k, k]
        work.row[k] = value
        variance -= value * value
        covariance -= value * paths.target[row, k]
    return False


@njit(cache=True, nogil=True)
def add_scores(model, paths, order):
    """Return the score of the parents that the nodes chose."""
    fit, edges = 0.0, 0.0
    for node in order:
        fit += node_fit(model, paths.variance[node])
        edges += paths.edges[node]
    return total_score(model, fit, edges, order.size)


@njit(cache=True, nogil=True)
def choose_all(model, paths, order, work):
    """Let every node choose its parents among its predecessors; return the score."""
    for k in range(order.size):
        choose_parents(model, paths, order[k], order[k], order, k, NOBODY, NOBODY, work)
    return add_scores(model, paths, order)


@njit(cache=True, nogil=True)
def score_toggled(model, paths, memo, order, other, k, node, before, work):
    """Remember the score of the k-th other with a node moved across it."""
    row = other
    if before and would_enter(model, paths, other, other, node, work):
        row = order.size + 1
        choose_parents(model, paths, row, other, order, k, NOBODY, node, work)
    elif not before and paths.grew[other, node]:
        row = order.size + 1
        choose_parents(model, paths, row, other, order, k + 1, node, NOBODY, work)
    memo.toggled[0, other, node] = node_fit(model, paths.variance[row])
    memo.toggled[1, other, node] = paths.edges[row]
    memo.toggled_version[other, node] = memo.node[other]


@njit(cache=True, nogil=True)
def score_others(model, paths, memo, order, node, position, first, last, work):
    """Fill ``work.without`` and ``work.within``: the others' scores without and with a node.

    Only the positions ``first`` to ``last`` are open to the node, and only the others
    between them are looked at.
    """
    for k in range(order.size - 1):
        other = work.others[k]
        fit, edges = node_fit(model, paths.variance[other]), paths.edges[other]
        work.without[0, k] = work.within[0, k] = fit
        work.without[1, k] = work.within[1, k] = edges
        if k < first or k >= last:
            continue
        if memo.toggled_version[other, node] != memo.node[other]:
            score_toggled(model, paths, memo, order, other, k, node, k < position, work)
        changed = work.within if k < position else work.without
        changed[0, k] = memo.toggled[0, other, node]
        changed[1, k] = memo.toggled[1, other, node]


@njit(cache=True, nogil=True)
def score_own(model, paths, memo, node, position, first, last, work):
    """Fill ``work.own``: the fit and the edges of a node in each position open to it."""
    row = work.others.size + 1
    grown = False  # whether the row holds the growth for the position before
    for k in range(first, last + 1):
        version = memo.cut[k] if k <= position else memo.cut[k + 1]
        if memo.own_version[node, k] != version:
            if not grown or would_enter(model, paths, row, node, work.others[k - 1], work):
                choose_parents(model, paths, row, node, work.others, k, NOBODY, NOBODY, work)
            grown = True
            memo.own[0, node, k] = node_fit(model, paths.variance[row])
            memo.own[1, node, k] = paths.edges[row]
            memo.own_version[node, k] = version
        else:
            grown = False
        work.own[0, k] = memo.own[0, node, k]
        work.own[1, k] = memo.own[1, node, k]


@njit(cache=True, nogil=True)
def open_positions(model, order, node, work):
    """Fill ``work.others``; return the node's position and the range its required edges leave."""
    position, first, last, k = 0, 0, order.size - 1, 0
    for place in range(order.size):
        other = order[place]
        if other == node:
            position = place
            continue
        work.others[k] = other
        if model.required[other, node]:
            first = k + 1
        if model.required[node, other] and last == order.size - 1:
            last = k
        k += 1
    return position, first, last


@njit(cache=True, nogil=True)
def best_position(model, position, first, last, n_nodes, tie, leftmost, work):
    """Return the position with the lowest score, and by how much it is lower than now.

    Before the node the others are those without it, after it those with it. They are added up
    from both ends, since differences would cancel. Of the positions within ``tie`` of the
    lowest score, the leftmost or the rightmost is taken.
    """
    own, scores = work.own, work.scores
    fit, edges = 0.0, 0.0
    for k in range(last + 1):
        if k >= first:
            own[0, k] += fit
            own[1, k] += edges
        fit += work.without[0, k]
        edges += work.without[1, k]
    fit, edges, lowest = 0.0, 0.0, np.inf
    for k in range(n_nodes - 1, first - 1, -1):
        if k < n_nodes - 1:
            fit += work.within[0, k]
            edges += work.within[1, k]
        if k <= last:
            scores[k] = total_score(model, own[0, k] + fit, own[1, k] + edges, n_nodes)
            lowest = min(lowest, scores[k])
    best = -1
    for k in range(first, last + 1):
        if scores[k] <= lowest + tie and (best < 0 or not leftmost):
            best = k
    return best, scores[position] - lowest


@njit(cache=True, nogil=True)
def move(model, paths, memo, order, node, position, target, work):
    """Move a node to another position; whoever it passes chooses again where it matters."""
    if target < position:
        for k in range(position, target, -1):
            order[k] = order[k - 1]
        order[target] = node
        for k in range(target + 1, position + 1):
            other = order[k]
            if would_enter(model, paths, other, other, node, work):
                choose_parents(model, paths, other, other, order, k, NOBODY, NOBODY, work)
    else:
        for k in range(position, target):
            order[k] = order[k + 1]
        order[target] = node
        for k in range(position, target):
            other = order[k]
            if paths.grew[other, node]:
                choose_parents(model, paths, other, other, order, k, NOBODY, NOBODY, work)
    choose_parents(model, paths, node, node, order, target, NOBODY, NOBODY, work)
    memo.clock[0] += 1
    begin, end = min(position, target), max(position, target)
    for k in range(begin, end + 1):
        memo.node[order[k]] += 1
        if k > begin:
            memo.cut[k] = memo.clock[0]


@njit(cache=True, nogil=True)
def sweep(model, paths, memo, order, visits, tol, tie, leftmost, wander, work):
    """Put each node of ``visits`` where the score is lowest; return the largest improvement.

    Among equal positions the leftmost or the rightmost is taken; a node moves for an
    improvement of more than ``tol`` only, or if it may ``wander``, for none as well.
    """
    largest = 0.0
    n_nodes = order.size
    for node in visits:
        position, first, last = open_positions(model, order, node, work)
        score_others(model, paths, memo, order, node, position, first, last, work)
        score_own(model, paths, memo, node, position, first, last, work)
        best, improvement = best_position(
            model, position, first, last, n_nodes, tie, leftmost, work
        )
        if best != position and (wander or improvement > tol):
            move(model, paths, memo, order, node, position, best, work)
        largest = max(largest, improvement)
    return largest
