"""Reads and checks the `dataset.json` of a folder of TFRecord files.

`read_index` returns an `Index` with two `Part`s. Every error names the file and
the field.
"""

import dataclasses
import json

from keras_nfnets.files import check_is_file

INDEX = "dataset.json"


@dataclasses.dataclass(frozen=True)
class Part:
    """Names the files of one part of a data set.

    Args:
        files: Tuple of strings, paths.
        count: Integer, number of records in all files together.
    """

    files: tuple
    count: int


@dataclasses.dataclass(frozen=True)
class Index:
    """Holds the content of a `dataset.json`.

    Args:
        class_names: Tuple of strings.
        first_label: Integer, the label of the first class in the records.
        train: `Part`.
        test: `Part`.
    """

    class_names: tuple
    first_label: int
    train: Part
    test: Part


def read_index(root):
    """Returns the `Index` of a folder.

    Args:
        root: `pathlib.Path` of the folder.

    Raises:
        FileNotFoundError: If it has no `dataset.json`.
        ValueError: If a field is missing or has another type; the message
            names file and field.

    Example:

    >>> read_index(Path("records")).train.count
    1000
    """
    path = root / INDEX
    content = _read(path, root)
    names = _field(path, content, "class_names", list, "a list of strings")
    if not all(isinstance(name, str) for name in names):
        raise _wrong(path, "class_names", "a list of strings", names)
    first = _field(path, content, "first_label", int, "an integer")
    parts = (_part(root, content, name) for name in ("train", "test"))
    return Index(tuple(names), first, *parts)


def _read(path, root):
    """Returns the content of a `dataset.json`."""
    try:
        check_is_file(path, "data")
        content = json.loads(path.read_bytes().decode())
    except FileNotFoundError:
        raise FileNotFoundError(
            f"`data` must be a folder with a {INDEX}. Received: tfrecord:{root}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} must be a whole JSON file. Received: {error}"
        ) from None
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} must be an object with the fields class_names, "
            f"first_label, train and test. Received: {content!r:.80}"
        )
    return content


def _part(root, content, name):
    """Returns the files that a part's pattern names, with their count."""
    path = root / INDEX
    part = _field(path, content, name, dict, "an object")
    pattern = _field(path, part, "files", str, "a pattern", f"{name}.files")
    count = _field(
        path, part, "count", int, "a positive integer", f"{name}.count"
    )
    if not 0 < count < 2**63:
        raise _wrong(path, f"{name}.count", "a positive integer", count)
    try:
        files = sorted(map(str, root.glob(pattern)))
    except (ValueError, NotImplementedError):  # an empty or absolute pattern
        files = []
    if not files:
        raise ValueError(
            f"{path}: `{name}.files` must name files that are there. "
            f"Received: {pattern!r}"
        )
    for file in files:
        check_is_file(file, f"{name}.files")
    return Part(tuple(files), count)


def _field(path, content, key, kind, rule, name=None):
    """Returns a field of one type, or raises an error that names it."""
    name = name or key
    if key not in content:
        raise ValueError(
            f"{path} must have the field `{name}`. Received: {sorted(content)}"
        )
    value = content[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _wrong(path, name, rule, value)
    return value


def _wrong(path, name, rule, value):
    return ValueError(
        f"{path}: `{name}` must be {rule}. Received: {value!r:.80}"
    )
