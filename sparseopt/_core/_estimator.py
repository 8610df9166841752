"""What every estimator's ``fit`` shares: all-or-nothing, and progress for callbacks."""

import functools
from contextlib import contextmanager

from sklearn.base import _fit_context


def fitting(method):
    """Decorate ``fit``: validate parameters, and undo everything if it raises.

    An estimator whose ``fit`` fails or is interrupted is left exactly as it was: with
    its earlier fit if it had one, unfitted otherwise.
    """
    validated = _fit_context(prefer_skip_nested_validation=True)(method)

    @functools.wraps(method)
    def fit(self, *args, **kwargs):
        before = vars(self).copy()
        try:
            return validated(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return fit


class FitReporter:
    """Reports one ``fit`` to the callbacks of :mod:`sklearn.callback`.

    Used as a context manager around the work of a fit that consists of ``n_tasks``
    solver runs (one a target or a grid value)::

        with FitReporter(self, X, y, n_tasks=1, max_iter=self.max_iter) as reporter:
            with reporter.task("target 0", attributes) as callback:
                result = solver(..., callback=callback)

    With a single task, the solver's iterations hang directly below the root of the
    task tree; with several, each task has a node of its own. Without callbacks the
    solver receives ``callback=None`` and pays nothing.

    Parameters
    ----------
    estimator : estimator with :class:`sklearn.callback.CallbackSupportMixin`
        The estimator being fitted.
    X, y : array-like
        Training data, handed to the callbacks.
    sample_weight : array-like, optional
        Handed to the callbacks as metadata.
    n_tasks : int, default=1
        Number of solver runs.
    max_iter : int or None, default=None
        Largest number of iterations of one run; None if unknown.
    """

    def __init__(self, estimator, X, y, *, sample_weight=None, n_tasks=1, max_iter=None):
        self._estimator = estimator
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._data = {"X": X, "y": y, "metadata": metadata}
        self._n_tasks = n_tasks
        self._max_iter = max_iter
        self._active = bool(getattr(estimator, "_skl_callbacks", []))

    def __enter__(self):
        single = self._n_tasks == 1
        self._root = self._estimator._init_callback_context(
            max_subtasks=self._max_iter if single else self._n_tasks
        )
        self._root.call_on_fit_task_begin(estimator=self._estimator, **self._data)
        return self

    def __exit__(self, exception_type, exception, traceback):
        if exception_type is None:
            self._root.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes={}, **self._data
            )
        return False

    @contextmanager
    def task(self, name, attributes=None):
        """Yield the SciPy-style callback for one solver run, or None.

        Parameters
        ----------
        name : str
            Name of the task, shown by progress bars.
        attributes : callable, optional
            ``attributes(x)`` returns the fitted attributes that belong to the iterate
            ``x``; it lets callbacks evaluate the model while it is being fitted.
        """
        if not self._active:
            yield None
        elif self._n_tasks == 1:
            yield self._iteration_callback(self._root, attributes)
        else:
            context = self._root.subcontext(task_name=name, max_subtasks=self._max_iter)
            context.call_on_fit_task_begin(estimator=self._estimator, **self._data)
            yield self._iteration_callback(context, attributes)
            context.call_on_fit_task_end(estimator=self._estimator, **self._data)

    def _iteration_callback(self, parent, attributes):
        def callback(intermediate_result):
            context = parent.subcontext(task_name=f"iteration {intermediate_result.nit}")
            context.call_on_fit_task_begin(estimator=self._estimator, **self._data)
            fitted = None
            if attributes is not None:
                fitted = functools.partial(attributes, intermediate_result.x)
            stop = context.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes=fitted, **self._data
            )
            if stop:
                raise StopIteration

        return callback
