r"""Steps of the parameters of a dictionary (the M-step of EM-Turbo-BiSVBI).

Parameters theta maximise F(theta) = -half kappa E(theta) + log p(theta), where E is the expected
residual of :mod:`sparseopt.sparse_bayes._variational._local_fit`, as a function of the few columns
that move. One step costs O(K N M C (C + p)), whatever the number of frozen columns.
"""

from typing import Any, NamedTuple

import numpy as np

from sparseopt.sparse_bayes._variational._local_fit import (
    LocalFit,
    LocalMoments,
    dictionary_gradient,
    local_fit,
)
from sparseopt.sparse_bayes._variational._parametric import NonFiniteDictionaryError
from sparseopt.sparse_bayes._variational._step_direction import (
    PriorTerms,
    gauss_newton_direction,
    gradient_direction,
    parameter_gradient,
)

__all__ = ["LocalMoments", "RefinedParameters", "refine_parameters"]

SUFFICIENT = 1e-4
TRIALS = 10


class RefinedParameters(NamedTuple):
    """What a step gives.

    ``params``: the new ones; ``values`` (K, N, M, C): the columns that moved; ``gain`` in F, at
    least 0; ``accepted``: whether anything moved.
    """

    params: dict
    values: Any
    gain: float
    accepted: bool


def refine_parameters(
    parametric, params, columns, moments, *, prior, trust, method="gauss_newton", n_steps=1
):
    """Move parameters uphill.

    Parameters
    ----------
    parametric : ParametricDictionary
        The dictionary.
    params : dict of str to ndarray
        Parameters.
    columns : ndarray of int of shape (C,)
        Columns that move; of parameters of kind "column", only their rows do.
    moments : LocalMoments
        Moments of their coefficients, and of the symbols.
    prior : dict of str to tuple of (mean, std)
        Normal priors; parameters that are not named have a flat one.
    trust : dict of str to float or None
        Longest steps: of each row, in the Euclidean norm, or of each entry of shared parameters.
    method : {"gauss_newton", "gradient"}, default="gauss_newton"
        Directions by the inverse of diagonal blocks of the Hessian, without second derivatives of
        the dictionary, or the gradient itself, with one step length for each parameter.
    n_steps : int, default=1
        Largest number of steps.

    Returns
    -------
    refined : RefinedParameters
        Parameters, new where anything was gained.

    Raises
    ------
    NonFiniteDictionaryError
        If the dictionary is not finite at any point that was tried.
    """
    parametric.require_derivatives(method)
    columns = np.asarray(columns)
    values = _columns_at(parametric, params, columns)
    terms = PriorTerms(prior)
    gain, accepted = 0.0, False
    for _ in range(n_steps if parametric.kinds else 0):
        fit = local_fit(values, moments)
        here = Point(params, values, fit, _objective(fit, moments, terms, params))
        G = dictionary_gradient(fit, moments)
        jac = parametric.jac(params, columns) if parametric.has_jac else None
        gradient = parameter_gradient(parametric, params, columns, G, jac, terms)
        direct = gauss_newton_direction if method == "gauss_newton" else gradient_direction
        direction = direct(parametric, here, columns, moments, gradient, jac, terms, trust)
        found = _line_search(parametric, here, columns, moments, terms, direction, gradient)
        if found is None:
            break
        params, values, accepted = found.params, found.values, True
        gain += found.objective - here.objective
    return RefinedParameters(params, values, gain, accepted)


class Point(NamedTuple):
    """Parameters, the moving columns there, their fit and F."""

    params: dict
    values: Any
    fit: LocalFit
    objective: float


def _columns_at(parametric, params, columns):
    return parametric.values(params, columns).columns(np.arange(len(columns)))


def _objective(fit, moments, terms, params):
    return -moments.half * moments.precision * fit.residual + terms.log_density(params)


def _line_search(parametric, here, columns, moments, terms, direction, gradient):
    """Return the first point, halving the step, that gains enough; None if none does."""
    slope = sum(float(np.sum(gradient[name] * step)) for name, step in direction.items())
    if not slope > 0:
        return None
    finite = False
    for trial in range(TRIALS):
        length = 0.5**trial
        params = {
            name: np.asarray(value + length * direction[name])
            for name, value in here.params.items()
        }
        try:
            values = _columns_at(parametric, params, columns)
        except NonFiniteDictionaryError as error:
            cause = error
            continue
        fit = local_fit(values, moments)
        objective = _objective(fit, moments, terms, params)
        if not np.isfinite(objective):
            continue
        finite = True
        if objective >= here.objective + SUFFICIENT * length * slope:
            return Point(params, values, fit, objective)
    if not finite:
        moved = sorted(name for name, step in direction.items() if np.any(step))
        raise NonFiniteDictionaryError(
            f"dictionary(params) is not finite at any of {TRIALS} steps of {moved} from where it "
            f"is, down to 1/{2 ** (TRIALS - 1)} of the first: {cause}"
        )
    return None
