"""Checks arguments by rules that several modules share."""

import difflib
import numbers
import sys
from collections.abc import Iterable
from typing import Any

# An image file may have so many pixels: Pillow warns of more. In float32 they
# take 1 GiB.
MAX_PIXELS = 2**30 // 3 // 4
# What TensorFlow's shapes and Keras's counters take.
MAX_INTEGER = 2**31 - 1


def _is_number(value):
    return isinstance(value, numbers.Real)


def check_positive(**arguments: Any) -> None:
    """Raises a ValueError unless every argument is above 0, and finite."""
    for name, value in arguments.items():
        if not (_is_number(value) and 0 < value < float("inf")):
            raise ValueError(
                f"`{name}` must be positive. Received: {name}={value!r}"
            )


def check_not_negative(**arguments: Any) -> None:
    """Raises a ValueError that names the first argument that is below 0."""
    for name, value in arguments.items():
        if not (_is_number(value) and value >= 0):
            raise ValueError(
                f"`{name}` must not be negative. Received: {name}={value!r}"
            )


def check_positive_integer(**arguments: Any) -> None:
    """Raises a ValueError unless every argument is a positive integer.

    None may be above 2**31 - 1.
    """
    for name, value in arguments.items():
        if not isinstance(value, numbers.Integral) or int(value) < 1:
            raise ValueError(
                f"`{name}` must be a positive integer. "
                f"Received: {name}={value!r}"
            )
        if int(value) > MAX_INTEGER:
            raise ValueError(
                f"`{name}` must not be above {MAX_INTEGER}. "
                f"Received: {name}={value!r}"
            )


def check_seed(**arguments: Any) -> None:
    """Raises a ValueError unless every argument is a seed that Keras takes."""
    for name, value in arguments.items():
        whole = isinstance(value, numbers.Integral)
        if not whole or not 0 <= int(value) < 2**32:
            raise ValueError(
                f"`{name}` must be from 0 to 2**32 - 1. "
                f"Received: {name}={value!r}"
            )


def check_rate(**arguments: Any) -> None:
    """Raises a ValueError unless every argument is in [0, 1)."""
    for name, value in arguments.items():
        if not (_is_number(value) and 0 <= value < 1):
            raise ValueError(
                f"`{name}` must be in [0, 1). Received: {name}={value!r}"
            )


def near_matches(name: str, names: Iterable[str]) -> str:
    """Returns "Did you mean ...? " of the names that look alike, or ""."""
    lower = {known.lower(): known for known in names}
    near = [
        lower[match]
        for match in difflib.get_close_matches(
            str(name).lower(), lower, n=3, cutoff=0.7
        )
    ]
    return f"Did you mean {' or '.join(map(repr, near))}? " if near else ""


def unknown_name(
    argument: str, value: Any, rule: str, names: Iterable[str], place: str
) -> ValueError:
    """Returns the error for a name that a long table does not have.

    It shows near matches and where the table is, not the table.

    Args:
        argument: String, what the name was given as.
        value: The name.
        rule: String, what it must be.
        names: Those that there are.
        place: String, what lists them all.
    """
    return ValueError(
        f"`{argument}` must be {rule}. {near_matches(value, names)}"
        f"{place} lists all. Received: {argument}={value!r}"
    )


def printable(text: Any) -> str:
    r"""Returns text on one line, as a terminal or a log may show it.

    Control characters are escaped, and so are bytes of a file's name that are
    no UTF-8: `"a\x1b.png"` becomes `r"a\x1b.png"`.

    Args:
        text: String, or path.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in str(text))


def _escaped(character):
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that Python could not decode
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def complain(message: str) -> None:
    """Prints one line of the command line's on the standard error."""
    line = printable(" ".join(message.split()))
    print("keras-nfnets:", line, file=sys.stderr)
