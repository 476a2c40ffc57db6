"""Runs the commands of the command line."""

import contextlib
import sys
import time
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from keras_nfnets import private_names
from keras_nfnets.checks import complain, printable
from keras_nfnets.cli.status import INTERRUPTED, SOME_FAILED, TERMINATED
from keras_nfnets.data import (
    draw_grid,
    open_source,
    test_batches,
    train_batches,
    whole_shards,
)
from keras_nfnets.data.crop import Crop
from keras_nfnets.export import export_saved_model
from keras_nfnets.runs import Run, RunClassifier, VariantClassifier, runner
from keras_nfnets.runs.checkpoints import Terminated
from keras_nfnets.runs.report import print_result
from keras_nfnets.runs.settings import from_options

private_names.check()


def train(out, overwrite=False, resume=False, **options):
    """Trains a network, or goes on training it, and fills its run folder."""
    run = Run(out)
    settings = (
        run.stored_settings(options) if resume else from_options(**options)
    )
    go_on = f"keras-nfnets train --out {out} --resume"
    started = time.perf_counter()
    try:
        if runner.train(run, settings, overwrite, resume):
            print_result(run, time.perf_counter() - started)
    except KeyboardInterrupt:
        print()  # ends the line of the progress bar
        complain(
            f"interrupted; the best model so far is in {run.model}, and "
            f"{go_on} continues after the last whole epoch"
        )
        return INTERRUPTED
    except Terminated:
        print()
        complain(f"terminated after a checkpoint; {go_on} continues there")
        return TERMINATED


def data(source, show, recipe, test=False, **options):
    """Draws what a network will see of some images."""
    settings = from_options(recipe=recipe, data=source, **options)
    source = open_source(source, settings.max_pixels)
    count = min(32, source.test_count if test else source.train_count)
    recipe = replace(settings.recipe, batch_size=count)
    batches = (
        test_batches(source, recipe)
        if test
        else train_batches(source, recipe, settings.seed)
    )
    with whole_shards(source):
        draw_grid(batches, source, show)
    table = Table("training", "held-out", "classes", "skipped")
    table.add_row(
        str(source.train_count),
        str(source.test_count),
        str(len(source.class_names)),
        str(len(source.skipped)),
    )
    Console().print(table)
    print(f"wrote {printable(show)}")


def evaluate(run):
    """Measures a run's model on the held-out images."""
    run, config, model = _open(run)
    settings = config["settings"]
    source = open_source(settings.data, settings.max_pixels)
    run.check_source(source)
    batches = test_batches(source, settings.recipe)
    with whole_shards(source):
        values = model.evaluate(batches, verbose=0, return_dict=True)
    table = Table("held-out images", "accuracy", "top 5", "loss")
    table.add_row(
        str(source.test_count),
        *(f"{values[n]:.4f}" for n in ("accuracy", "top5_accuracy", "loss")),
    )
    Console().print(table)


def predict(paths, variant=None, weights=None, size=None, max_pixels=None):
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
            VariantClassifier(variant, weights, size, max_pixels)
            if variant
            else RunClassifier(run, max_pixels)
        )
    failed = 0
    for image in images:
        try:
            with aside:
                name, probability = classifier.classify(image)
            line = printable(image), printable(name), f"{probability:.4f}"
            print("\t".join(line))
        except ValueError as error:
            failed += 1
            complain(f"error: {error}")
    return SOME_FAILED if failed else 0


def export(run):
    """Writes a run's model as a SavedModel."""
    run, config, model = _open(run)
    settings = config["settings"]
    size = settings.recipe.test_size
    export_saved_model(
        model,
        run.saved_model,
        config["mean"],
        config["std"],
        input_shape=(size, size, len(config["mean"])),
        class_names=config["class_names"],
        crop=Crop.of_recipe(settings.recipe),
        max_pixels=settings.max_pixels,
    )
    print(f"wrote {printable(run.saved_model)}")


def _open(path):
    run = Run(path)
    return run, *run.load()
