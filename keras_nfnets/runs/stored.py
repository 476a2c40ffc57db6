"""Reads the files of a run folder, and checks every field.

A rule is a pair: what a field must be, in words for the error, and a function
that tells whether a value is that. The tables `CONFIG` and `STATE` at the end
hold the rules of each file; `rules_of` makes them for a dataclass.
"""

import csv
import dataclasses
import json
import math
import types
import typing

SHOWN = 80


def read_object(path, rules):
    """Reads a file of one JSON object and checks its fields.

    Args:
        path: `pathlib.Path`.
        rules: Dictionary from the names of fields to pairs: what the field must
            be, in words, and a function that tells whether a value is that.

    Returns:
        A dictionary.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no JSON object, or a field is missing or breaks
            its rule. File and field are named.

    Example:

    >>> read_object(path, {"step": ("an integer of at least 0", is_count)})
    {'step': 12}
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not JSON: {error}") from None
    check_object(content, rules, path.name)
    return content


def check_object(content, rules, where):
    """Raises a ValueError unless all fields are there and keep their rules.

    Args:
        content: Value that should be a dictionary.
        rules: Dictionary, as for `read_object`.
        where: String, what the content is called in an error.
    """
    if not isinstance(content, dict):
        raise ValueError(
            f"{where} must be an object. Received: {show(content)}"
        )
    for name, (rule, keeps) in rules.items():
        if name not in content:
            raise ValueError(f"{where} must have the field `{name}`")
        if not keeps(content[name]):
            raise ValueError(
                f"`{name}` in {where} must be {rule}. "
                f"Received: {show(content[name])}"
            )


def rules_of(dataclass):
    """Returns the rules that the fields of a dataclass have in JSON.

    Args:
        dataclass: A dataclass whose fields are strings, numbers, Booleans,
            `None`, tuples of strings or dataclasses.

    Returns:
        A dictionary, as `read_object` takes it.
    """
    return {
        field.name: (_words(field.type), _has_type(field.type))
        for field in dataclasses.fields(dataclass)
    }


def check_known(content, dataclass, where):
    """Raises a ValueError for a field that a dataclass does not have.

    Args:
        content: Dictionary.
        dataclass: The dataclass that it was made from.
        where: String, what the content is called in an error.
    """
    known = {field.name for field in dataclasses.fields(dataclass)}
    for name in content:
        if name not in known:
            raise ValueError(
                f"{where} must have no field {show(name)}, which is unknown"
            )


def is_count(value):
    """Tells whether a value is an integer of at least 0."""
    return _is(int, value) and value >= 0


def is_number(value):
    """Tells whether a value is a number; NaN and infinity count as such."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_list_of(keeps):
    """Returns a rule for lists.

    Args:
        keeps: Function that tells whether an element is allowed.

    Returns:
        A function that tells whether a value is a list of such elements.
    """
    return lambda value: isinstance(value, list) and all(map(keeps, value))


def are_numbers(value):
    """Tells whether a value is a number, or nested lists of numbers."""
    return is_number(value) or is_list_of(are_numbers)(value)


def are_rows(value):
    """Tells whether a value is a history.

    A history is a list of one object per epoch, with numbers alone, and with
    epochs counted from 1 without gaps.
    """
    return (
        is_list_of(_is_object)(value)
        and all(is_number(x) for row in value for x in row.values())
        and [row.get("epoch") for row in value]
        == list(range(1, len(value) + 1))
    )


def read_table(path):
    """Reads a history as a list of dictionaries, one per epoch.

    Args:
        path: `pathlib.Path` of a CSV file with a column `epoch`.

    Returns:
        A list of dictionaries from columns to floats; `epoch` is an integer.

    Raises:
        ValueError: If a line is incomplete, a value is no number, or the
            epochs are not counted from 1 on. File, line and column are named.

    Example:

    >>> read_table(run.history)[0]["epoch"]
    1
    """
    try:
        text = path.read_bytes().decode("utf-8")
        lines = list(csv.reader(text.splitlines(), strict=True))
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path.name} is not CSV: {error}") from None
    if not lines or "epoch" not in lines[0] or "" in lines[0]:
        raise ValueError(
            f"{path.name} must begin with a line of columns, `epoch` among "
            f"them. Received: {show(lines[:1])}"
        )
    if not text.endswith("\n"):
        raise ValueError(f"line {len(lines)} of {path.name} must have an end")
    columns, *rows = lines
    return [_row(path, columns, i + 1, row) for i, row in enumerate(rows)]


