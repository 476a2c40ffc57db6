"""The command line: arguments and calls."""

import argparse
import contextlib
import sys

import keras
from rich.console import Console
from rich.table import Table

from keras_nfnets.agc import AGC
from keras_nfnets.callbacks import Checkpoint, History, Interrupt
from keras_nfnets.complexity import complexity
from keras_nfnets.data import (
    Batches,
    load,
    normalize,
    one_hot,
)
from keras_nfnets.export import export_saved_model
from keras_nfnets.extras import require
from keras_nfnets.inference import RunClassifier, VariantClassifier
from keras_nfnets.models import NFNet
from keras_nfnets.optimizers import SGD, WarmupCosine
from keras_nfnets.runs import Run, Settings
from keras_nfnets.variants import VARIANTS

# Exit statuses: 1 if some image could not be read, 2 for a request that cannot
# be met, 130 after Ctrl-C, as shells have it.
SOME_FAILED, BAD_REQUEST, INTERRUPTED = 1, 2, 130

# The settings that `train` takes as arguments.
OPTIONS = (
    "variant",
    "data",
    "size",
    "epochs",
    "batch_size",
    "learning_rate",
    "clipping",
    "seed",
)


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


def train(out, overwrite=False, resume=False, **given):
    """Trains a network, or goes on training it, and fills its run folder."""
    require("matplotlib.figure")
    run = Run(out)
    settings = run.stored_settings(given) if resume else Settings(**given)
    if not (overwrite or resume):
        run.check_free()
    data = load(settings.data, settings.size)
    batches = _batches(settings, data)
    keras.utils.set_random_seed(settings.seed)
    if resume:
        model = keras.models.load_model(run.last)
    else:
        model = _new_model(settings, data, len(batches))
        run.claim(overwrite)
        run.write_config(settings, data)
    try:
        _fit(model, run, settings, data, batches)
    except KeyboardInterrupt:
        print()  # ends the line of the progress bar
        _complain(
            f"interrupted; the best model so far is in {run.model}, and "
            "train --resume goes on after the last whole epoch"
        )
        return INTERRUPTED
    finally:
        run.draw_curves()
    _report(run)


def evaluate(run):
    """Measures a run's model on the held-out images."""
    run, config, model = _open(run)
    data = load(config["settings"].data, config["settings"].size)
    images = normalize(data.test_images, config["mean"], config["std"])
    targets = one_hot(data.test_labels, len(config["class_names"]))
    values = model.evaluate(images, targets, verbose=0, return_dict=True)
    table = Table("held-out images", "accuracy", "loss")
    table.add_row(
        str(len(images)), f"{values['accuracy']:.4f}", f"{values['loss']:.4f}"
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
    export_saved_model(model, run.saved_model, config["mean"], config["std"])
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


def _batches(settings, data):
    return Batches(
        normalize(data.train_images, data.mean, data.std),
        one_hot(data.train_labels, len(data.class_names)),
        settings.batch_size,
        settings.seed,
    )


def _new_model(settings, data, steps):
    model = NFNet(
        settings.variant,
        input_shape=data.train_images.shape[1:],
        classes=len(data.class_names),
    )
    schedule = WarmupCosine(
        settings.learning_rate,
        settings.warmup_steps(steps),
        settings.epochs * steps,
    )
    model.compile(
        SGD(schedule, settings.momentum, l2=settings.l2),
        keras.losses.CategoricalCrossentropy(
            label_smoothing=settings.label_smoothing
        ),
        metrics=["accuracy"],
        agc=AGC(settings.clipping, settings.epsilon, settings.agc_exclude),
    )
    # So that the file saved before the first step has the momentum in it.
    model.optimizer.build(model.trainable_variables)
    return model


def _fit(model, run, settings, data, batches):
    # What last.keras says of itself counts, not another file.
    epoch = int(model.optimizer.iterations) // len(batches)
    batches.begin(epoch)
    history = History(run, epoch)
    checkpoint = Checkpoint(run, best=history.best("val_accuracy"))
    with Interrupt() as interrupt:
        model.fit(
            batches,
            epochs=settings.epochs,
            initial_epoch=epoch,
            shuffle=False,
            validation_data=(
                normalize(data.test_images, data.mean, data.std),
                one_hot(data.test_labels, len(data.class_names)),
            ),
            callbacks=[history, checkpoint, interrupt],
        )


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
    table.add_row(run.last.name, "the last model, for --resume")
    table.add_row(run.history.name, "every epoch's numbers")
    table.add_row(run.curves.name, "the same, drawn")
    table.add_row(run.config.name, "settings, data and versions")
    Console().print(table)
    print(f"next: keras-nfnets evaluate {run.path}")


def _complain(message):
    print("keras-nfnets:", " ".join(message.split()), file=sys.stderr)


def _parser():
    parser = argparse.ArgumentParser(
        "keras-nfnets", description="Normalizer-free networks for Keras 3."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(commands)
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
    defaults = Settings()
    for name in OPTIONS:
        default = getattr(defaults, name)
        sub.add_argument(
            "--" + name.replace("_", "-"),
            type=type(default),
            default=argparse.SUPPRESS,
            help=f"(default: {default})",
        )
    existing = sub.add_mutually_exclusive_group()
    existing.add_argument(
        "--overwrite", action="store_true", help="replace the run in RUN"
    )
    existing.add_argument(
        "--resume", action="store_true", help="go on with the run in RUN"
    )


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
