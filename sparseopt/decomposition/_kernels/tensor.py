"""Products of coordinates of many points at once: what contracts a symmetric tensor.

Points are the columns of a (d, R) array, so that the innermost loop runs over R adjacent
numbers and is vectorised.
"""

from numba import njit


@njit(cache=True, nogil=True)
def monomials(points, rows, products):
    """Write the products of the coordinates ``rows[n]`` of every point to ``products[n]``.

    ``rows`` is (N, m), ``products`` (N, R): m - 1 flops and m + 1 memory operations an entry,
    with ``points`` in the cache.
    """
    degree = rows.shape[1]
    for n in range(rows.shape[0]):
        product, first = products[n], points[rows[n, 0]]
        for r in range(points.shape[1]):
            product[r] = first[r]
        for m in range(1, degree):
            factor = points[rows[n, m]]
            for r in range(points.shape[1]):
                product[r] *= factor[r]


@njit(cache=True, nogil=True)
def coordinate_gradient(points, coordinates, values, tails, gradient):
    """Add the gradient of ``sum_c values[c] prod_m points[coordinates[c, m]]`` to ``gradient``.

    ``coordinates`` is (nnz, k), ``gradient`` (d, R), ``tails`` a (k + 1, R) workspace: some
    3 k flops an entry and point.
    """
    n_points, order = points.shape[1], coordinates.shape[1]
    for c in range(coordinates.shape[0]):
        # tails[m] is the product of all factors from m on, heads that of those before.
        last = tails[order]
        for r in range(n_points):
            last[r] = values[c]
        for m in range(order - 1, 0, -1):
            factor, tail, longer = points[coordinates[c, m]], tails[m + 1], tails[m]
            for r in range(n_points):
                longer[r] = tail[r] * factor[r]
        head = tails[0]
        for r in range(n_points):
            head[r] = 1
        for m in range(order):
            i = coordinates[c, m]
            factor, tail, sums = points[i], tails[m + 1], gradient[i]
            for r in range(n_points):
                sums[r] += head[r] * tail[r]
                head[r] *= factor[r]
