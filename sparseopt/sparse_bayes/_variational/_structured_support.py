r"""Priors of supports with neighbours: runs along a chain, clusters on a grid.

    chain   P(c_1 = 1) = p01 / (p01 + p10), switched on with probability p01 and off with p10
    grid    p(c) ~ exp(sum_q h c_q + J sum_{q ~ q'} c_q c_q'), q ~ q' neighbours on an axis

The field c is the support of each group, independently of the others, or with ``visibility`` the
common support that groups see in part. Messages on chains are exact; those on grids of two and more
axes are loopy belief propagation, whose log partition function is Bethe's (J. S. Yedidia,
W. T. Freeman and Y. Weiss, IEEE Trans. Inf. Theory 51, 2005).
"""

from numbers import Integral, Real

import numpy as np
from scipy.special import expit, logit

from sparseopt.sparse_bayes._variational._support_base import CommonSupport, check_probability
from sparseopt.sparse_bayes._variational._support_messages import (
    Grid,
    chain_messages,
    grid_neighbours,
    learn_chain,
)

LARGEST_COUPLING = 50.0


def _check_integer(name, value):
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")


def _check_number(name, value, low, high, closed_high=True):
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    if not (low <= value < high or (closed_high and value == high)):
        bracket = "]" if closed_high else ")"
        raise ValueError(f"{name} must lie in [{low}, {high}{bracket}, got {value}.")


class MarkovChainSupport(CommonSupport):
    r"""Prior of supports whose active columns come in runs.

    Along the columns the state is switched on with probability ``p01`` and off with probability
    ``p10``, and the start is stationary. Active runs have the mean length 1 / ``p10``, and a share
    p01 / (p01 + p10) of the columns is active.

    Parameters
    ----------
    p01 : float, default=0.02
        Probability that an active column follows an inactive one, strictly between 0 and 1.
    p10 : float, default=0.2
        Probability that an inactive column follows an active one, strictly between 0 and 1.
    visibility : float or array-like broadcastable to (n_groups, length) or None, default=None
        With None each group has a chain of its own, all with the same ``p01`` and ``p10``.
        Otherwise the chain is common to them, and a group is active where the chain is with this
        probability. Equal entries of an array share one value that is learnt.
    leakage : float or array-like broadcastable to (n_groups, length), default=1e-6
        Probability that a group is active where the common chain is not; at least 0 and less
        than ``visibility``, without which it means nothing.
    length : int or None, default=None
        Number of columns in the chain, counted from the first; None for all.
    extra_probability : float or array-like, default=0.5
        Probability of being active of the columns after the chain, which nothing links; an array
        broadcasts to (n_groups, n_columns - length). It is not learnt.
    learn : bool, default=True
        Whether to learn ``p01``, ``p10`` and ``visibility`` from the data.
    learn_leakage : bool, default=False
        Whether to learn ``leakage`` as well.

    See Also
    --------
    IndependentSupport : Columns without neighbours.
    JointSupport : A common support without neighbours.
    GridMRFSupport : Clusters on a grid.

    Examples
    --------
    A column that the data leave open is probably active between two active ones:

    >>> import numpy as np
    >>> from sparseopt.sparse_bayes import MarkovChainSupport
    >>> prior = MarkovChainSupport(p01=0.02, p10=0.2)
    >>> prior.extrinsic(np.array([[-9.0, 9.0, 0.0, 9.0, -9.0, 0.0]])).round(3)
    array([[0.8  , 0.267, 0.993, 0.267, 0.8  , 0.02 ]])
    >>> prior.prior_probability(1, 6).round(3)
    array([[0.091, 0.091, 0.091, 0.091, 0.091, 0.091]])
    """

    def __init__(
        self,
        p01=0.02,
        p10=0.2,
        *,
        visibility=None,
        leakage=1e-6,
        length=None,
        extra_probability=0.5,
        learn=True,
        learn_leakage=False,
    ):
        self.p01 = p01
        self.p10 = p10
        self.visibility = visibility
        self.leakage = leakage
        self.length = length
        self.extra_probability = extra_probability
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
        check_probability("p01", self.p01, ())
        check_probability("p10", self.p10, ())
        if self.length is not None:
            _check_integer("length", self.length)
            if self.length > n_columns:
                raise ValueError(
                    f"length must be at most the number of columns, {n_columns}, got {self.length}."
                )
        self._check_groups(n_groups, n_columns)

    def _n_covered(self, n_columns):
        return n_columns if self.length is None else self.length

    def _field_log_odds(self, evidence):
        messages = chain_messages(evidence, float(self.p01), float(self.p10))
        return messages.forward + messages.backward

    def _field_partition(self, evidence):
        return chain_messages(evidence, float(self.p01), float(self.p10)).log_partition

    def _learn_field(self, evidence):
        p01, p10 = learn_chain(evidence, float(self.p01), float(self.p10))
        return {"p01": p01, "p10": p10}


