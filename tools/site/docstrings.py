"""Turns this library's docstrings into what Sphinx reads.

They are Google style with links of Markdown. Sphinx has links of its own, and
reads an indented text below a heading of a section where ours stands flush.
"""

import inspect
import re

from sphinx.util.inspect import stringify_signature

LINK = re.compile(r"\[([^\[\]]+)\]\((https?://[^)\s]+)\)")
# Headings under which the text is not indented.
FLUSH = re.compile(r"^(\s*)(Example|Examples):$")
REFERENCE = re.compile(r"^(\s*)Reference: ")


def rewritten(text):
    """Returns a docstring with its links and headings as Sphinx reads them.

    Args:
        text: String, a docstring without the indentation of its code.
    """
    text = LINK.sub(_link, text)
    lines = []
    for line in text.splitlines():
        if match := FLUSH.match(line):
            line = f"{match[1]}.. rubric:: {match[2]}"
        lines.append(REFERENCE.sub(r"\1**Reference:** ", line))
    return "\n".join(lines)


def _link(match):
    words = " ".join(match[1].split()).strip("`")
    return f"`{words} <{match[2]}>`__"


def process(app, what, name, obj, options, lines):
    """Rewrites the lines of a docstring in place, as a hook of autodoc."""
    lines[:] = rewritten("\n".join(lines)).splitlines()


def signature(app, what, name, obj, options, arguments, returns):
    """Returns the arguments of a class as `__init__` names them.

    Sphinx would show those of `keras.layers.Layer.__new__`, which takes any.
    """
    if what != "class" or not inspect.isfunction(obj.__init__):
        return None
    own = inspect.signature(obj.__init__)
    own = own.replace(parameters=[*own.parameters.values()][1:])
    return stringify_signature(own, show_annotation=False), None
