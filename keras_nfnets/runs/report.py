"""Prints what a run will do, and what it did.

The command line shows both as tables: `print_plan` before a training, and
`print_result` after it.
"""

import statistics
import sys

import keras
from rich.console import Console
from rich.table import Table

from keras_nfnets.callbacks.progress import duration
from keras_nfnets.image_size import shown

# `getrusage` counts bytes on macOS, and units of 1024 bytes elsewhere.
KIBIBYTE = 1 if sys.platform == "darwin" else 1024


def print_plan(settings, source, model, steps_per_epoch, devices):
    """Prints a table of what a training run will do.

    Args:
        settings: `keras_nfnets.runs.Settings`.
        source: `keras_nfnets.data.Source`.
        model: The Keras model that is trained.
        steps_per_epoch: Integer, batches per epoch.
        devices: `keras_nfnets.distribution.Devices`.
    """
    recipe, backend = settings.recipe, keras.backend.backend()
    rows = {
        "network": f"{settings.variant}, {model.count_params():,} parameters",
        "images": f"{source.train_count:,} for training, "
        f"{source.test_count:,} held out, {len(source.class_names)} classes, "
        f"{shown(recipe.train_size)} px ({shown(recipe.test_size)} px for "
        "testing)",
        "steps": f"{_epochs(recipe.epochs)} of {steps_per_epoch:,} batches "
        f"of {recipe.batch_size} images",
        "device": f"{devices.replicas} x {devices.kind} on {backend}",
        "precision": settings.precision,
    }
    if settings.weights is not None:
        rows["weights"] = f"{settings.weights}, with a new classifier"
    if settings.freeze_epochs:
        epochs = _epochs(settings.freeze_epochs)
        rows["frozen"] = f"all but the classifier for {epochs}"
    table = Table("training", settings.recipe_name, title_justify="left")
    for row in rows.items():
        table.add_row(*row)
    Console().print(table)


def _epochs(count):
    """Returns a number of epochs in words."""
    return f"{count} epoch{'' if count == 1 else 's'}"


def print_result(run, seconds):
    """Prints a table of the files that a run wrote, and what it took.

    Args:
        run: `keras_nfnets.runs.Run`, with a history of at least one epoch.
        seconds: Float, how long this process trained.

    Raises:
        ValueError: If the history has no accuracies of held-out images.
    """
    rows = run.read_history()
    if not all("val_accuracy" in row for row in rows):
        raise ValueError(
            f"{run.history} must have a column `val_accuracy`. "
            f"Received: columns {sorted(rows[0])}"
        )
    best = max(rows, key=lambda row: row["val_accuracy"])
    table = Table("file", "what it holds", title=str(run.path))
    table.add_row(
        run.model.name,
        f"the best model: {best['val_accuracy']:.4f} of the held-out images "
        f"right after epoch {best['epoch']}",
    )
    table.add_row(run.checkpoints.path.name, "for --resume")
    table.add_row(run.history.name, "every epoch's numbers")
    table.add_row(run.curves.name, "the same, drawn")
    table.add_row(run.logs.name, "the same, for TensorBoard")
    table.add_row(run.config.name, "settings, data and versions")
    table.add_section()
    table.add_row("time", duration(seconds))
    speed = "images_per_second"
    rates = [row[speed] for row in rows if speed in row]
    if rates:
        rate = statistics.median(rates)
        table.add_row("speed", f"{rate:,.0f} images per second")
    memory = peak_memory()
    if memory is not None:
        table.add_row("peak memory", f"{memory / 1e9:.2f} GB of this machine's")
    Console().print(table)
    print(f"next: keras-nfnets evaluate {run.path}")


def peak_memory():
    """Returns the most memory that this process held at once, in bytes.

    The memory of an accelerator is not included. It is `None` on Windows.

    Example:

    >>> f"{peak_memory() / 1e9:.1f} GB"
    """
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIBIBYTE
