"""Writes the pages of the site that follow from the code, and the notebooks.

The API has a page for each public module. What stands under two names is
described once, and the other place links there.
"""

import inspect
import re
import shutil
from pathlib import Path

import public_names
from recipes_table import table as recipes_table

from notebooks import NAMES as NOTEBOOKS

ROOT = Path(__file__).resolve().parents[2]
# In Markdown, and in HTML with the quotes as JSON has them.
BADGE = re.compile(r"!\[([^\]]*)\]\(https?://[^)]*\)")
BADGE_HTML = re.compile(r'<img [^>]*src=\\"http[^>]*alt=\\"([^"\\]*)\\"[^>]*>')


def write(folder):
    """Writes all pages into a folder, which is emptied first.

    Args:
        folder: Path.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "recipes_table.md").write_text(recipes_table(), "utf-8")
    for name, text in api_pages().items():
        (folder / f"{name}.md").write_text(text, "utf-8")
    _write_notebooks(folder)


def _write_notebooks(folder):
    """Copies the notebooks, and lists them on a page of their own."""
    for name in NOTEBOOKS:
        path = ROOT / "notebooks" / f"{name}.ipynb"
        text = for_site(path.read_text("utf-8"))
        (folder / path.name).write_text(text, "utf-8")
    toctree = "\n".join(NOTEBOOKS)
    text = (
        "# Notebooks\n\nEach opens in Colab by the link below its title. Here "
        "they are with the\noutputs of two CPU cores.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{toctree}\n```\n"
    )
    (folder / "notebooks.md").write_text(text, "utf-8")


def for_site(text):
    """Returns a notebook's text as a page of the site.

    Images from elsewhere, such as Colab's badge, become their words: the site
    works without a network. Links to `../docs` lead to the pages beside it.

    Args:
        text: String, the content of an `.ipynb` file.
    """
    text = BADGE.sub(r"\1", text)
    text = BADGE_HTML.sub(r"\1", text)
    return text.replace("](../docs/", "](../")


def api_pages():
    """Returns the text of the page of each public module by its name."""
    documented = {}
    return {
        heading: _page(heading, about, names, documented)
        for heading, about, names in public_names.names()
    }


def _page(heading, about, names, documented):
    lines = [f"# {heading}\n", f"{about}\n"]
    for name, value in names.items():
        full = f"{heading}.{name}"
        first = documented.setdefault(id(value), full)
        lines += _same(full, first) if first != full else _entry(full, value)
    return "\n".join(lines)


def _same(name, first):
    return [f"- `{name}` is {{py:obj}}`{first}`.", ""]


def _entry(name, value):
    """Returns the directive that describes one name from its docstring."""
    if isinstance(value, dict):
        module, _, last = name.rpartition(".")
        about = public_names.sentence(value).replace("`", "``")
        directive = [f".. py:data:: {last}", f"   :module: {module}"]
        directive += ["", f"   {about}"]
    elif inspect.isclass(value):
        directive = [f".. autoclass:: {name}", "   :members:"]
    else:
        directive = [f".. autofunction:: {name}"]
    return ["```{eval-rst}", *directive, "```", ""]
