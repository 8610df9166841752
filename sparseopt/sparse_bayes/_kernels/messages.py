"""Sum-product messages between the binary variables of chains and grids.

All messages are log-odds, log m(1) - log m(0), and every exponential has a nonpositive argument, so
that evidence of any size passes. Rows of ``evidence`` (R, n) belong to independent copies of one
model. A chain costs some 2 exp and 2 log a variable; a sweep over a grid of D axes 2 D exp and 2 D
log1p a variable, and reads and writes 2 D messages of 8 bytes.
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def softplus(x):
    """Return log(1 + exp(x))."""
    return max(x, 0.0) + np.log1p(np.exp(-abs(x)))


@njit(cache=True, nogil=True)
def sigmoid(x):
    """Return 1 / (1 + exp(-x))."""
    t = np.exp(-abs(x))
    return 1.0 / (1.0 + t) if x > 0.0 else t / (1.0 + t)


@njit(cache=True, nogil=True)
def _pass_on(odds, from_zero, from_one, else_zero, else_one):
    """Return the log of (from_zero + from_one e^odds) / (else_zero + else_one e^odds)."""
    t = np.exp(-abs(odds))
    if odds > 0.0:
        return np.log((from_zero * t + from_one) / (else_zero * t + else_one))
    return np.log((from_zero + from_one * t) / (else_zero + else_one * t))


@njit(cache=True, nogil=True)
def chain_messages(evidence, p01, p10, forward, backward):
    """Fill the messages that reach each variable from its left and its right, both (R, n).

    Returned is the log of the expected exp(evidence . s), for a stationary chain that is switched
    on with probability ``p01`` and off with ``p10``.
    """
    R, n = evidence.shape
    log_partition = 0.0
    for r in range(R):
        message = np.log(p01 / p10)
        for q in range(n):
            forward[r, q] = message
            odds = message + evidence[r, q]
            log_partition += softplus(odds) - softplus(message)
            message = _pass_on(odds, p01, 1.0 - p10, 1.0 - p01, p10)
        message = 0.0
        for q in range(n - 1, -1, -1):
            backward[r, q] = message
            message = _pass_on(message + evidence[r, q], p10, 1.0 - p10, 1.0 - p01, p01)
    return log_partition


@njit(cache=True, nogil=True)
def count_transitions(evidence, p01, p10, forward, backward, counts):
    """Add the expected numbers of transitions from state i to j to ``counts`` (2, 2)."""
    R, n = evidence.shape
    for r in range(R):
        for q in range(n - 1):
            left = forward[r, q] + evidence[r, q]
            right = evidence[r, q + 1] + backward[r, q + 1]
            left_on, left_off = np.exp(min(left, 0.0)), np.exp(min(-left, 0.0))
            right_on, right_off = np.exp(min(right, 0.0)), np.exp(min(-right, 0.0))
            stay_off = left_off * (1.0 - p01) * right_off
            switch_on = left_off * p01 * right_on
            switch_off = left_on * p10 * right_off
            stay_on = left_on * (1.0 - p10) * right_on
            total = stay_off + switch_on + switch_off + stay_on
            counts[0, 0] += stay_off / total
            counts[0, 1] += switch_on / total
            counts[1, 0] += switch_off / total
            counts[1, 1] += stay_on / total


@njit(cache=True, nogil=True)
def _cavity(evidence, field, messages, i, skip):
    """Return the log-odds of variable i without what it heard from direction ``skip``."""
    odds = field + evidence[i]
    for d in range(messages.shape[1]):
        if d != skip:
            odds += messages[i, d]
    return odds


@njit(cache=True, nogil=True)
def grid_messages(evidence, neighbours, field, coupling, damping, max_sweeps, tol, messages):
    """Iterate loopy belief propagation; return the largest change in the last sweep.

    ``neighbours`` (n, 2 D) has the previous and the next variable on each axis, or -1, and
    ``messages`` (R, n, 2 D) what comes from there; they are changed in place. The variables have
    the joint law exp(sum field s_i + coupling sum_edges s_i s_j), before the evidence. A sweep
    runs forwards and then backwards, which on a line without damping is exact at once.
    """
    R, n = evidence.shape
    gain = np.expm1(coupling)
    change = 0.0
    for r in range(R):
        for _ in range(max_sweeps):
            change_here = 0.0
            for direction in range(2):
                for step in range(n):
                    i = step if direction == 0 else n - 1 - step
                    for d in range(direction, neighbours.shape[1], 2):
                        j = neighbours[i, d]
                        if j < 0:
                            continue
                        odds = _cavity(evidence[r], field, messages[r], j, d ^ 1)
                        difference = np.log1p(gain * sigmoid(odds)) - messages[r, i, d]
                        messages[r, i, d] += (1.0 - damping) * difference
                        change_here = max(change_here, abs(difference))
            if change_here <= tol:
                break
        change = max(change, change_here)
    return change


@njit(cache=True, nogil=True)
def grid_partition(evidence, neighbours, field, coupling, messages):
    """Return Bethe's log partition function of a grid, summed over rows."""
    R, n = evidence.shape
    total = 0.0
    for r in range(R):
        for i in range(n):
            odds = _cavity(evidence[r], field, messages[r], i, -1)
            degree = 0
            for d in range(neighbours.shape[1]):
                j = neighbours[i, d]
                if j < 0:
                    continue
                degree += 1
                if d % 2 == 0:  # each edge once
                    a = _cavity(evidence[r], field, messages[r], i, d)
                    b = _cavity(evidence[r], field, messages[r], j, d ^ 1)
                    # log(1 + e^a + e^b + e^(a + b + coupling))
                    one = softplus(a)
                    both = b + softplus(a + coupling)
                    total += one + softplus(both - one)
            total += (1 - degree) * softplus(odds)
    return total


@njit(cache=True, nogil=True)
def count_neighbours(evidence, neighbours, field, coupling, messages, table):
    """Add to ``table`` (2, 2 D + 1) the probabilities of a state and of active neighbours.

    Given the state of a variable, Bethe's approximation has its neighbours independent.
    """
    R, n = evidence.shape
    size = table.shape[1]
    number = np.zeros(size)
    for r in range(R):
        for i in range(n):
            odds = _cavity(evidence[r], field, messages[r], i, -1)
            for state in range(2):
                number[:] = 0.0
                number[0] = sigmoid(odds) if state == 1 else sigmoid(-odds)
                for d in range(neighbours.shape[1]):
                    j = neighbours[i, d]
                    if j < 0:
                        continue
                    other = _cavity(evidence[r], field, messages[r], j, d ^ 1)
                    proba = sigmoid(other + state * coupling)
                    for m in range(size - 1, 0, -1):
                        number[m] += proba * (number[m - 1] - number[m])
                    number[0] *= 1.0 - proba
                for m in range(size):
                    table[state, m] += number[m]
