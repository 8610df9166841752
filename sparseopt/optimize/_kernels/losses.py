"""Losses inside kernels: a code and a parameter, never an object.

The functions of one sample come without its weight and without the mean. The parameter
is the ``delta`` of the Huber loss and unused elsewhere. A new loss adds a code here and
a class in ``sparseopt.optimize._losses``.
"""

import math

from numba import njit

SQUARED = 0
LOGISTIC = 1
MULTINOMIAL = 2
HUBER = 3
POISSON = 4


@njit(cache=True, nogil=True)
def loss_value(code, parameter, y, z):
    """Return the loss of one prediction."""
    if code == LOGISTIC:
        margin = y * z
        return max(-margin, 0.0) + math.log1p(math.exp(-abs(margin)))
    if code == HUBER:
        modulus = abs(y - z)
        inside = min(modulus, parameter)
        return inside * (modulus - 0.5 * inside)
    if code == POISSON:
        return math.exp(z) - y * z
    return 0.5 * (y - z) * (y - z)


@njit(cache=True, nogil=True)
def loss_derivative(code, parameter, y, z):
    """Return the derivative of the loss in the prediction."""
    if code == LOGISTIC:
        return -y / (1 + math.exp(y * z))
    if code == HUBER:
        return min(max(z - y, -parameter), parameter)
    if code == POISSON:
        return math.exp(z) - y
    return z - y


@njit(cache=True, nogil=True)
def loss_curvature(code, parameter, y, z):
    """Return the second derivative of the loss in the prediction."""
    if code == LOGISTIC:
        small = math.exp(-abs(z))
        return small / ((1 + small) * (1 + small))
    if code == HUBER:
        return 1.0 if abs(y - z) <= parameter else 0.0
    if code == POISSON:
        return math.exp(z)
    return 1.0


@njit(cache=True, nogil=True)
def model_curvature(code, parameter, y, z):
    """Return a positive curvature for a second-order model of the loss.

    It is the second derivative where that can carry a least-squares problem. The Huber
    loss takes that of the quadratic above it which touches it in z and -z; where the
    logistic and Poisson losses are nearly linear, a floor limits the Newton step of a
    prediction to 1000.
    """
    if code == HUBER:
        return parameter / max(abs(y - z), parameter)
    slope = abs(loss_derivative(code, parameter, y, z))
    return max(loss_curvature(code, parameter, y, z), 1e-3 * slope)


@njit(cache=True, nogil=True)
def weighted_model(code, parameter, y, z, weights, curvature):
    """Write the weighted model curvatures of all samples."""
    for i in range(y.shape[0]):
        curvature[i] = 0
        if weights[i] > 0:
            curvature[i] = weights[i] * model_curvature(code, parameter, y[i], z[i])


@njit(cache=True, nogil=True)
def multinomial_probabilities(z, out):
    """Write the softmax of the predictions ``z`` of one sample, return their logsumexp.

    The loss is the logsumexp less the prediction of the label, its gradient the
    probabilities less one at the label, its Hessian ``diag(p) - p p'``.
    """
    largest = z[0]
    for c in range(1, z.shape[0]):
        largest = max(largest, z[c])
    total = 0.0
    for c in range(z.shape[0]):
        out[c] = math.exp(z[c] - largest)
        total += out[c]
    for c in range(z.shape[0]):
        out[c] /= total
    return largest + math.log(total)


@njit(cache=True, nogil=True)
def weighted_loss(code, parameter, y, z, weights):
    """Return the weighted sum of the losses; rows of weight zero do not count."""
    total = 0.0
    for i in range(y.shape[0]):
        if weights[i] > 0:
            total += weights[i] * loss_value(code, parameter, y[i], z[i])
    return total


@njit(cache=True, nogil=True)
def weighted_derivatives(code, parameter, y, z, weights, gradient, curvature):
    """Write the weighted first and second derivatives of all samples."""
    for i in range(y.shape[0]):
        if weights[i] > 0:
            gradient[i] = weights[i] * loss_derivative(code, parameter, y[i], z[i])
            curvature[i] = weights[i] * loss_curvature(code, parameter, y[i], z[i])
        else:
            gradient[i] = 0
            curvature[i] = 0


@njit(cache=True, nogil=True)
def weighted_multinomial_loss(labels, z, weights, probabilities):
    """Return the weighted sum of multinomial losses, and write the probabilities."""
    total = 0.0
    for i in range(labels.shape[0]):
        normaliser = multinomial_probabilities(z[i], probabilities[i])
        if weights[i] > 0:
            total += weights[i] * (normaliser - z[i, labels[i]])
    return total
