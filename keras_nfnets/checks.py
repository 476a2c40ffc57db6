"""The rules that arguments of several modules have in common."""

import difflib
import numbers
import sys
from collections.abc import Iterable
from typing import Any


def check_positive(**arguments: Any) -> None:
    """Raises a ValueError unless every argument is above 0, and finite."""
    for name, value in arguments.items():
        if not 0 < value < float("inf"):
            raise ValueError(
                f"`{name}` must be positive. Received: {name}={value}"
            )


def check_not_negative(**arguments: Any) -> None:
    """Raises a ValueError that names the first argument that is below 0."""
    for name, value in arguments.items():
        if not value >= 0:
            raise ValueError(
                f"`{name}` must not be negative. Received: {name}={value}"
            )


def check_whole(**arguments: Any) -> None:
    """Raises a ValueError unless every argument is a positive integer."""
    for name, value in arguments.items():
        if not isinstance(value, numbers.Integral) or value < 1:
            raise ValueError(
                f"`{name}` must be a positive integer. "
                f"Received: {name}={value!r}"
            )


def check_rate(**arguments: Any) -> None:
    """Raises a ValueError unless every argument is in [0, 1)."""
    for name, value in arguments.items():
        if not 0 <= value < 1:
            raise ValueError(
                f"`{name}` must be in [0, 1). Received: {name}={value}"
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


def complain(message: str) -> None:
    """Prints one line of the command line's on the standard error."""
    print("keras-nfnets:", " ".join(message.split()), file=sys.stderr)
