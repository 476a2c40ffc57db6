"""Runs the commands that use a model: `predict` and `demo`."""

import contextlib
import csv
import io
import json
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
    """Prints file, class and probability for every image that can be read."""
    check_positive_integer(top=top, batch_size=batch_size)
    model, *images = [None, *paths] if variant else paths
    if not images:
        raise ValueError("IMAGE must be given")
    classifier = _open(model, variant, options)
    failed, batch, found = 0, [], []
    show = _shown if format == "json" else _printed(format)
    for path, error in _files(images):
        if error is None:
            try:
                batch.append((path, classifier.read(path)))
            except ValueError as its:
                error = its
        if error is not None:
            failed += 1
            complain(f"error: {error}")
        if len(batch) == batch_size:
            found += show(_named(classifier, batch, top))
            batch = []
    found += show(_named(classifier, batch, top))
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
    """Shows what a network calls what a camera sees, or a film or images."""
    classifier = _open(model, variant, options)
    speed = run(classifier, source, save, not no_window, max_frames, overwrite)
    print(
        f"{speed.frames} frames, {speed.dropped} dropped, "
        f"{speed.fps:.1f} frames per second, "
        f"{speed.latency * 1000:.0f} ms behind"
    )
    if save is not None:
        print(f"wrote {printable(save)}")


def _open(model, variant, options):
    # Where Keras tells of its downloads.
    with contextlib.redirect_stdout(sys.stderr):
        return Classifier(model, variant, **options)


def _files(paths):
    """Yields path and error: the files of folders, and all other paths."""
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


def _named(classifier, batch, top):
    """Returns a path and its classes for every image of a batch."""
    with contextlib.redirect_stdout(sys.stderr):
        rows = classifier.predict([image for _, image in batch])
    return [
        (path, classifier.name(row, top))
        for (path, _), row in zip(batch, rows, strict=True)
    ]


def _shown(rows):
    """Returns rows as JSON has them."""
    return [
        dict(
            file=str(path),
            classes=[dict(name=n, probability=p) for n, p in classes],
        )
        for path, classes in rows
    ]


def _printed(format):
    """Returns a function that prints rows, and returns none of them."""
    if format == "csv":
        print("file,class,probability")

    def show(rows):
        for path, classes in rows:
            for name, probability in classes:
                fields = str(path), name, f"{probability:.4f}"
                if format == "csv":
                    text = io.StringIO()
                    csv.writer(text, lineterminator="").writerow(fields)
                    print(text.getvalue())
                else:
                    print("\t".join(map(printable, fields)))
        return []

    return show
