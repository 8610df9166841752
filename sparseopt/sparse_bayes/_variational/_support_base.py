"""What the variational fits ask of a prior of the support, and priors with a common support.

A prior p(s) of the binary s (K, Q) is asked for few things only, all given log-likelihood ratios
L = ``llr`` (K, Q): the probability of each s_kq from all ratios but its own, the log of the
expected exp(sum L s), and parameters that raise it (an EM step). Priors are immutable: learning
returns another one.

    common support:   c ~ a law of its own,
                      P(s_kq = 1 | c_q) = visibility if c_q = 1, leakage if c_q = 0

The field c hears what each group says of it (:func:`shared_evidence`), and tells each what the
others said. Without ``visibility`` each group has a copy of the field to itself, s_k = c_k.
"""

from abc import ABCMeta, abstractmethod

import numpy as np
from scipy.special import expit, logit
from sklearn.base import BaseEstimator

from sparseopt.sparse_bayes._variational._support_messages import (
    learn_tied,
    log_mixture,
    seen_log_odds,
    shared_evidence,
    sum_of_others,
)


class SupportPrior(BaseEstimator, metaclass=ABCMeta):
    """What priors of the support have in common."""

    @abstractmethod
    def check(self, n_groups, n_columns):
        """Check the parameters.

        Parameters
        ----------
        n_groups, n_columns : int
            Shape (K, Q) of the support.

        Raises
        ------
        ValueError
            If a probability is not between 0 and 1, or if a shape does not fit.
        TypeError
            If a parameter is not a number or an array of numbers.
        """

    @abstractmethod
    def extrinsic_log_odds(self, llr):
        """Return the log-odds that coefficients are active, from all evidence but their own.

        Parameters
        ----------
        llr : ndarray of shape (n_groups, n_columns)
            Log-likelihood ratios.

        Returns
        -------
        log_odds : ndarray of shape (n_groups, n_columns)
            Adding ``llr`` to them gives the log-odds of the posterior.
        """

    def extrinsic(self, llr):
        """Return the probabilities of being active, from all evidence but their own.

        Parameters
        ----------
        llr : ndarray of shape (n_groups, n_columns)
            Log-likelihood ratios.

        Returns
        -------
        proba : ndarray of shape (n_groups, n_columns)
            Probabilities.
        """
        return expit(self.extrinsic_log_odds(llr))

    def prior_probability(self, n_groups, n_columns):
        """Return the probabilities of being active without any evidence.

        Parameters
        ----------
        n_groups, n_columns : int
            Shape (K, Q) of the support.

        Returns
        -------
        proba : ndarray of shape (n_groups, n_columns)
            Probabilities.
        """
        return self.extrinsic(np.zeros((n_groups, n_columns)))

    @abstractmethod
    def log_partition(self, llr):
        """Return the log of the prior expectation of exp(sum llr s).

        Parameters
        ----------
        llr : ndarray of shape (n_groups, n_columns)
            Log-likelihood ratios.

        Returns
        -------
        value : float
            The evidence of the data, relative to an empty support.
        """

    @abstractmethod
    def m_step(self, llr):
        """Return the prior after one EM step.

        Parameters
        ----------
        llr : ndarray of shape (n_groups, n_columns)
            Log-likelihood ratios.

        Returns
        -------
        prior : support prior
            With parameters for which ``log_partition(llr)`` is at least as high; this very
            object with ``learn=False``.
        """

    def common_proba(self, llr):
        """Return the posterior probabilities of the common support.

        Parameters
        ----------
        llr : ndarray of shape (n_groups, n_columns)
            Log-likelihood ratios.

        Returns
        -------
        proba : ndarray of shape (n_columns,) or None
            None if this prior has no common support.
        """
        return None

    def _with(self, **learnt):
        return type(self)(**{**self.get_params(deep=False), **learnt})

    def _checked(self, llr):
        """Return the ratios as an array of float64, all of them and the parameters checked."""
        llr = np.asarray(llr, dtype=float)
        if llr.ndim != 2:
            raise ValueError(
                f"llr must have the shape (n_groups, n_columns), got an array of shape {llr.shape}."
            )
        if not np.all(np.isfinite(llr)):
            raise ValueError("llr must be finite, but has NaN or infinite entries.")
        self.check(*llr.shape)
        return llr


def check_probability(name, value, shape, lowest=None):
    """Raise unless ``value`` has probabilities strictly between 0 and 1 for ``shape``.

    ``lowest`` = 0 admits 0 too.
    """
    try:
        array = np.asarray(value)
        numeric = array.dtype.kind in "fiu"
    except ValueError:
        numeric = False
    if not numeric:
        raise TypeError(f"{name} must be a number or an array of numbers, got {value!r}.")
    try:
        fits = np.broadcast_shapes(array.shape, shape) == tuple(shape)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name} must be a number or an array that broadcasts to {tuple(shape)}, got the shape "
            f"{array.shape}."
        )
    wrong = ~((array > 0) & (array < 1))
    if lowest is not None:
        wrong &= array != lowest
    if wrong.any():
        interval = "(0, 1)" if lowest is None else "[0, 1)"
        raise ValueError(f"{name} must lie in {interval}, got {array[wrong].flat[0]}.")


