"""One variance at a time: exact minimisation of nll over each, with rank-one updates.

A model with active features a_1..a_k keeps the covariance ``sigma`` (k, k) and ``mean`` (k, L) of
their weights and, for all p features, with C the covariance of the data,

    S_m = x_m^H C^-1 x_m (p,),   Q_m = x_m^H C^-1 Y (p, L),

from which follows how nll depends on each single variance. ``rows[r, m] = x_m^H x_j`` are the rows
of the Gram matrix that have been asked for, row r being that of the feature j with
``row_of[j] == r``. A change of one variance costs some 4 k p + 2 k^2 flops and reads k rows.
"""

import numpy as np
from numba import njit

SUMS_IN_ANY_ORDER = {"reassoc", "contract"}
ROUNDING = 1e-14  # relative; smaller gains are errors
SETTLED, NEEDS_ROW, NEEDS_REFRESH = 0, 1, 2


@njit(cache=True, nogil=True)
def best_variance(s, power):
    """Return the variance that minimises nll, 0 where the feature should be left out."""
    if not power > s:
        return 0.0
    return (power - s) / s**2


@njit(cache=True, nogil=True)
def evidence_of(s, power, g):
    """Return by how much the variance ``g`` lowers nll, compared to leaving the feature out."""
    return g * power / (1.0 + g * s) - np.log1p(g * s)


@njit(cache=True, nogil=True)
def survey(S, Q, g, sigma, mean, active, size, where, tols):
    """Return the feature to change, its new variance, its gain, and two measures of them all.

    The measures, whose limits are ``tols``, are the largest derivative of nll (with respect to
    log g, or relative to S where g = 0) and the largest relative distance of a positive variance
    from its best value. Where all gains are lost in rounding errors, the feature furthest from
    meeting the limits is returned.
    """
    p, L = Q.shape
    chosen, value, largest, slope, distance = -1, 0.0, 0.0, 0.0, 0.0
    last, last_value, worst = -1, 0.0, 1.0
    for j in range(p):
        if where[j] >= 0 or not S[j] > 0.0:
            continue
        power = 0.0
        for t in range(L):
            power += Q[j, t].real ** 2 + Q[j, t].imag ** 2
        power /= L
        if power > (1.0 + slope) * S[j]:  # the gain grows with this quotient
            slope, chosen, value = power / S[j] - 1.0, j, best_variance(S[j], power)
    if chosen >= 0:
        largest = slope - np.log1p(slope)
        if not largest > ROUNDING * max(1.0, slope):
            last, last_value, worst = chosen, value, slope / tols[0]
            chosen, largest = -1, 0.0
    for i in range(size):
        j = active[i]
        if not S[j] > 0.0:
            continue
        power, share = 0.0, sigma[i, i].real / g[j]
        for t in range(L):
            power += mean[i, t].real ** 2 + mean[i, t].imag ** 2
        power /= L * g[j] ** 2
        this_slope = abs(g[j] * (S[j] - power))
        s, power = S[j] / share, power / share**2
        best = best_variance(s, power)
        gain, scale = -evidence_of(s, power, g[j]), 1.0
        if best > 0.0:
            excess = (power - s) / s
            gain += excess - np.log1p(excess)
            scale = max(scale, excess)
        this_distance = abs(1.0 - best / g[j])
        slope, distance = max(slope, this_slope), max(distance, this_distance)
        if gain > largest and gain > ROUNDING * scale:
            chosen, value, largest = j, best, gain
        wrong = max(this_slope / tols[0], this_distance / tols[1])
        if wrong > worst:
            last, last_value, worst = j, best, wrong
    if chosen < 0:
        return last, last_value, 0.0, slope, distance
    return chosen, value, largest, slope, distance


@njit(cache=True, nogil=True, fastmath=SUMS_IN_ANY_ORDER)
def _images(rows, row_of, active, size, weights, scale, image):
    """Write ``scale sum_i weights_i x_m^H x_(a_i)`` to ``image[m]``; 2 k p flops."""
    image[:] = 0.0
    for i in range(size):
        row, weight = rows[row_of[active[i]]], scale * weights[i]
        for m in range(len(image)):
            image[m] += row[m] * weight


