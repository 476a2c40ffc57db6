"""Parses the command line; what a command needs is imported when it runs."""

import argparse
import importlib
import sys

from keras_nfnets import __version__
from keras_nfnets.checks import complain
from keras_nfnets.cli.arguments import (
    add,
    add_demo,
    add_max_pixels,
    add_predict,
    add_variant,
)
from keras_nfnets.cli.status import BAD_REQUEST as BAD_REQUEST
from keras_nfnets.cli.status import INTERRUPTED as INTERRUPTED
from keras_nfnets.cli.status import SOME_FAILED as SOME_FAILED
from keras_nfnets.cli.status import TERMINATED as TERMINATED
from keras_nfnets.options import (
    EXPORT_PRECISIONS,
    EXPORTS,
    OPTIONS,
    check_names,
)

# The module of the commands that need neither Keras nor a backend.
TABLES = "keras_nfnets.cli.tables"


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
    module, name = given.pop("command")
    try:
        check_names(given)
        # TensorFlow takes seconds to import: only where it has to be there.
        command = getattr(importlib.import_module(module), name)
        return command(**given) or 0
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        complain(f"error: {error}")
        return BAD_REQUEST
    except Exception as error:
        if not _is_of_tensorflow(error):
            raise
        complain(f"error: {error.message.partition('Detected at')[0]}")
        return BAD_REQUEST


def _is_of_tensorflow(error):
    """Whether TensorFlow raised it, such as for want of memory."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow and isinstance(error, tensorflow.errors.OpError)


def _parser():
    """Returns the parser of all commands."""
    parser = argparse.ArgumentParser(
        "keras-nfnets", description="Normalizer-free networks for Keras 3."
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"keras-nfnets {__version__}",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(commands)
    _add_data(commands)
    sub = add(
        commands, "evaluate", "measure a run's model on the held-out images"
    )
    sub.add_argument("run", metavar="RUN", help="folder that train wrote")
    _add_export(commands)
    add_predict(commands)
    add_demo(commands)
    _add_list(commands)
    _add_summary(commands)
    return parser


def _add_list(commands):
    sub = add(commands, "list", "list the networks", f"{TABLES}:list_networks")
    sub.add_argument(
        "--pretrained",
        action="store_true",
        help="only those with published weights",
    )
    sub.add_argument("--family", help="nfnet, nf_resnet or nf_regnet")


def _add_summary(commands):
    """Adds `summary`, which counts a network's parameters."""
    sub = add(
        commands,
        "summary",
        "print what a network holds and does, part by part",
        f"{TABLES}:summary",
    )
    sub.add_argument("variant", metavar="VARIANT", help="such as nfnet_f0")
    sub.add_argument(
        "--size", type=int, help="side in pixels (default: its test size)"
    )
    sub.add_argument("--classes", type=int, default=1000, help="(1000)")
    sub.add_argument("--channels", type=int, default=3, help="(3)")


def _add_train(commands):
    """Adds `train`, with an option for each setting of a run."""
    sub = add(
        commands, "train", "train a network, or go on, and fill a run folder"
    )
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
    """Adds `data`, which draws a source's images."""
    sub = add(commands, "data", "draw what a network will see of some images")
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
    add_max_pixels(sub)


def _add_export(commands):
    """Adds `export`, with formats and precisions."""
    sub = add(commands, "export", "write a model for another runtime")
    _add_model(sub)
    sub.add_argument(
        "--format",
        choices=EXPORTS,
        default="saved_model",
        help="(saved_model)",
    )
    sub.add_argument(
        "--precision",
        # Not that of training, which has other names.
        dest="file_precision",
        choices=EXPORT_PRECISIONS,
        default="float32",
        help="of what is written (float32)",
    )
    sub.add_argument(
        "--size",
        type=_size,
        metavar="PIXELS|any",
        help="side of the images that it takes (default: the test size)",
    )
    sub.add_argument(
        "--calibrate",
        metavar="SOURCE",
        help="for int8, whose held-out images are looked at: "
        + OPTIONS["data"].help,
    )
    sub.add_argument(
        "--out",
        metavar="PATH",
        help="what to write (default: in RUN; VARIANT with its suffix)",
    )
    sub.add_argument(
        "--overwrite", action="store_true", help="replace what is at PATH"
    )
    add_max_pixels(sub)


def _size(text):
    return text if text == "any" else int(text)


def _add_model(sub):
    sub.add_argument(
        "run", metavar="RUN", nargs="?", help="folder that train wrote"
    )
    add_variant(sub)
