"""Progress of a single-index fit: its starts, which may run at once, and the refinement."""

from contextlib import contextmanager

from sparseopt._core import FitReporter


class SearchReporter(FitReporter):
    """Reports starts and refinement, one task each, to scikit-learn's callbacks.

    Parameters
    ----------
    estimator, X, y, sample_weight : object
        As in :class:`sparseopt._core.FitReporter`.
    names : tuple of str
        The starts.
    """

    def __init__(self, estimator, X, y, *, sample_weight, names):
        super().__init__(estimator, X, y, sample_weight=sample_weight, n_tasks=len(names) + 1)
        self._names = names

    def __enter__(self):
        self._root = self._estimator._init_callback_context(
            max_subtasks=self._n_tasks, sequential_subtasks=False
        )
        self._root.call_on_fit_task_begin(estimator=self._estimator, **self._data)
        return self

    def start(self, number):
        """Return the context manager in which a start is computed, or None without callbacks."""
        if not self._active:
            return None
        context = self._root.subcontext(
            task_name=f"start {self._names[number]}", task_id=number, max_subtasks=0
        )
        return StartTask(context, self._estimator, self._data)

    @contextmanager
    def refinement(self, attributes):
        """Yield the callback of the refinement, or None without callbacks."""
        if not self._active:
            yield None
            return
        context = self._root.subcontext(
            task_name="refinement", task_id=len(self._names), max_subtasks=None
        )
        context.call_on_fit_task_begin(estimator=self._estimator, **self._data)
        yield self._iteration_callback(context, attributes)
        context.call_on_fit_task_end(estimator=self._estimator, **self._data)


class StartTask:
    """One start as a task of its own; it can be sent to another process."""

    def __init__(self, context, estimator, data):
        self._context, self._estimator, self._data = context, estimator, data

    def __enter__(self):
        self._context.call_on_fit_task_begin(estimator=self._estimator, **self._data)
        return self

    def __exit__(self, exception_type, exception, traceback):
        if exception_type is None:
            self._context.call_on_fit_task_end(estimator=self._estimator, **self._data)
        return False
