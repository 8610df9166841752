"""One way to run independent pieces of work, with results that do not depend on how.

joblib chooses the backend (threads, processes, Dask) from ``n_jobs`` and
``joblib.parallel_config``; randomness is spawned for each task beforehand.
"""

import numpy as np
from joblib import effective_n_jobs
from sklearn.utils.parallel import Parallel, delayed
from threadpoolctl import threadpool_limits


def spawn_seeds(random_state, n_tasks):
    """Return one independent ``numpy.random.SeedSequence`` a task.

    Parameters
    ----------
    random_state : None, int, RandomState or Generator
        A seed or generator; an int gives the same seeds each time.
    n_tasks : int
        Number of tasks.
    """
    if random_state is None or isinstance(random_state, (int, np.integer)):
        entropy = None if random_state is None else int(random_state)
    elif isinstance(random_state, np.random.Generator):
        entropy = int(random_state.integers(2**63))
    elif isinstance(random_state, np.random.RandomState):
        entropy = int(random_state.randint(2**31 - 1))
    else:
        raise TypeError(
            "random_state must be None, an int, a numpy RandomState or Generator, got "
            f"{random_state!r}."
        )
    return np.random.SeedSequence(entropy).spawn(n_tasks)


def run_parallel(function, tasks, *, n_jobs=None):
    """Return ``[function(*task) for task in tasks]``, computed by joblib.

    BLAS and OpenMP pools are limited to one thread inside the tasks while several
    tasks run at once, so that the levels do not fight for the cores.
    """
    tasks = list(tasks)
    parallel = min(effective_n_jobs(n_jobs), len(tasks)) > 1
    return Parallel(n_jobs=n_jobs)(delayed(_run_task)(function, task, parallel) for task in tasks)


def _run_task(function, task, limit_threads):
    if not limit_threads:
        return function(*task)
    with threadpool_limits(limits=1):
        return function(*task)
