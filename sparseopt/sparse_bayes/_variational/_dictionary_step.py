r"""Steps of the parameters of a dictionary (the M-step of EM-Turbo-BiSVBI).

Parameters theta maximise F(theta) = -half kappa E(theta) + log p(theta), where E is the expected
residual of :mod:`sparseopt.sparse_bayes._variational._local_fit`, as a function of the few columns
that move. One step costs O(K N M C (C + p)), whatever the number of frozen columns.
"""

from typing import Any, NamedTuple

import numpy as np

from sparseopt._core import to_numpy
from sparseopt.sparse_bayes._variational._joint_step import (
    MOST_PARAMETERS,
    best_mean,
    joint_direction,
    n_parameters,
)
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
    least 0; ``accepted``: whether anything moved; ``mean`` (K, C) of the coefficients: as given,
    or what goes with the parameters if they could follow.
    """

    params: dict
    values: Any
    gain: float
    accepted: bool
    mean: Any


class Point(NamedTuple):
    """Parameters, moving columns, moments, fit, F; and the factor of W if coefficients follow."""

    params: dict
    values: Any
    moments: LocalMoments
    fit: LocalFit
    objective: float
    factor: Any


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
        Moments of their coefficients, and of the symbols. If ``rho`` is given, coefficients follow
        the steps of Gauss and Newton, and F has their prior, -half sum rho |mu|^2.
    prior : dict of str to tuple of (mean, std)
        Normal priors; parameters that are not named have a flat one.
    trust : dict of str to float or None
        Longest steps: of each row, in the Euclidean norm, or of each entry of shared parameters.
    method : {"gauss_newton", "gradient"}, default="gauss_newton"
        Directions by the inverse of the Hessian, without second derivatives of the dictionary: of
        its diagonal blocks, or, if coefficients follow, of all. Or the gradient itself, with one
        step length for each parameter.
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
    problem = _Problem(parametric, params, np.asarray(columns), moments, prior, method)
    start = problem.point(params, moments, follow=False)
    here, accepted = start, False
    for _ in range(n_steps if parametric.kinds else 0):
        if problem.follows and here.factor is None:
            here = problem.point(params, moments)
        direction, slope = problem.direction(here, trust)
        found = problem.search(here, direction, slope)
        if found is None:
            break
        here, accepted = found, True
    if not accepted:
        here = start
    gain = here.objective - start.objective
    return RefinedParameters(here.params, here.values, gain, accepted, here.moments.mean)


class _Problem:
    """F as a function of parameters, of the columns that move."""

    def __init__(self, parametric, params, columns, moments, prior, method):
        self.parametric, self.columns, self.method = parametric, columns, method
        self.terms = PriorTerms(prior)
        few = n_parameters(parametric, params, columns) <= MOST_PARAMETERS
        self.follows = method == "gauss_newton" and moments.rho is not None and few

    def point(self, params, moments, follow=True):
        """Evaluate F; with the best mean of the coefficients, if they follow."""
        values = self.parametric.values(params, self.columns)
        values, factor = values.columns(np.arange(len(self.columns))), None
        if follow and self.follows:
            mean, factor = best_mean(values, moments)
            moments = moments._replace(mean=mean)
        fit = local_fit(values, moments)
        objective = -moments.half * moments.precision * fit.residual
        if moments.rho is not None:
            powers = to_numpy(moments.mean)
            objective -= moments.half * float(np.sum(moments.rho * np.abs(powers) ** 2))
        objective += self.terms.log_density(params)
        return Point(params, values, moments, fit, objective, factor)

    def direction(self, here, trust):
        """Return a direction, and the slope of F along it."""
        parametric, columns, terms = self.parametric, self.columns, self.terms
        G = dictionary_gradient(here.fit, here.moments)
        jac = parametric.jac(here.params, columns) if parametric.has_jac else None
        gradient = parameter_gradient(parametric, here.params, columns, G, jac, terms)
        if self.follows:
            direction = joint_direction(parametric, here, columns, gradient, jac, terms, trust)
        else:
            make = gauss_newton_direction if self.method == "gauss_newton" else gradient_direction
            direction = make(parametric, here, columns, here.moments, gradient, jac, terms, trust)
        slope = sum(float(np.sum(gradient[name] * step)) for name, step in direction.items())
        return direction, slope

    def search(self, here, direction, slope):
        """Return the first point, halving the step, that gains enough; None if none does."""
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
                found = self.point(params, here.moments)
            except NonFiniteDictionaryError as error:
                cause = error
                continue
            if not np.isfinite(found.objective):
                continue
            finite = True
            if found.objective >= here.objective + SUFFICIENT * length * slope:
                return found
        if not finite:
            moved = sorted(name for name, step in direction.items() if np.any(step))
            raise NonFiniteDictionaryError(
                f"dictionary(params) is not finite at any of {TRIALS} steps of {moved} from where "
                f"it is, down to 1/{2 ** (TRIALS - 1)} of the first: {cause}"
            )
        return None