class CommonSupport(SupportPrior):
    """Priors with a law of a field over columns, which groups share or have copies of.

    Subclasses have the parameters ``visibility``, ``leakage``, ``learn`` and ``learn_leakage``, and
    say what the law of the field is. Its first columns may be all; those after it are independent
    of everything, with ``extra_probability``.
    """

    extra_probability: float | np.ndarray = 0.5

    def _n_covered(self, n_columns):
        """Return how many columns the field has."""
        return n_columns

    @abstractmethod
    def _field_log_odds(self, evidence):
        """Return the extrinsic log-odds of the field, for evidence (R, n)."""

    @abstractmethod
    def _field_partition(self, evidence):
        """Return the log partition function of the field."""

    @abstractmethod
    def _learn_field(self, evidence):
        """Return the parameters of the field that are learnt."""

    def _check_groups(self, n_groups, n_columns):
        covered = self._n_covered(n_columns)
        if self.visibility is not None:
            shape = (n_groups, covered)
            check_probability("visibility", self.visibility, shape)
            check_probability("leakage", self.leakage, shape, lowest=0)
            if not np.all(np.asarray(self.leakage) < np.asarray(self.visibility)):
                raise ValueError(
                    "leakage must be less than visibility, or the common support would tell where "
                    f"groups are not active; got {self.leakage} and {self.visibility}."
                )
        if covered < n_columns:
            check_probability(
                "extra_probability", self.extra_probability, (n_groups, n_columns - covered)
            )

    def _split(self, llr):
        llr = self._checked(llr)
        covered = self._n_covered(llr.shape[1])
        return llr[:, :covered], llr[:, covered:]

    def _seen(self):
        return np.asarray(self.visibility, dtype=float), np.asarray(self.leakage, dtype=float)

    def _evidence(self, llr):
        """Return the evidence of the field (R, n)."""
        if self.visibility is None:
            return np.ascontiguousarray(llr)
        return shared_evidence(llr, *self._seen()).sum(axis=0, keepdims=True)

    def extrinsic_log_odds(self, llr):
        """Return the log-odds that coefficients are active, from all evidence but their own.

        Parameters
        ----------
        llr : ndarray of shape (n_groups, n_columns)
            Log-likelihood ratios.

        Returns
        -------
        log_odds : ndarray of shape (n_groups, n_columns)
            Adding ``llr`` to them gives the log-odds of the posterior.
        """
        covered, extra = self._split(llr)
        field = self._field_log_odds(self._evidence(covered))
        if self.visibility is not None:
            others = sum_of_others(shared_evidence(covered, *self._seen()))
            field = seen_log_odds(field + others, *self._seen())
        rest = np.broadcast_to(logit(np.asarray(self.extra_probability)), extra.shape)
        return np.concatenate([field, rest], axis=1)

    def log_partition(self, llr):
        """Return the log of the prior expectation of exp(sum llr s).

        Parameters
        ----------
        llr : ndarray of shape (n_groups, n_columns)
            Log-likelihood ratios.

        Returns
        -------
        value : float
            The evidence of the data, relative to an empty support.
        """
        covered, extra = self._split(llr)
        value = self._field_partition(self._evidence(covered))
        if self.visibility is not None:
            value += float(log_mixture(self._seen()[1], covered).sum())
        return value + float(log_mixture(np.asarray(self.extra_probability), extra).sum())

    def m_step(self, llr):
        """Return the prior after one EM step.

        Parameters
        ----------
        llr : ndarray of shape (n_groups, n_columns)
            Log-likelihood ratios.

        Returns
        -------
        prior : support prior
            With learnt parameters; this very object with ``learn=False``.
        """
        if not self.learn:
            return self
        covered, _ = self._split(llr)
        evidence = self._evidence(covered)
        learnt = self._learn_field(evidence)
        if self.visibility is not None:
            common = expit(self._field_log_odds(evidence) + evidence)
            learnt |= self._learn_groups(covered, common)
        return self._with(**learnt)

    def _learn_groups(self, llr, common):
        visibility, leakage = self._seen()
        present = np.broadcast_to(common, llr.shape)
        seen = present * expit(llr + logit(visibility))
        # Leakage stays less, lest the common support tell where groups are not active. Half a
        # group is expected to see what is there: none at all would be learnt for good.
        low = max(0.5 / len(llr), 2 * leakage.max())
        learnt = {"visibility": learn_tied(self.visibility, seen, present, low=low)}
        if self.learn_leakage:
            high = np.min(learnt["visibility"]) / 2
            leaked = (1 - present) * expit(llr + logit(leakage))
            learnt["leakage"] = learn_tied(self.leakage, leaked, 1 - present, high=high)
        return learnt

    def common_proba(self, llr):
        """Return the posterior probabilities of the common support.

        Parameters
        ----------
        llr : ndarray of shape (n_groups, n_columns)
            Log-likelihood ratios.

        Returns
        -------
        proba : ndarray of shape (n_columns,) or None
            Of columns outside the common support, the probability that any group is active; None
            without ``visibility``.
        """
        if self.visibility is None:
            return None
        covered, extra = self._split(llr)
        evidence = self._evidence(covered)
        common = expit(self._field_log_odds(evidence) + evidence)[0]
        silent = expit(-extra - logit(np.asarray(self.extra_probability)))
        return np.concatenate([common, 1 - np.prod(silent, axis=0)])
