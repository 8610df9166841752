"""The examples in the package's docstrings run, and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import sparseopt

OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def _modules():
    yield "sparseopt"
    for module in pkgutil.walk_packages(sparseopt.__path__, prefix="sparseopt."):
        # Importing the CUDA twins of the kernels needs CuPy.
        if not module.name.endswith("._kernels.gpu"):
            yield module.name


@pytest.mark.parametrize("name", list(_modules()))
def test_docstring_examples_run(name):
    module = importlib.import_module(name)
    outcome = doctest.testmod(module, optionflags=OPTIONS)
    assert outcome.failed == 0, f"{outcome.failed} of {outcome.attempted} examples failed"


@pytest.mark.parametrize("package", [name for name in sparseopt.__all__ if name != "__version__"])
def test_public_objects_show_an_example(package):
    module = importlib.import_module(f"sparseopt.{package}")
    public = [getattr(module, name) for name in module.__all__]
    assert public, f"sparseopt.{package} exports nothing"
    silent = [x.__qualname__ for x in public if callable(x) and ">>> " not in (x.__doc__ or "")]
    assert not silent, f"no example in the docstrings of {silent}"
