"""Runs the commands `train`, `data`, `evaluate` and `export`.

Each function has the name of its command and takes what was parsed as keyword
arguments. It prints what the user asked for and raises what the user did wrong;
`cli.main` makes an exit status of it.
"""

import math
import time
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.table import Table

from keras_nfnets import private_names, recipes
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
from keras_nfnets.image_size import checked_size
from keras_nfnets.options import EXPORTS
from keras_nfnets.runs import Run, finetuning, networks, runner
from keras_nfnets.runs.checkpoints import Terminated
from keras_nfnets.runs.report import print_result
from keras_nfnets.runs.settings import from_options
from keras_nfnets.variants.plan import check_smallest

private_names.check()

# The most images that set the ranges of an int8 file.
CALIBRATION_BATCH, CALIBRATION_BATCHES = 8, 32


def train(out, overwrite=False, resume=False, download=False, **options):
    """Trains a network, or resumes its training, and fills its run folder.

    Args:
        out: String, path of the run folder.
        overwrite: Boolean, whether a run that is there is replaced. Defaults to
            `False`.
        resume: Boolean, whether a run that is there is continued. Defaults to
            `False`.
        download: Boolean, whether data of TensorFlow Datasets are downloaded if
            they are not there. Defaults to `False`.
        **options: Values of `OPTIONS` by name, those that were given. With
            `resume` they must agree with what the run has stored.

    Returns:
        `None`, or the exit status after Ctrl-C or SIGTERM. A line then says how
        to continue.

    Raises:
        ValueError: If an option has a value that it cannot have, or the run
            cannot be continued.
        OSError: If the folder cannot be written, or must not be replaced.

    Example:

    >>> train("runs/digits", variant="nfnet_pico", epochs=3)
    """
    run = Run(out)
    settings = (
        run.stored_settings(options)
        if resume
        else finetuning.settings_of(options)
    )
    go_on = f"keras-nfnets train --out {out} --resume"
    started = time.perf_counter()
    try:
        if runner.train(run, settings, overwrite, resume, download):
            print_result(run, time.perf_counter() - started)
    except KeyboardInterrupt:
        print()  # It ends the line of the progress bar.
        complain(
            f"interrupted; the best model so far is in {run.model}, and "
            f"{go_on} continues after the last whole epoch"
        )
        return INTERRUPTED
    except Terminated:
        print()
        complain(f"terminated after a checkpoint; {go_on} continues there")
        return TERMINATED


def data(source, show, recipe, test=False, download=False, **options):
    """Draws a grid of a source's images as a network sees them.

    Args:
        source: String, such as `"digits"` or `"folder:photos"`.
        show: String, path of the picture to write.
        recipe: String, the name of a recipe, whose augmentation is drawn.
        test: Boolean, whether the held-out images are drawn, without
            augmentation. Defaults to `False`.
        download: Boolean, as for `train`. Defaults to `False`.
        **options: Values of `OPTIONS` by name, such as `image_size`.

    Raises:
        ValueError: If a name is not known or the source has no images.

    Example:

    >>> data("digits", "digits.png", "nfnet_f0", image_size=64, seed=1)
    """
    settings = from_options(
        recipe=recipe,
        variant=recipes.variant_of(recipe) or "nfnet_f0",
        data=source,
        **options,
    )
    source = open_source(source, settings.max_pixels, download)
    count = min(32, source.test_count if test else source.train_count)
    # A batch must hold whole pairs of images and all repeats of an image.
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
    """Prints accuracy and loss of a run's model on the held-out images.

    Args:
        run: String, path of the run folder.

    Raises:
        ValueError: If the folder is no run, or the source of its images has
            changed.

    Example:

    >>> evaluate("runs/digits")
    """
    run, config, model = _open(run)
    settings = config["settings"]
    source = open_source(settings.data, settings.max_pixels)
    run.check_source(source)
    source = finetuning.as_trained(source, run)
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
    """Writes the model of a run, or a variant with weights, as a file.

    Either `run` or both `variant` and `weights` are given.

    Args:
        run: String, path of a run folder. Defaults to `None`.
        variant: String, a key of `VARIANTS`. Defaults to `None`.
        weights: String, a file or `"imagenet"`, as for `NFNet`. Defaults to
            `None`.
        format: String, a key of `EXPORTS`. Defaults to `"saved_model"`.
        file_precision: String, `"float32"`, `"float16"` or `"int8"`. Defaults
            to `"float32"`.
        size: Integer, side in pixels of the images that the file takes, a tuple
            `(height, width)`, or `"any"`. Defaults to `None`, the test size.
        calibrate: String, a source whose held-out images set the ranges of an
            int8 file. Defaults to `None`.
        out: String, the path to write. Defaults to `None`: in the run folder,
            or the variant with the format's suffix.
        overwrite: Boolean, whether what is at the path is replaced. Defaults to
            `False`.
        max_pixels: Integer, the most pixels that an image file may have.
            Defaults to `None`, the limit of the run.

    Raises:
        FileExistsError: If there is something at the path, and `overwrite` is
            false.
        ImportError: If a package that the format needs is not installed.
        ValueError: If the arguments do not go together.

    Example:

    >>> export("runs/digits", format="onnx", file_precision="float16")
    """
    _check_model(run, variant, weights)
    network, settings = _network(run, variant, weights, size)
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
    write(
        network.model,
        path,
        format,
        file_precision,
        size,
        batches,
        overwrite,
        network.mean,
        network.std,
        description,
    )
    print(f"wrote {printable(path)}")


def _check_model(run, variant, weights):
    """Raises a ValueError unless one model is given: a run, or a variant."""
    if (run is None) == (variant is None) or (variant is None) != (
        weights is None
    ):
        raise ValueError(
            "either RUN or both of --variant and --weights must be given. "
            f"Received: RUN={run!r}, --variant={variant!r}, "
            f"--weights={weights!r}"
        )


def _network(run, variant, weights, size):
    """Returns a `Network` whose crop has a size, and the settings to read data.

    Returns:
        A tuple of the `Network` and the `Settings`: those of the run, or those
        of the recipe with the variant's name, or for any network.
    """
    side = None if size == "any" else size
    if variant is not None:
        network = networks.of_variant(variant, weights, side)
        # Not every network has a recipe of its own.
        recipe = variant if variant in recipes.RECIPES else "finetune"
        return network, from_options(recipe=recipe, variant=variant)
    network = networks.of_run(run)
    settings = Run(run).read_config()["settings"]
    if side is not None:
        check_smallest(size=checked_size(size=side))
    crop = Crop.of_recipe(settings.recipe, side)
    description = replace(network.description, crop=crop)
    return replace(network, description=description), settings


def _calibration(name, settings, size, max_pixels):
    """Returns batches of pixels of a source's held-out images.

    They have the values in [0, 255] that an exported file takes, so the
    normalization of the source is undone.
    """
    source = open_source(name, max_pixels or settings.max_pixels)
    recipe = replace(settings.recipe, batch_size=CALIBRATION_BATCH)
    if size != "any":
        recipe = replace(recipe, test_size=size)
    return [
        np.asarray(batch) * np.float32(source.std) + np.float32(source.mean)
        for batch, *_ in test_batches(source, recipe).take(CALIBRATION_BATCHES)
    ]


def _open(path):
    """Returns a run, its configuration and its model."""
    run = Run(path)
    return run, *run.load()
