"""Priors of supports without neighbours: independent entries, or a common support of all groups."""

import numpy as np
from scipy.special import expit, logit

from sparseopt.sparse_bayes._variational._support_base import (
    CommonSupport,
    SupportPrior,
    check_probability,
)
from sparseopt.sparse_bayes._variational._support_messages import learn_tied, log_mixture

# Where nothing is active yet, a probability of zero would be learnt, and never left.
LEAST_EXPECTED = 0.5  # active coefficients, or columns


class IndependentSupport(SupportPrior):
    r"""Prior of supports whose entries have nothing to do with each other.

    :math:`s_{kq} \sim \mathrm{Bernoulli}(\lambda_{kq})`.

    Parameters
    ----------
    probability : float or array-like broadcastable to (n_groups, n_columns), default=0.05
        Probability of being active, strictly between 0 and 1. Equal entries share one value that is
        learnt: a number is the share of active coefficients.
    learn : bool, default=True
        Whether to learn ``probability`` from the data.

    See Also
    --------
    JointSupport : A support that groups share in part.
    MarkovChainSupport : Active columns come in runs.
    GridMRFSupport : Active columns come in clusters of a grid.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.sparse_bayes import IndependentSupport
    >>> prior = IndependentSupport(0.1)
    >>> llr = np.array([[4.0, -3.0, -2.0, 6.0]])
    >>> prior.extrinsic(llr)
    array([[0.1, 0.1, 0.1, 0.1]])
    >>> round(prior.m_step(llr).probability, 3)
    0.464
    """

    def __init__(self, probability=0.05, *, learn=True):
        self.probability = probability
        self.learn = learn

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
            If ``probability`` is not a number or an array of numbers.
        """
        check_probability("probability", self.probability, (n_groups, n_columns))

    def _log_odds(self, llr):
        return np.broadcast_to(logit(np.asarray(self.probability, dtype=float)), llr.shape)

    def extrinsic_log_odds(self, llr):
        """Return the prior's log-odds, since no other evidence matters.

        Parameters
        ----------
        llr : ndarray of shape (n_groups, n_columns)
            Log-likelihood ratios.

        Returns
        -------
        log_odds : ndarray of shape (n_groups, n_columns)
            Log-odds.
        """
        return self._log_odds(self._checked(llr)).copy()

    def log_partition(self, llr):
        """Return the log of the prior expectation of exp(sum llr s).

        Parameters
        ----------
        llr : ndarray of shape (n_groups, n_columns)
            Log-likelihood ratios.

        Returns
        -------
        value : float
            Exact.
        """
        llr = self._checked(llr)
        return float(log_mixture(np.asarray(self.probability, dtype=float), llr).sum())

    def m_step(self, llr):
        """Return the prior after one EM step: the mean posterior probability.

        Parameters
        ----------
        llr : ndarray of shape (n_groups, n_columns)
            Log-likelihood ratios.

        Returns
        -------
        prior : IndependentSupport
            This very object with ``learn=False``.
        """
        if not self.learn:
            return self
        llr = self._checked(llr)
        active = expit(llr + self._log_odds(llr))
        trials = np.ones_like(active)
        low = LEAST_EXPECTED / active.size
        return self._with(probability=learn_tied(self.probability, active, trials, low=low))


class JointSupport(CommonSupport):
    r"""Prior of supports that several groups share in part.

    A column is present for all with probability :math:`\lambda`, and then seen by each group
    with probability :math:`\eta`:

    .. math::

        c_q \sim \mathrm{Bernoulli}(\lambda), \qquad
        P(s_{kq} = 1 \mid c_q = 1) = \eta, \qquad P(s_{kq} = 1 \mid c_q = 0) = \varepsilon.

    What one group finds makes it likelier that the others do.

    Parameters
    ----------
    probability : float or array-like broadcastable to (n_columns,), default=0.05
        :math:`\lambda`, strictly between 0 and 1. Here and below equal entries of an array share
        one value that is learnt.
    visibility : float or array-like broadcastable to (n_groups, n_columns), default=0.7
        :math:`\eta`, strictly between 0 and 1.
    leakage : float or array-like broadcastable to (n_groups, n_columns), default=1e-6
        :math:`\varepsilon`, at least 0 and less than ``visibility``.
    learn : bool, default=True
        Whether to learn ``probability`` and ``visibility`` from the data.
    learn_leakage : bool, default=False
        Whether to learn ``leakage`` as well. With one group there is no telling it from
        the other two.

    See Also
    --------
    IndependentSupport : Groups that share nothing.
    MarkovChainSupport : Active columns come in runs, common to all groups or not.
    GridMRFSupport : Active columns come in clusters of a grid, common to all groups or not.

    Examples
    --------
    Two of three groups are sure of the second column. The third, undecided itself, follows:

    >>> import numpy as np
    >>> from sparseopt.sparse_bayes import JointSupport
    >>> prior = JointSupport(probability=0.05, visibility=0.7)
    >>> llr = np.array([[-4.0, 9.0], [-4.0, 9.0], [-4.0, 0.0]])
    >>> prior.prior_probability(3, 2)[2].round(3)
    array([0.035, 0.035])
    >>> prior.extrinsic(llr)[2].round(3)
    array([0.004, 0.7  ])
    >>> prior.common_proba(llr).round(3)
    array([0.002, 1.   ])
    """

    def __init__(
        self,
        probability=0.05,
        visibility=0.7,
        *,
        leakage=1e-6,
        learn=True,
        learn_leakage=False,
    ):
        self.probability = probability
        self.visibility = visibility
        self.leakage = leakage
        self.learn = learn
        self.learn_leakage = learn_leakage

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
        check_probability("probability", self.probability, (n_columns,))
        if self.visibility is None:
            raise TypeError("visibility must be a number or an array of numbers, got None.")
        self._check_groups(n_groups, n_columns)

    def _field_log_odds(self, evidence):
        return np.broadcast_to(logit(np.asarray(self.probability, dtype=float)), evidence.shape)

    def _field_partition(self, evidence):
        return float(log_mixture(np.asarray(self.probability, dtype=float), evidence).sum())

    def _learn_field(self, evidence):
        common = expit(evidence + self._field_log_odds(evidence))
        trials, low = np.ones(common.shape[1]), LEAST_EXPECTED / common.shape[1]
        return {"probability": learn_tied(self.probability, common[0], trials, low=low)}
