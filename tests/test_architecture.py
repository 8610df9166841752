"""Imports go down the floors only, and the optional packages stay optional."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sparseopt

PACKAGE = Path(sparseopt.__file__).parent
FLOORS = {
    "_core": 1,
    "optimize": 2,
    "datasets": 2,
    "plotting": 2,
    "linear_model": 3,
    "preprocessing": 3,
    "sparse_bayes": 3,
    "causal": 3,
    "transport": 3,
    "decomposition": 3,
    "gaussian_process": 3,
    "semi_supervised": 3,
    "feature_selection": 3,
    "model_selection": 4,
    "testing": 5,
}
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
# scikit-learn itself imports rich and pandas where they are installed.
OPTIONAL = ("cupy", "matplotlib", "dask", "distributed", "networkx")


def _imported_names(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the import in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("file", [name for name in FILES if "/" in name])
def test_imports_go_down(file):
    here = file.split("/")[0]
    assert here in FLOORS, f"give {here} a floor in this file and in design.rst"
    for name in _imported_names(ast.parse((PACKAGE / file).read_text(encoding="utf-8"))):
        package, _, rest = name.partition(".")
        there = rest.split(".")[0]
        if package == "sparseopt" and there in FLOORS and there != here:
            assert FLOORS[there] < FLOORS[here], f"{here} imports {name}"


def test_import_leaves_optional_packages_alone():
    script = (
        "import sys, sparseopt\n"
        "for name in sparseopt.__all__:\n"
        "    getattr(sparseopt, name)\n"
        f"print(*[name for name in {OPTIONAL!r} if name in sys.modules])\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
