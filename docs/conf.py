"""Configures the documentation site: `make docs`.

Pages that follow from the code (the API, the tables of networks and recipes)
and the notebooks are written into `docs/generated` before Sphinx reads it.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools"), str(ROOT / "tools" / "site")]

import docstrings  # noqa: E402 (the paths and the backend come first)
import generated_pages  # noqa: E402

import keras_nfnets  # noqa: E402

project = "keras_nfnets"
author = "the authors of keras_nfnets"
release = version = keras_nfnets.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
# The tables are parts of pages.
exclude_patterns = ["tests", "generated/*_table.md"]
generated_pages.write(Path(__file__).parent / "generated")

# Notebooks come with their outputs: `make notebooks` executes them.
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence"]
# A heading is `page.md#its-words`, as on GitHub.
myst_heading_anchors = 3

# A name between single backticks is a link where it is a public name.
default_role = "py:obj"
add_module_names = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
# What Keras says of its own methods stands in its documentation.
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = ["Input shape", "Output shape", "Call arguments"]

html_theme = "furo"
html_title = f"keras_nfnets {release}"
html_copy_source = False
html_show_copyright = html_show_sphinx = False


def setup(app):
    """Has docstrings turned from Markdown's links to those of Sphinx."""
    # Before napoleon, which reads the sections.
    app.connect("autodoc-process-docstring", docstrings.process, priority=400)
    app.connect("autodoc-process-signature", docstrings.signature)
