"""Runs the commands `predict` and `demo`, which use a model.

Both open a `Classifier`. Results go to the standard output, and errors and the
messages of Keras go to the standard error, so that a program can read the
results.
"""

import contextlib
import csv
import io
import json
import os
import sys
from pathlib import Path

from keras_nfnets import private_names
from keras_nfnets.checks import check_positive_integer, complain, printable
from keras_nfnets.cli.status import SOME_FAILED
from keras_nfnets.data.folder import SUFFIXES
from keras_nfnets.demo import run
from keras_nfnets.runs import Classifier

private_names.check()


def predict(
    paths,
    variant=None,
    top=1,
    format="table",
    batch_size=8,
    **options,
):
    """Prints file, class and probability for every image that can be read.

    Args:
        paths: List of strings: image files and folders of such, after the model
            unless `variant` is given.
        variant: String, a key of `VARIANTS`, in place of a model. Defaults to
            `None`.
        top: Integer, the number of classes to print for each image. Defaults to
            `1`.
        format: String, `"table"`, `"csv"` or `"json"`. The first two print as
            they go, and JSON is printed at the end. Defaults to `"table"`.
        batch_size: Integer, images in one step. Defaults to `8`.
        **options: Further arguments of `Classifier`: `weights`, `size`,
            `runtime` and `max_pixels`.

    Returns:
        Integer, the exit status: 0, or `SOME_FAILED` if there were files that
        could not be read.

    Raises:
        ValueError: If no image is given, or the model cannot be used.

    Example:

    >>> predict(["runs/pets", "cat.jpg", "photos"], top=2, format="csv")
    """
    check_positive_integer(top=top, batch_size=batch_size)
    model, *images = [None, *paths] if variant else paths
    if not images:
        raise ValueError(
            "at least one IMAGE must be given. "
            f"Received: {' '.join(map(str, paths))}"
        )
    classifier = _open(model, variant, options)
    failed, batch, found = 0, [], []
    show = _json_rows if format == "json" else _row_printer(format)
    for path, error in _files(images):
        if error is None:
            try:
                batch.append((path, classifier.read(path)))
            except ValueError as unreadable:
                error = unreadable
        if error is not None:
            failed += 1
            complain(f"error: {error}")
        if len(batch) == batch_size:
            found += show(_classified(classifier, batch, top))
            batch = []
    found += show(_classified(classifier, batch, top))
    if format == "json":
        print(json.dumps(found, indent=2))
    return SOME_FAILED if failed else 0


def demo(
    source,
    model=None,
    variant=None,
    save=None,
    no_window=False,
    max_frames=None,
    overwrite=False,
    **options,
):
    """Shows the classes of what a camera sees, of a video or of images.

    At the end it prints how many frames were shown and dropped, and how fast.

    Args:
        source: String: the number of a camera, an address such as
            `"rtsp://..."`, a video file, an image file or a folder of images.
        model: String, the folder of a run or an exported file. Defaults to
            `None`, `variant`.
        variant: String, a key of `VARIANTS`, in place of `model`. Defaults to
            `None`.
        save: String, path of a film to write. Defaults to `None`.
        no_window: Boolean, whether no window is opened. Defaults to `False`.
        max_frames: Integer, the number of frames after which it ends. Defaults
            to `None`, no limit.
        overwrite: Boolean, whether a film at `save` is replaced. Defaults to
            `False`.
        **options: Further arguments of `Classifier`: `weights`, `size` and
            `runtime`.

    Raises:
        ImportError: If OpenCV is not installed.
        OSError: If the source cannot be read.
        ValueError: If the model cannot be used, or an argument is wrong.

    Example:

    >>> demo("0", model="runs/pets", max_frames=100)
    """
    classifier = _open(model, variant, options)
    speed = run(classifier, source, save, not no_window, max_frames, overwrite)
    print(
        f"{speed.frames} frames, {speed.dropped} dropped, "
        f"{speed.fps:.1f} frames per second, "
        f"{speed.latency * 1000:.0f} ms behind"
    )
    if save is not None and speed.frames:
        print(f"wrote {printable(save)}")


def _open(model, variant, options):
    """Returns a `Classifier`, with what Keras prints on the standard error."""
    # Keras prints its downloads, and the standard output is for the results.
    with contextlib.redirect_stdout(sys.stderr):
        return Classifier(model, variant, **options)


def _files(paths):
    """Yields a path and an error for each image file.

    Folders are searched with their subfolders, in sorted order. A path that is
    not a folder is yielded as it is.

    Args:
        paths: List of strings.

    Yields:
        Tuples of a `Path` and `None`, or of a folder without an image and the
        error to report.
    """
    for path in map(Path, paths):
        if not path.is_dir():
            yield path, None
            continue
        files = [
            file
            for file in sorted(path.rglob("*"))
            if file.suffix.lower() in SUFFIXES and not file.is_dir()
        ]
        yield from ((file, None) for file in files)
        if not files:
            yield path, f"{path}: there is no {', '.join(SUFFIXES)} file in it"


def _classified(classifier, batch, top):
    """Returns a path and its classes for every image of a batch.

    Args:
        classifier: The `Classifier`.
        batch: List of tuples of a path and what `Classifier.read` returned.
        top: Integer, the number of classes for each image.

    Returns:
        A list of tuples of a path and a list of tuples `(name, probability)`,
        the most probable first.
    """
    with contextlib.redirect_stdout(sys.stderr):
        rows = classifier.predict([image for _, image in batch])
    return [
        (path, classifier.name(row, top))
        for (path, _), row in zip(batch, rows, strict=True)
    ]


def _json_rows(rows):
    """Returns rows as dictionaries for JSON."""
    return [
        dict(
            file=str(path),
            classes=[dict(name=n, probability=p) for n, p in classes],
        )
        for path, classes in rows
    ]


def _row_printer(format):
    """Returns a function that prints rows as a table or as CSV.

    The function returns an empty list. `_json_rows`, which stands in its place,
    returns what is left to print.
    """
    if format == "csv":
        print("file,class,probability")

    def show(rows):
        """Prints a line for each class of each row."""
        for path, classes in rows:
            for name, probability in classes:
                fields = str(path), name, f"{probability:.4f}"
                if format == "csv":
                    text = io.StringIO()
                    csv.writer(text, lineterminator="").writerow(fields)
                    # A file's name need not be UTF-8.
                    line = os.fsencode(text.getvalue())
                    print(line.decode("utf-8", "backslashreplace"))
                else:
                    print("\t".join(map(printable, fields)))
        return []

    return show
