"""A race between sparseopt and its peers at equal, measured accuracy.

The problem, the data and the solvers are those of a benchopt folder. Each solver gets one
untimed run, then the loosest tolerance whose accuracy (a duality gap, computed by the
objective from the coefficients alone) meets the contest's; then all are timed in turns, and
their smallest times are compared. A ratio is peer over sparseopt: above 1, sparseopt is the
faster one.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

from benchopt.benchmark import Benchmark
from threadpoolctl import threadpool_limits

OURS = "sparseopt"
TOLERANCES = [10.0 ** (-0.5 * k) for k in range(4, 31)]
MIN_REPEATS, MAX_REPEATS = 3, 50
TUNING_SECONDS = 40.0  # after which a solver's tolerance is not tightened any more
HEADER = f"{'problem':<60} {'peer':<13} {'aim':>5} {'ratio':>9}        accuracy reached"


@dataclass(frozen=True)
class Contest:
    """One row of the table: a problem, its data, and what sparseopt must reach.

    Attributes
    ----------
    problem : str
        What the table calls it.
    folder, dataset : str
        The benchopt folder within the family, and the name of one of its data sets.
    peers : tuple of str
        Names of the solvers to compare with.
    accuracy : float
        Largest accepted value of the objective's ``accuracy``.
    aim : float, optional
        Smallest accepted ratio of times, peer over sparseopt, for every peer that is accurate.
    message : str, optional
        Text that a warning of sparseopt must contain.
    objective, data : dict
        Parameters of the objective and the data set.
    others : tuple of str
        Solvers that are shown without an aim.
    ours : str
        Which of sparseopt's solvers takes part.
    """

    problem: str
    folder: str
    dataset: str
    peers: tuple[str, ...]
    accuracy: float
    aim: float | None = None
    message: str | None = None
    objective: dict = field(default_factory=dict)
    data: dict = field(default_factory=dict)
    others: tuple[str, ...] = ()
    ours: str = OURS


@dataclass(frozen=True)
class Measurement:
    """One row of the table without a peer: a number that sparseopt must reach.

    Attributes
    ----------
    problem, folder : str
        What the table calls it, and the name that selects it.
    measure : callable
        Returns the number, and a remark.
    aim : float
        Smallest accepted number; the largest if ``at_most``.
    unit : str
        Of the number.
    """

    problem: str
    folder: str
    measure: Callable[[], tuple[float, str]]
    aim: float
    unit: str
    at_most: bool = False

    def line(self):
        """Return the line of the table."""
        value, remark = self.measure()
        met = value <= self.aim if self.at_most else value >= self.aim
        aim = f"{'<=' if self.at_most else '>='}{self.aim:g}"
        verdict = "pass" if met else "MISS"
        return f"{self.problem:<60} {self.unit:<13} {aim:>5} {value:>9.2f}  {verdict}  {remark}"


class Entrant:
    """A solver with its data, its tolerance, and the best of its times."""

    def __init__(self, solver, objective):
        self.solver, self.objective = solver, objective
        self.name = solver.name
        self.seconds = float("inf")
        self.messages = []
        solver._set_objective(objective)
        self.tolerates = solver.sampling_strategy == "tolerance"
        self._run(TOLERANCES[0])  # compiles

    def tune(self, accuracy):
        """Find the loosest tolerance that meets ``accuracy``; else keep the most accurate."""
        reached, start = {}, time.perf_counter()
        for tolerance in TOLERANCES if self.tolerates else [None]:
            self._run(tolerance)
            result = self.objective.evaluate_result(**self.solver.get_result())
            reached[tolerance] = float(result["accuracy"])
            slow = time.perf_counter() - start > TUNING_SECONDS
            if reached[tolerance] <= accuracy or slow:
                break
        self.tolerance = min(reached, key=reached.get)
        self.accuracy = reached[self.tolerance]
        self.accurate = self.accuracy <= accuracy

    def race(self):
        """Run once more; return the time it took."""
        start = time.perf_counter()
        self._run(self.tolerance)
        seconds = time.perf_counter() - start
        self.seconds = min(self.seconds, seconds)
        return seconds

    def _run(self, tolerance):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.solver.run(tolerance)
        self.messages = [str(warning.message) for warning in caught]


def hold(contest, folder, seconds):
    """Run a contest for about ``seconds``; return its entrants, sparseopt first."""
    benchmark = Benchmark(folder / contest.folder)
    datasets = {dataset.name: dataset for dataset in benchmark.get_datasets()}
    solvers = {solver.name: solver for solver in benchmark.get_solvers()}
    objective = benchmark.get_benchmark_objective().get_instance(**contest.objective)
    objective.set_data(**datasets[contest.dataset].get_instance(**contest.data).get_data())
    # Only now are all libraries loaded whose threads are to be limited.
    with threadpool_limits(limits=1):
        entrants = []
        for name in (contest.ours, *contest.peers, *contest.others):
            if name != contest.ours and not solvers[name].is_installed():
                print(f"    {name} is not installed and takes no part in: {contest.problem}")
                continue
            entrants.append(Entrant(solvers[name].get_instance(), objective))
            entrants[-1].tune(contest.accuracy)
        spent = 0.0
        for repeat in range(MAX_REPEATS):
            if repeat >= MIN_REPEATS and spent > seconds:
                break
            spent += sum(entrant.race() for entrant in entrants)
    return entrants


def report(contest, entrants):
    """Return the lines of the table for one contest, one a peer."""
    ours, *peers = entrants
    lines = []
    for peer in peers:
        ratio = peer.seconds / ours.seconds
        met = ours.accurate
        bound = None if peer.name in contest.others else contest.aim
        if bound is not None:
            met = met and (ratio >= bound or not peer.accurate)
        if contest.message is not None:
            met = met and any(contest.message in text for text in ours.messages)
        # A time is no match for that of a solver that did not solve the problem.
        shown = f"{ratio:.2f}" if peer.accurate else f"({ratio:.2f})"
        aim = "gap" if bound is None else f"{bound:.1f}"
        gaps = f"{_accuracy(ours)}, {_accuracy(peer)}"
        problem = contest.problem if peer is peers[0] else ""
        verdict = "pass" if met else "MISS"
        lines.append(f"{problem:<60} {peer.name:<13} {aim:>5} {shown:>9}  {verdict}  {gaps}")
    if ours.messages:
        lines.append(f"    {ours.name} says: {ours.messages[0]}")
    return lines


def _accuracy(entrant):
    remark = "" if entrant.accurate else " (not reached)"
    return f"{entrant.name} {entrant.accuracy:.0e}{remark}"
