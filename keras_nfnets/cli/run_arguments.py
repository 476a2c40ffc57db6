"""Adds the commands that make and measure runs: `train`, `data`, `evaluate`."""

import argparse

from keras_nfnets.cli.arguments import (
    add,
    add_download,
    add_max_pixels,
    read_size,
)
from keras_nfnets.image_size import size_from
from keras_nfnets.options import OPTIONS


def add_train(commands):
    """Adds `train`, with an option for each row of `OPTIONS`.

    `batch_size` becomes `--batch-size`, and so on. The help shows the default,
    but the parser sets none: only what a user gives reaches the command, which
    for `--resume` compares it with what the run has stored.

    Args:
        commands: What `ArgumentParser.add_subparsers` returned.
    """
    sub = add(
        commands,
        "train",
        "train a network, or resume its training, and fill a run folder",
    )
    sub.add_argument("--out", metavar="RUN", required=True, help="run folder")
    # An option that is not given is absent, so that --resume can tell.
    for name, option in OPTIONS.items():
        default = option.default
        default = "" if default is None else f" (default: {default})"
        sub.add_argument(
            "--" + name.replace("_", "-"),
            type=read_size if option.type is size_from else option.type,
            default=argparse.SUPPRESS,
            help=option.help + default,
        )
    add_download(sub)
    existing = sub.add_mutually_exclusive_group()
    existing.add_argument(
        "--overwrite", action="store_true", help="replace the run in RUN"
    )
    existing.add_argument(
        "--resume", action="store_true", help="continue the run in RUN"
    )


def add_data(commands):
    """Adds `data`, which draws the images of a source as a network sees them.

    Args:
        commands: What `ArgumentParser.add_subparsers` returned.
    """
    sub = add(commands, "data", "draw images as the network sees them")
    sub.add_argument("source", metavar="SOURCE", help=OPTIONS["data"].help)
    sub.add_argument(
        "--show", metavar="FILE", required=True, help="picture to write"
    )
    sub.add_argument(
        "--recipe", default="nfnet_f0", help="augmentation to draw (nfnet_f0)"
    )
    sub.add_argument(
        "--image-size", type=read_size, help=OPTIONS["image_size"].help
    )
    sub.add_argument(
        "--test", action="store_true", help="draw the held-out images instead"
    )
    sub.add_argument(
        "--seed", type=int, default=0, help="seed of what is random (0)"
    )
    add_download(sub)
    add_max_pixels(sub)


def add_evaluate(commands):
    """Adds `evaluate`, which measures a run on the held-out images.

    Args:
        commands: What `ArgumentParser.add_subparsers` returned.
    """
    sub = add(
        commands, "evaluate", "measure a run's model on the held-out images"
    )
    sub.add_argument("run", metavar="RUN", help="folder that train wrote")
