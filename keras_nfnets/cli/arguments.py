"""Arguments that several commands share, and those of `predict` and `demo`."""

import argparse

from keras_nfnets.options import OPTIONS, RUNTIMES

COMMANDS, USING = "keras_nfnets.cli.commands", "keras_nfnets.cli.using"


def add_variant(sub):
    """Adds a variant and its weights, in place of a run."""
    sub.add_argument("--variant", help="such as nfnet_f0, in place of RUN")
    sub.add_argument(
        "--weights",
        metavar="FILE",
        help="its weights: .weights.h5, .keras, .npz, .safetensors, or "
        "imagenet for the published ones",
    )


def add_predict(commands):
    """Adds the command `predict`."""
    sub = add(
        commands,
        "predict",
        "print file, class and probability for every image that can be read",
        f"{USING}:predict",
    )
    sub.usage = (
        "%(prog)s [-h] RUN_OR_FILE IMAGE [IMAGE ...]\n       "
        "%(prog)s --variant VARIANT --weights FILE [--size PIXELS] "
        "IMAGE [IMAGE ...]"
    )
    sub.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="PNG or JPEG files and folders of such, after the folder that "
        "train wrote or what export wrote",
    )
    add_variant(sub)
    sub.add_argument(
        "--size",
        type=int,
        metavar="PIXELS",
        help="side of the crop (default: the variant's test size)",
    )
    _add_output(sub)
    add_runtime(sub)
    add_max_pixels(sub)


def _add_output(sub):
    """Adds how many classes are printed, and how."""
    sub.add_argument(
        "--top", type=int, default=1, help="how many classes to print (1)"
    )
    sub.add_argument(
        "--format",
        choices=("table", "csv", "json"),
        default="table",
        help="lines with tabs, or csv or json (table)",
    )
    sub.add_argument(
        "--batch-size",
        dest="batch_size",
        type=int,
        default=8,
        help="images at once (8)",
    )


def add_demo(commands):
    """Adds the command `demo`."""
    sub = add(
        commands,
        "demo",
        "show what a network calls what a camera sees",
        f"{USING}:demo",
    )
    sub.add_argument(
        "--source",
        default="0",
        help="number of a camera, rtsp://..., video, image or folder (0)",
    )
    sub.add_argument(
        "--model",
        metavar="RUN_OR_FILE",
        help="folder that train wrote, or what export wrote",
    )
    add_variant(sub)
    sub.add_argument("--size", type=int, help="as for predict")
    add_runtime(sub)
    sub.add_argument(
        "--save", metavar="FILE", help="film to write: .mp4 or .avi"
    )
    sub.add_argument(
        "--overwrite", action="store_true", help="replace the film at FILE"
    )
    sub.add_argument("--no-window", action="store_true", help="show nothing")
    sub.add_argument("--max-frames", type=int, help="end after so many")


def add_runtime(sub):
    """Adds what runs an exported file."""
    sub.add_argument(
        "--runtime",
        choices=RUNTIMES,
        help="what runs it (default: Keras for RUN, else by the file)",
    )


def add_max_pixels(sub):
    """Adds the limit on the pixels of an image file."""
    sub.add_argument(
        "--max-pixels",
        type=int,
        default=argparse.SUPPRESS,
        help=OPTIONS["max_pixels"].help,
    )


def add(commands, name, text, command=None):
    """Adds a command; returns its parser."""
    sub = commands.add_parser(name, help=text, description=text)
    module, _, function = (command or f"{COMMANDS}:{name}").partition(":")
    sub.set_defaults(command=(module, function))
    return sub