class GridMRFSupport(CommonSupport):
    r"""Prior of supports whose active columns come in clusters of a grid.

    The columns are the cells of a grid in C order, with two neighbours on each axis: 4 on a plane,
    6 in space. Given all others, the log-odds of a cell are

    .. math::

        \operatorname{logit}(\text{probability}) + \text{coupling} \times
        \text{number of active neighbours},

    which is a Markov random field (Ising's model of a lattice gas).

    Parameters
    ----------
    shape : tuple of int
        Shape of the grid. Its cells are the first columns; there may be more columns.
    probability : float, default=0.05
        Probability of being active of a cell without active neighbours, strictly between 0 and 1.
    coupling : float, default=0.8
        By how much an active neighbour raises the log-odds, from 0, without a link, to 50.
        Keep it times the number of axes below -logit(``probability``): beyond that the likeliest
        support has everything active.
    visibility : float or array-like broadcastable to (n_groups, n_cells) or None, default=None
        With None each group has a field of its own, all with the same parameters. Otherwise
        the field is common to them, and a group is active where the field is with this probability.
        Equal entries of an array share one value that is learnt.
    leakage : float or array-like broadcastable to (n_groups, n_cells), default=1e-6
        Probability that a group is active where the common field is not; at least 0 and less
        than ``visibility``, without which it means nothing.
    extra_probability : float or array-like, default=0.5
        Probability of being active of the columns after the grid, which nothing links; an array
        broadcasts to (n_groups, n_columns - n_cells). It is not learnt.
    damping : float, default=0.5
        Share of the old message in a new one, from 0 to less than 1.
    max_sweeps : int, default=10
        Largest number of sweeps of belief propagation, each forwards and backwards.
    tol : float, default=1e-8
        Change of the messages, which are log-odds, that ends the sweeps.
    learn : bool, default=True
        Whether to learn ``probability``, ``coupling`` and ``visibility`` from the data.
    learn_leakage : bool, default=False
        Whether to learn ``leakage`` as well.

    See Also
    --------
    IndependentSupport : Columns without neighbours.
    JointSupport : A common support without neighbours.
    MarkovChainSupport : Runs along a line.

    Notes
    -----
    With two and more axes the grid has loops, and belief propagation is approximate: marginals tend
    to be too sure, and some of a cell's own evidence comes back to it by detours. On a line
    the messages are exact, once the sweeps have converged. What is learnt is what raises Bethe's
    approximation of the evidence, one step at a time.

    Examples
    --------
    >>> import numpy as np
    >>> from sparseopt.sparse_bayes import GridMRFSupport
    >>> prior = GridMRFSupport((3, 3), probability=0.05, coupling=1.5)
    >>> llr = np.array([[-5.0, 8.0, -5.0, 8.0, 0.0, 8.0, -5.0, 8.0, -5.0]])
    >>> prior.extrinsic(llr)[0, 4].round(2)
    np.float64(0.95)
    """

    def __init__(
        self,
        shape,
        probability=0.05,
        coupling=0.8,
        *,
        visibility=None,
        leakage=1e-6,
        extra_probability=0.5,
        damping=0.5,
        max_sweeps=10,
        tol=1e-8,
        learn=True,
        learn_leakage=False,
    ):
        self.shape = shape
        self.probability = probability
        self.coupling = coupling
        self.visibility = visibility
        self.leakage = leakage
        self.extra_probability = extra_probability
        self.damping = damping
        self.max_sweeps = max_sweeps
        self.tol = tol
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
        if not isinstance(self.shape, tuple | list) or len(self.shape) == 0:
            raise TypeError(f"shape must be a tuple of integers, got {self.shape!r}.")
        for size in self.shape:
            _check_integer("shape, in each entry,", size)
        if self._n_covered(n_columns) > n_columns:
            raise ValueError(
                f"shape must have at most as many cells as there are columns, {n_columns}, got "
                f"{self.shape} with {self._n_covered(n_columns)}."
            )
        check_probability("probability", self.probability, ())
        _check_number("coupling", self.coupling, 0, LARGEST_COUPLING)
        _check_number("damping", self.damping, 0, 1, closed_high=False)
        _check_integer("max_sweeps", self.max_sweeps)
        _check_number("tol", self.tol, 0, np.inf)
        self._check_groups(n_groups, n_columns)

    def _n_covered(self, n_columns):
        return int(np.prod(self.shape))

    def _grid(self):
        return Grid(
            grid_neighbours(tuple(self.shape)),
            float(logit(self.probability)),
            float(self.coupling),
            float(self.damping),
            int(self.max_sweeps),
            float(self.tol),
        )

    def _field_log_odds(self, evidence):
        return self._grid().log_odds(evidence)

    def _field_partition(self, evidence):
        return self._grid().log_partition(evidence)

    def _learn_field(self, evidence):
        grid = self._grid().learn(evidence)
        return {"probability": float(expit(grid.field)), "coupling": grid.coupling}
