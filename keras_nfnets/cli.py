"""The command line: arguments and calls."""

import argparse
import contextlib
import sys
from dataclasses import replace

import keras
from rich.console import Console
from rich.table import Table

from keras_nfnets.data import (
    draw_grid,
    open_source,
    test_batches,
    train_batches,
)
from keras_nfnets.export import export_saved_model
from keras_nfnets.runs import runner
from keras_nfnets.runs.checkpoints import Terminated
from keras_nfnets.runs.folder import Run
from keras_nfnets.runs.inference import RunClassifier, VariantClassifier
from keras_nfnets.runs.settings import OPTIONS, from_options
from keras_nfnets.variants.complexity import complexity
from keras_nfnets.variants.table import VARIANTS

# Exit statuses: 1 if some image could not be read, 2 for a request that cannot
# be met, 75 if it pays to try again (after SIGTERM; sysexits.h calls it
# EX_TEMPFAIL), 130 after Ctrl-C, as shells have it.
SOME_FAILED, BAD_REQUEST, TERMINATED, INTERRUPTED = 1, 2, 75, 130


def main(arguments=None):
    """Runs one command.

    Args:
        arguments: List of strings. Defaults to `None`, those of the process.

    Returns:
        Integer, the exit status.

    Example:

    >>> main(["summary", "nfnet_f0", "--size", "256"])
    """
    given = vars(_parser().parse_args(arguments))
    command = given.pop("command")
    try:
        return command(**given) or 0
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        _complain(f"error: {error}")
        return BAD_REQUEST
    except Exception as error:
        if not _is_of_tensorflow(error):
            raise
        _complain(f"error: {error.message.partition('Detected at')[0]}")
        return BAD_REQUEST


def train(out, overwrite=False, resume=False, **options):
    """Trains a network, or goes on training it, and fills its run folder."""
    run = Run(out)
    settings = (
        run.stored_settings(options) if resume else from_options(**options)
    )
    go_on = f"keras-nfnets train --out {out} --resume"
    try:
        if runner.train(run, settings, overwrite, resume):
            _report(run)
    except KeyboardInterrupt:
        print()  # ends the line of the progress bar
        _complain(
            f"interrupted; the best model so far is in {run.model}, and "
            f"{go_on} continues after the last whole epoch"
        )
        return INTERRUPTED
    except Terminated:
        print()
        _complain(f"terminated after a checkpoint; {go_on} continues there")
        return TERMINATED


def data(source, show, recipe, image_size=None, test=False, seed=0):
    """Draws what a network will see of some images."""
    settings = from_options(recipe=recipe, image_size=image_size, data=source)
    source = open_source(source)
    count = min(32, source.test_count if test else source.train_count)
    recipe = replace(settings.recipe, batch_size=count)
    batches = (
        test_batches(source, recipe)
        if test
        else train_batches(source, recipe, seed)
    )
    draw_grid(batches, source, show)
    table = Table("training", "held-out", "classes", "skipped")
    table.add_row(
        str(source.train_count),
        str(source.test_count),
        str(len(source.class_names)),
        str(len(source.skipped)),
    )
    Console().print(table)
    print(f"wrote {show}")


def evaluate(run):
    """Measures a run's model on the held-out images."""
    run, config, model = _open(run)
    settings = config["settings"]
    source = open_source(settings.data)
    run.check_source(source)
    batches = test_batches(source, settings.recipe)
    values = model.evaluate(batches, verbose=0, return_dict=True)
    table = Table("held-out images", "accuracy", "top 5", "loss")
    table.add_row(
        str(source.test_count),
        *(f"{values[n]:.4f}" for n in ("accuracy", "top5_accuracy", "loss")),
    )
    Console().print(table)


def predict(paths, variant=None, weights=None, size=None):
    """Prints file, class and probability for every image that can be read."""
    if (variant is None) != (weights is None):
        raise ValueError("--variant and --weights must be given together")
    run, *images = [None, *paths] if variant else paths
    if not images:
        raise ValueError("IMAGE must be given")
    # Where Keras tells of its downloads.
    aside = contextlib.redirect_stdout(sys.stderr)
    with aside:
        classifier = (
            VariantClassifier(variant, weights, size)
            if variant
            else RunClassifier(run)
        )
    failed = 0
    for image in images:
        try:
            with aside:
                name, probability = classifier.classify(image)
            print(f"{image}\t{name}\t{probability:.4f}")
        except ValueError as error:
            failed += 1
            _complain(f"error: {error}")
    return SOME_FAILED if failed else 0