def write_table(path, rows):
    """Writes a history, with `nan` where an epoch lacks a value.

    Args:
        path: `pathlib.Path` of the file to write.
        rows: List of dictionaries from columns to numbers, one per epoch.
    """
    columns = dict.fromkeys(name for row in rows for name in row)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="nan")
        writer.writeheader()
        writer.writerows(rows)


def _row(path, columns, epoch, values):
    """Returns a line of a history as numbers by column."""
    where = f"line {epoch + 1} of {path.name}"
    if len(values) != len(columns):
        raise ValueError(
            f"{where} must have {len(columns)} values. Received: {len(values)}"
        )
    row = {}
    for column, value in zip(columns, values, strict=True):
        try:
            row[column] = float(value)
        except ValueError:
            raise ValueError(
                f"`{column}` in {where} must be a number. "
                f"Received: {show(value)}"
            ) from None
    if row["epoch"] != epoch:
        raise ValueError(
            f"`epoch` in {where} must be {epoch}. Received: {row['epoch']:g}"
        )
    return {**row, "epoch": epoch}


def show(value):
    """Quotes a value for an error message, cut to 80 characters."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _kinds(annotation):
    """Returns the types that an annotation allows."""
    union = isinstance(annotation, types.UnionType)
    return typing.get_args(annotation) if union else (annotation,)


def _has_type(annotation):
    kinds = _kinds(annotation)
    return lambda value: any(_is(kind, value) for kind in kinds)


def _is(kind, value):
    """Tells whether a value from JSON has a type of a dataclass's field."""
    if dataclasses.is_dataclass(kind):
        return isinstance(value, dict)
    if kind is float:
        return is_number(value) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if typing.get_origin(kind) is tuple:
        element, *rest = typing.get_args(kind)
        return (
            isinstance(value, list | tuple)
            and all(_is(element, x) for x in value)
            and (rest == [...] or len(value) == 1 + len(rest))
        )
    return isinstance(value, kind)


_WORDS = {
    bool: "true or false",
    float: "a finite number",
    int: "an integer",
    str: "a string",
    tuple[str, ...]: "a list of strings",
    tuple[int, int]: "a list of two integers",
    types.NoneType: "null",
}


def _words(annotation):
    kinds = _kinds(annotation)
    return " or ".join(_WORDS.get(kind, "an object") for kind in kinds)


def _is_text(value):
    return isinstance(value, str)


def _is_object(value):
    return isinstance(value, dict)


def _are_levels(value):
    numbers = bool(value) and is_list_of(is_number)(value)
    return numbers and all(map(math.isfinite, value))


# Rules for the fields of config.json, and of a checkpoint's state.json.
CONFIG = {
    "settings": ("an object", _is_object),
    "class_names": (
        "a list of strings",
        lambda value: bool(value) and is_list_of(_is_text)(value),
    ),
    "mean": ("a list of finite numbers", _are_levels),
    "std": (
        "a list of positive numbers",
        lambda value: _are_levels(value) and min(value) > 0,
    ),
    "train_images": ("an integer of at least 0", is_count),
    "test_images": ("an integer of at least 0", is_count),
    "backend": ("a string", _is_text),
    "versions": ("an object", _is_object),
}
STATE = {
    "step": ("an integer of at least 0", is_count),
    "random": ("a list of lists of integers", is_list_of(is_list_of(is_count))),
    "metrics": ("a list of numbers", is_list_of(are_numbers)),
    "history": ("the numbers of the epochs from 1 on", are_rows),
}
