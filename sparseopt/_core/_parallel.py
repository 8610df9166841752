"""One way to run independent pieces of work, with results that do not depend on how.

joblib chooses the backend (threads, processes, Dask) from ``n_jobs`` and
``joblib.parallel_config``; randomness is spawned for each task beforehand.
"""

import contextlib
import functools
import os

import numpy as np
from joblib import effective_n_jobs
from sklearn.utils.parallel import Parallel, delayed
from threadpoolctl import ThreadpoolController, threadpool_limits

SHORT = 4_000_000  # entries of a matrix for which BLAS threads cost more than they bring


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


def run_parallel(function, tasks, *, n_jobs=None, prefer=None):
    """Return ``[function(*task) for task in tasks]``, computed by joblib.

    BLAS and OpenMP pools are limited to one thread while several tasks run at once, so
    that the levels do not fight for the cores. ``prefer="threads"`` suits kernels that release
    the lock of the interpreter.
    """
    tasks = list(tasks)
    if min(effective_n_jobs(n_jobs), len(tasks)) <= 1:
        return [function(*task) for task in tasks]
    # The limits hold for a whole process. They are set here for tasks that run in threads
    # (not in the tasks: these end in any order), and in each task that runs elsewhere.
    here = os.getpid()
    with threadpool_limits(limits=1):
        return Parallel(n_jobs=n_jobs, prefer=prefer)(
            delayed(_run_task)(function, task, here) for task in tasks
        )


def _run_task(function, task, parent):
    if os.getpid() == parent:
        return function(*task)
    with threadpool_limits(limits=1):
        return function(*task)


@functools.cache
def _thread_pools():
    return ThreadpoolController()  # finds the libraries once: limiting them is then cheap


def short_products(n_entries):
    """Return a context in which BLAS runs on one thread if its products are short.

    A solver that multiplies by a matrix of ``n_entries`` many times, with little work in
    between, spends its time waiting for BLAS threads otherwise. Entering costs some ten
    microseconds.
    """
    if n_entries > SHORT:
        return contextlib.nullcontext()
    return _thread_pools().limit(limits=1, user_api="blas")
