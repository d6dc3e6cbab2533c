"""The site of docs/: `make docs` builds it, and a warning is an error.

Sphinx (BSD) with Furo (MIT) and MyST (MIT): Markdown pages beside a reference from
docstrings. Nothing is fetched, neither here nor by a page: no fonts, no scripts of
others.
"""

import re
from typing import Any

from trimtab._version import __version__

project = "trimtab"
author = "the authors of trimtab"
copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"trimtab {release}"
html_copy_source = False
html_show_sphinx = False
html_show_search_summary = False  # it would be fetched, which files cannot be
maximum_signature_line_length = 88  # else one argument a line

# Code without a language is what a reader types or sees, and no Python.
highlight_language = "text"
# A single backtick in a docstring is code, as in Markdown.
default_role = "code"

myst_heading_anchors = 3  # links to `page.md#heading` are checked

# Only its callbacks need it, and it imports torchvision where that is.
autodoc_mock_imports = ["lightning"]
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False  # torch's own are not written for this theme
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes of records stand in their class once


def _shorten(_app: Any, what: str, *rest: Any) -> None:
    """Leave out why a file is long: readers of a reference do not see files."""
    lines = rest[-1]
    if what == "module" and lines:
        lines[0] = re.sub(r"[;,] over 400 lines.*", ".", lines[0])


def setup(app: Any) -> None:
    """Have docstrings shortened."""
    app.connect("autodoc-process-docstring", _shorten)
