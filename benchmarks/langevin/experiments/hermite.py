"""The tensor whose form is the correlation of labels with a Hermite polynomial."""

import math

import numpy as np

from sparseopt.decomposition._symmetric_tensor import symmetrise

CHUNK = 4_000_000  # numbers formed at once


def hermite_tensor(X, y, degree):
    """Return the symmetric S with <S, theta^k> = mean(y h_k(X theta)) for unit vectors.

    It is the mean of y times Hermite's tensor of x, over sqrt(k!). That is the sum over j of
    (-1)^j k! / (2^j j! (k - 2j)!) x^(k - 2j) I^j, with tensor products as powers. With it, methods
    for tensors apply to single-index models.
    """
    d = X.shape[1]
    total = np.zeros((d,) * degree)
    for j in range(degree // 2 + 1):
        rest = degree - 2 * j
        count = math.factorial(degree) / (2**j * math.factorial(j) * math.factorial(rest))
        term = moment(X, y, rest)
        for _ in range(j):
            term = np.multiply.outer(term, np.eye(d))
        total += (-1) ** j * count * term
    return symmetrise(total / math.sqrt(math.factorial(degree)))


def moment(X, y, order):
    """Return the mean of y times the powers of x."""
    n, d = X.shape
    if order == 0:
        return np.array(np.mean(y))
    half = order // 2
    total = np.zeros((d**half, d ** (order - half)))
    size = max(1, CHUNK // d ** (order - half))
    for start in range(0, n, size):
        rows, labels = X[start : start + size], y[start : start + size]
        first = power(rows, half) * labels[:, None]
        total += first.T @ power(rows, order - half)
    return total.reshape((d,) * order) / n


def power(rows, order):
    """Return the powers of rows, flat: (n, d^order)."""
    product = np.ones((len(rows), 1))
    for _ in range(order):
        product = (product[:, :, None] * rows[:, None, :]).reshape(len(rows), -1)
    return product
