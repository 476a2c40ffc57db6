"""Runs the commands of the command line."""

import math
import time
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.table import Table

from keras_nfnets import private_names
from keras_nfnets.checks import complain, printable
from keras_nfnets.cli.status import INTERRUPTED, TERMINATED
from keras_nfnets.data import (
    Crop,
    draw_grid,
    open_source,
    test_batches,
    train_batches,
    whole_shards,
)
from keras_nfnets.export import export as write
from keras_nfnets.export.formats import FORMATS
from keras_nfnets.options import EXPORTS
from keras_nfnets.runs import Run, networks, runner
from keras_nfnets.runs.checkpoints import Terminated
from keras_nfnets.runs.report import print_result
from keras_nfnets.runs.settings import from_options

private_names.check()

# Up to so many images set the ranges of an int8 file.
CALIBRATION_BATCH, CALIBRATION_BATCHES = 8, 32


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
    # Pairs and repeats divide a batch.
    divisor = math.lcm(2, settings.recipe.repeats)
    recipe = replace(
        settings.recipe, batch_size=math.ceil(count / divisor) * divisor
    )
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


def export(
    run=None,
    variant=None,
    weights=None,
    format="saved_model",
    file_precision="float32",
    size=None,
    calibrate=None,
    out=None,
    overwrite=False,
    max_pixels=None,
):
    """Writes the model of a run, or a variant with weights, as a file."""
    if (run is None) == (variant is None) or (variant is None) != (
        weights is None
    ):
        raise ValueError(
            "either RUN or both of --variant and --weights must be given"
        )
    network, settings = _to_export(run, variant, weights, size)
    size = network.description.crop.size if size is None else size
    if out is None and variant is None:
        out = Run(run).path / EXPORTS[format]
    path = out or variant + FORMATS[format].suffix
    batches = None
    if calibrate is not None:
        batches = _calibration(calibrate, settings, size, max_pixels)
    description = network.description
    if max_pixels is not None:
        description = replace(description, max_pixels=max_pixels)
    arguments = format, file_precision, size, batches, overwrite
    pixels = network.mean, network.std, description
    write(network.model, path, *arguments, *pixels)
    print(f"wrote {printable(path)}")


def _to_export(run, variant, weights, size):
    """Returns a `Network` with the crop of a size, and settings."""
    side = None if size == "any" else size
    if variant is not None:
        network = networks.of_variant(variant, weights, side)
        return network, from_options(recipe=variant, variant=variant)
    network = networks.of_run(run)
    settings = Run(run).read_config()["settings"]
    crop = Crop.of_recipe(settings.recipe, side)
    description = replace(network.description, crop=crop)
    return replace(network, description=description), settings


def _calibration(name, settings, size, max_pixels):
    """Returns batches of pixels of a source's held-out images."""
    source = open_source(name, max_pixels or settings.max_pixels)
    recipe = replace(settings.recipe, batch_size=CALIBRATION_BATCH)
    if size != "any":
        recipe = replace(recipe, test_size=size)
    return [
        np.asarray(batch) * np.float32(source.std) + np.float32(source.mean)
        for batch, *_ in test_batches(source, recipe).take(CALIBRATION_BATCHES)
    ]


def _open(path):
    run = Run(path)
    return run, *run.load()