@njit(cache=True, nogil=True, fastmath=SUMS_IN_ANY_ORDER)
def _shift(S, Q, image, by, step):
    """Add ``by |image|^2`` to S and ``image step`` to Q."""
    for m in range(len(S)):
        S[m] += by * (image[m].real ** 2 + image[m].imag ** 2)
        for t in range(Q.shape[1]):
            Q[m, t] += image[m] * step[t]


@njit(cache=True, nogil=True)
def add_feature(j, value, s2, model, rows, row_of, work):
    """Let feature j enter with the variance ``value``."""
    S, Q, g, sigma, mean, active, size, where = model
    image, shift, step = work
    row = rows[row_of[j]]
    for i in range(size):
        shift[i] = 0.0
        for k in range(size):
            shift[i] += sigma[i, k] * row[active[k]] / s2
    _images(rows, row_of, active, size, shift, -1.0 / s2, image)
    for m in range(len(image)):
        image[m] += row[m] / s2
    variance = 1.0 / (1.0 / value + S[j])
    for t in range(Q.shape[1]):
        step[t] = -variance * Q[j, t]
    for i in range(size):
        for k in range(size):
            sigma[i, k] += variance * shift[i] * np.conj(shift[k])
        sigma[i, size] = -variance * shift[i]
        sigma[size, i] = np.conj(sigma[i, size])
        for t in range(Q.shape[1]):
            mean[i, t] += step[t] * shift[i]
    sigma[size, size] = variance
    for t in range(Q.shape[1]):
        mean[size, t] = -step[t]
    _shift(S, Q, image, -variance, step)
    active[size], where[j], g[j] = j, size, value
    return size + 1


@njit(cache=True, nogil=True)
def change_feature(j, value, s2, model, rows, row_of, work):
    """Change the variance of an active feature; 0 removes it."""
    S, Q, g, sigma, mean, active, size, where = model
    image, shift, step = work
    place = where[j]
    variance = sigma[place, place].real
    if value == 0.0:
        by = 1.0 / variance
    else:
        difference = 1.0 / value - 1.0 / g[j]
        by = difference / (1.0 + difference * variance)
    for i in range(size):
        shift[i] = sigma[i, place]
    _images(rows, row_of, active, size, shift, 1.0 / s2, image)
    for t in range(Q.shape[1]):
        step[t] = by * mean[place, t]
    for i in range(size):
        for k in range(size):
            sigma[i, k] -= by * shift[i] * np.conj(shift[k])
        for t in range(Q.shape[1]):
            mean[i, t] -= step[t] * shift[i]
    _shift(S, Q, image, by, step)
    g[j] = value
    if value > 0.0:
        return size
    last = size - 1
    where[j] = -1
    if place != last:
        active[place] = active[last]
        where[active[place]] = place
        for i in range(size):
            sigma[place, i] = sigma[last, i]
        for i in range(size):
            sigma[i, place] = sigma[i, last]
        sigma[place, place] = sigma[last, last]
        for t in range(Q.shape[1]):
            mean[place, t] = mean[last, t]
    return last


@njit(cache=True, nogil=True)
def run_updates(
    S, Q, g, sigma, mean, active, size, where, rows, row_of, s2, work, tols, limit, gains
):
    """Change one variance at a time, each time the one that lowers nll most.

    Returns why it stopped, the number of active features, of changes (their gains are in
    ``gains``), the feature that a missing row belongs to, and the two measures of
    :func:`survey`, each of which is to be at most its ``tols``.
    """
    count = 0
    while True:
        model = (S, Q, g, sigma, mean, active, size, where)
        j, value, gain, slope, distance = survey(S, Q, g, sigma, mean, active, size, where, tols)
        if j < 0 or (slope <= tols[0] and distance <= tols[1]):
            return SETTLED, size, count, -1, slope, distance
        if where[j] < 0 and (row_of[j] < 0 or size == len(active)):
            return NEEDS_ROW, size, count, j, slope, distance
        if count == limit:
            return NEEDS_REFRESH, size, count, -1, slope, distance
        if where[j] < 0:
            size = add_feature(j, value, s2, model, rows, row_of, work)
        else:
            size = change_feature(j, value, s2, model, rows, row_of, work)
        gains[count] = gain
        count += 1
