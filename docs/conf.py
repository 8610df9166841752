"""Sphinx configuration. The build needs no network."""

import inspect
import os
import re
import warnings

os.environ.setdefault("MPLBACKEND", "Agg")

import sparseopt

project = "sparseopt"
author = "The sparseopt developers"
copyright = "2026, The sparseopt developers"
version = release = sparseopt.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "auto_examples/**/*.ipynb", "auto_examples/**/*.py"]
default_role = "py:obj"

# -- API reference -----------------------------------------------------------------
# Pages follow each module's __all__: a new public name appears by itself.
autosummary_generate = True
autosummary_ignore_module_all = False
autosummary_imported_members = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
# With warnings as errors, a public docstring with a forgotten or misspelt parameter
# fails the build.
numpydoc_validation_checks = {"GL08", "PR01", "PR02", "PR03", "RT03", "SS01", "PR07"}
numpydoc_validation_exclude = {
    r"\.set_(fit|score|predict|transform)_request$",
    # The operations that all losses and penalties share are explained once, in the design.
    r"^sparseopt\.optimize\.[A-Z]\w*\.\w+$",
}


def _skip_members_of_others(app, what, name, obj, skip, options):
    """Leave what estimators inherit from scikit-learn to scikit-learn's own pages."""
    module = getattr(obj, "__module__", None)
    if what == "class" and module is not None and not module.startswith("sparseopt"):
        return True
    if what == "class" and (inspect.isbuiltin(obj) or inspect.ismethoddescriptor(obj)):
        return True  # of dict, from which results of solvers inherit
    return None


def _escape_shapes(app, what, name, obj, options, lines):
    """Keep reStructuredText from reading ``(n_features_in_,)`` in a type as a link."""
    for i, line in enumerate(lines):
        if "``" not in line and ">>>" not in line:
            lines[i] = re.sub(r"(?<=\w)_(?=[,)]| [+-])", r"\\_", line)


def setup(app):
    """Register the hooks of this file."""
    app.connect("autodoc-skip-member", _skip_members_of_others)
    app.connect("autodoc-process-docstring", _escape_shapes, priority=900)  # after numpydoc


# -- Gallery -----------------------------------------------------------------------
sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["auto_examples"],
    "filename_pattern": r"[\\/]plot_",
    "ignore_pattern": r"quickstart\.py|__init__\.py",
    "doc_module": ("sparseopt",),
    "backreferences_dir": "api/generated/backreferences",
    "reference_url": {"sparseopt": None},
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1,
    "remove_config_comments": True,
}
# An example that warns is shown with its warning; it is the author's to read. Matplotlib
# tells that Agg shows nothing, which says nothing about the example.
warnings.filterwarnings("ignore", message=".*FigureCanvasAgg is non-interactive.*")

# -- HTML --------------------------------------------------------------------------
html_theme = "pydata_sphinx_theme"
html_title = f"sparseopt {version}"
html_static_path = []
html_show_sourcelink = False
html_theme_options = {
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "primary_sidebar_end": [],
}
