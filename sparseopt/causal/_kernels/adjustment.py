"""Graph searches that tell where the causes named by one graph are a valid adjustment in another.

A graph is given by its edge lists: the neighbours of node v are
``lists[starts[v] : starts[v + 1]]``, once for the effects and once for the causes.
"""

import numpy as np
from numba import njit

CAUSAL, INWARD, OUTWARD = 0, 1, 2  # how a walk came to a node; the last two are not causal


@njit(cache=True, nogil=True)
def count_wrong_adjustments(effect_starts, effects, cause_starts, causes, estimate):
    """Return the number of pairs (i, j) for which adjusting for ``estimate[:, i]`` is wrong.

    Three searches for each i settle all j; O(d (d + m)) for d nodes and m edges.
    """
    n_nodes = len(estimate)
    below = np.empty(n_nodes, dtype=np.bool_)
    wrong = np.empty(n_nodes, dtype=np.bool_)
    given = np.empty(n_nodes, dtype=np.bool_)
    seen = np.empty((3, n_nodes), dtype=np.bool_)
    stack = np.empty((3 * n_nodes, 2), dtype=np.int64)
    count = 0
    for i in range(n_nodes):
        given[:] = estimate[:, i]
        below[:] = False
        below[i] = True
        _extend(below, effect_starts, effects, stack)
        below[i] = False
        # Adjusting for a mediator is wrong for its effects. Adjusting for an effect of a
        # mediator is wrong for the mediator's: the walk below goes down to it and up again.
        wrong[:] = below & given
        _extend(wrong, effect_starts, effects, stack)
        _walk(i, given, effect_starts, effects, cause_starts, causes, seen, stack)
        for j in range(n_nodes):
            if given[j]:
                count += below[j]
            elif j != i:
                count += wrong[j] or seen[INWARD, j] or seen[OUTWARD, j]
    return count


@njit(cache=True, nogil=True)
def _extend(marked, starts, lists, stack):
    """Mark every node that the lists lead to from the marked ones; O(d + m)."""
    size = 0
    for v in range(len(marked)):
        if marked[v]:
            stack[size, 0] = v
            size += 1
    while size > 0:
        size -= 1
        v = stack[size, 0]
        for w in lists[starts[v] : starts[v + 1]]:
            if not marked[w]:
                marked[w] = True
                stack[size, 0] = w
                size += 1


@njit(cache=True, nogil=True)
def _walk(start, given, effect_starts, effects, cause_starts, causes, seen, stack):
    """Mark how the walks from ``start`` that ``given`` leaves open come to each node; O(d + m).

    A walk goes on through a given node only where both arrows point to it, and through any
    other node only where they do not.
    """
    seen[:] = False
    seen[:, start] = True  # no walk comes back
    size = _follow(CAUSAL, effects[effect_starts[start] : effect_starts[start + 1]], seen, stack, 0)
    size = _follow(
        OUTWARD, causes[cause_starts[start] : cause_starts[start + 1]], seen, stack, size
    )
    while size > 0:
        size -= 1
        v, how = stack[size, 0], stack[size, 1]
        if not given[v]:
            onward = CAUSAL if how == CAUSAL else INWARD
            size = _follow(
                onward, effects[effect_starts[v] : effect_starts[v + 1]], seen, stack, size
            )
        if given[v] != (how == OUTWARD):
            size = _follow(
                OUTWARD, causes[cause_starts[v] : cause_starts[v + 1]], seen, stack, size
            )


@njit(cache=True, nogil=True)
def _follow(how, nodes, seen, stack, size):
    """Put those of ``nodes`` on the stack that no walk has come to in this way."""
    for w in nodes:
        if not seen[how, w]:
            seen[how, w] = True
            stack[size, 0] = w
            stack[size, 1] = how
            size += 1
    return size