def export(run):
    """Writes a run's model as a SavedModel."""
    run, config, model = _open(run)
    size = config["settings"].recipe.test_size
    export_saved_model(
        model,
        run.saved_model,
        config["mean"],
        config["std"],
        input_shape=(size, size, len(config["mean"])),
    )
    print(f"wrote {run.saved_model}")


def summary(variant, size, classes, channels):
    """Prints what a network holds and does, part by part."""
    parts = complexity(variant, size, classes, channels)
    table = Table("part", "output", title=variant)
    for column in ("blocks", "parameters", "multiply-adds"):
        table.add_column(column, justify="right")
    for part in parts:
        table.add_row(
            part.name,
            f"{part.size} x {part.size} x {part.channels}",
            str(part.blocks or ""),
            f"{part.parameters:,}",
            f"{part.multiply_adds:,}",
        )
    table.add_section()
    table.add_row(
        "total",
        f"of {size or VARIANTS[variant].test_size} px",
        str(sum(part.blocks for part in parts)),
        f"{sum(part.parameters for part in parts):,}",
        f"{sum(part.multiply_adds for part in parts):,}",
    )
    Console().print(table)


def _open(path):
    run = Run(path)
    return run, run.read_config(), keras.models.load_model(run.model)


def _report(run):
    best = max(run.read_history(), key=lambda row: row["val_accuracy"])
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
    Console().print(table)
    print(f"next: keras-nfnets evaluate {run.path}")


def _is_of_tensorflow(error):
    """Whether TensorFlow raised it, such as for want of memory."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow and isinstance(error, tensorflow.errors.OpError)


def _complain(message):
    print("keras-nfnets:", " ".join(message.split()), file=sys.stderr)


def _parser():
    parser = argparse.ArgumentParser(
        "keras-nfnets", description="Normalizer-free networks for Keras 3."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(commands)
    _add_data(commands)
    for command in (evaluate, export):
        sub = _add(commands, command)
        sub.add_argument("run", metavar="RUN", help="folder that train wrote")
    _add_predict(commands)
    sub = _add(commands, summary)
    sub.add_argument("variant", metavar="VARIANT", help="such as nfnet_f0")
    sub.add_argument(
        "--size", type=int, help="side in pixels (default: its test size)"
    )
    sub.add_argument("--classes", type=int, default=1000, help="(1000)")
    sub.add_argument("--channels", type=int, default=3, help="(3)")
    return parser


def _add_train(commands):
    sub = _add(commands, train)
    sub.add_argument("--out", metavar="RUN", required=True, help="run folder")
    # What is not given stays out, so that --resume can tell.
    for name, option in OPTIONS.items():
        default = option.default
        default = "" if default is None else f" (default: {default})"
        sub.add_argument(
            "--" + name.replace("_", "-"),
            type=option.type,
            default=argparse.SUPPRESS,
            help=option.help + default,
        )
    existing = sub.add_mutually_exclusive_group()
    existing.add_argument(
        "--overwrite", action="store_true", help="replace the run in RUN"
    )
    existing.add_argument(
        "--resume", action="store_true", help="go on with the run in RUN"
    )


def _add_data(commands):
    sub = _add(commands, data)
    sub.add_argument("source", metavar="SOURCE", help=OPTIONS["data"].help)
    sub.add_argument(
        "--show", metavar="FILE", required=True, help="picture to write"
    )
    sub.add_argument(
        "--recipe", default="nfnet_f0", help="what is done to images (nfnet_f0)"
    )
    sub.add_argument("--image-size", type=int, help=OPTIONS["image_size"].help)
    sub.add_argument(
        "--test", action="store_true", help="the held-out images instead"
    )
    sub.add_argument("--seed", type=int, default=0, help="(0)")


def _add_predict(commands):
    sub = _add(commands, predict)
    sub.usage = (
        "%(prog)s [-h] RUN IMAGE [IMAGE ...]\n       "
        "%(prog)s --variant VARIANT --weights FILE [--size PIXELS] "
        "IMAGE [IMAGE ...]"
    )
    sub.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="PNG or JPEG files, after the folder that train wrote",
    )
    sub.add_argument("--variant", help="such as nfnet_f0, in place of RUN")
    sub.add_argument(
        "--weights",
        metavar="FILE",
        help="its weights: .weights.h5, .keras, .npz, .safetensors, or "
        "imagenet for the published ones",
    )
    sub.add_argument(
        "--size",
        type=int,
        metavar="PIXELS",
        help="side of the crop (default: the variant's test size)",
    )


def _add(commands, command):
    sub = commands.add_parser(command.__name__, help=command.__doc__)
    sub.set_defaults(command=command)
    return sub
