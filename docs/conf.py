"""How Sphinx builds the pages of this folder and the API's from docstrings: ``make docs``."""

import tomllib
from pathlib import Path

_PROJECT = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]

project = _PROJECT["name"]
version = release = _PROJECT["version"]

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_parser"]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = project

autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "ignore-module-all": True,
    "exclude-members": "set_score_request",  # scikit-learn's own, whose text refers to its own pages
}
maximum_signature_line_length = 80
autodoc_mock_imports = ["theano", "lasagne", "nolearn"]  # they are in an environment of their own
numpydoc_show_class_members = False
default_role = "py:obj"
nitpicky = True
nitpick_ignore = [("py:class", "pipeline.engines.numba.compiler.Result")]  # a type variable
nitpick_ignore_regex = [("py:.*", r"(?!pipeline\.|tasks\.).*")]  # of the names of others no list is at hand
