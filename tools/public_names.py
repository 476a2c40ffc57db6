"""Writes the list of public names, with the first sentence about each.

    python tools/public_names.py

The sentences are those of the docstrings.
"""

import inspect
import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import keras_nfnets  # noqa: E402 (the backend comes first)

LIST = ROOT / "docs" / "PUBLIC_NAMES.md"
HEAD = """\
# Public names

`python tools/public_names.py` writes this list from the docstrings. What is
not here may change without notice.
"""


def names():
    """Yields a heading, its sentence, and the public names under it."""
    modules = {}
    own = {}
    for name in keras_nfnets.__all__:
        value = getattr(keras_nfnets, name)
        if inspect.ismodule(value):
            modules[f"keras_nfnets.{name}"] = value
        elif name != "__version__":
            own[name] = value
    yield "keras_nfnets", sentence(keras_nfnets), own
    for name, module in modules.items():
        yield name, sentence(module), members(module)


def members(module):
    """Returns what a module lists or, without a list, what it defines."""
    listed = getattr(module, "__all__", None)
    return {
        name: value
        for name, value in sorted(vars(module).items())
        if (name in listed if listed else _is_own(name, value, module))
    }


def _is_own(name, value, module):
    callable_here = getattr(value, "__module__", None) == module.__name__
    return not name.startswith("_") and callable(value) and callable_here


def sentence(value):
    """Returns the first sentence of a docstring, or what the data are."""
    if isinstance(value, dict):
        kind = type(next(iter(value.values()))).__name__
        return f"Dictionary from names to `{kind}`."
    text = " ".join(inspect.getdoc(value).partition("\n\n")[0].split())
    first, stop, _ = text.partition(". ")
    return first + stop.strip()


def listing():
    """Returns the list in Markdown."""
    lines = [HEAD]
    for heading, about, found in names():
        lines += [f"## `{heading}`\n", f"{about}\n"]
        lines += [f"- `{n}`: {sentence(value)}" for n, value in found.items()]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    LIST.write_text(listing(), "utf-8")
