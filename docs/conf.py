"""How is the site of the documents built? Sphinx reads this file.

Notebooks of the gallery are run while it is built; an error in one fails the build.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("OMP_NUM_THREADS", "1")

project = "nnviz"
author = "nnviz developers"
(version,) = re.findall(
    r'^__version__ = "(.*)"$',
    (ROOT / "nnviz" / "__init__.py").read_text(),
    re.MULTILINE,
)
release = version

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
root_doc = "index"
nitpicky = False

html_theme = "furo"
html_show_copyright = False
html_title = f"nnviz {version}"
html_copy_source = False
html_static_path: list[str] = []

myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
myst_links_external_new_tab = False

nb_execution_mode = "force"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_param = False


def setup(app: Sphinx) -> None:
    """Let docstrings keep headings of their own kind."""
    app.connect("autodoc-process-docstring", _without_numbers)


def _without_numbers(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Make a docstring's numbered references a list: numbers are unique in a page."""
    for i, line in enumerate(lines):
        lines[i] = re.sub(r"^\.\. \[\d+\] ", "- ", line)
