"""Adds the commands that use a model: `export`, `predict` and `demo`.

A model is the folder of a run, an exported file (not for `export`), or a
variant with weights.
"""

from keras_nfnets.cli.arguments import (
    USING,
    add,
    add_max_pixels,
    add_runtime,
    add_variant,
    read_size,
)
from keras_nfnets.options import EXPORT_PRECISIONS, EXPORTS, OPTIONS


def add_export(commands):
    """Adds `export`, with its formats and precisions.

    Not every format has every precision; `export` refuses a pair that does not
    exist.

    Args:
        commands: What `ArgumentParser.add_subparsers` returned.
    """
    sub = add(commands, "export", "write a model for another runtime")
    _add_model(sub)
    sub.add_argument(
        "--format",
        choices=EXPORTS,
        default="saved_model",
        help="kind of file (saved_model)",
    )
    sub.add_argument(
        "--precision",
        # `check_names` takes `precision` for that of training.
        dest="file_precision",
        choices=EXPORT_PRECISIONS,
        default="float32",
        help="precision of the file (float32)",
    )
    sub.add_argument(
        "--size",
        type=_size,
        metavar="PIXELS|HEIGHTxWIDTH|any",
        help="size of the images that it takes (default: the test size)",
    )
    sub.add_argument(
        "--calibrate",
        metavar="SOURCE",
        help="held-out images that set the ranges of an int8 file: "
        + OPTIONS["data"].help,
    )
    sub.add_argument(
        "--out",
        metavar="PATH",
        help="path to write (default: in RUN, or VARIANT and a suffix)",
    )
    sub.add_argument(
        "--overwrite", action="store_true", help="replace what is at PATH"
    )
    add_max_pixels(sub)


def _add_model(sub):
    """Adds the run to export, or the variant in its place."""
    sub.add_argument(
        "run", metavar="RUN", nargs="?", help="folder that train wrote"
    )
    add_variant(sub)


def _size(text):
    """Returns the argument of `--size`: `"any"`, or a size."""
    return text if text == "any" else read_size(text)


def add_predict(commands):
    """Adds `predict`, which names the classes of image files.

    Its first path is a model unless `--variant` is given. `argparse` cannot say
    so, hence the usage is written out.

    Args:
        commands: What `ArgumentParser.add_subparsers` returned.
    """
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
        type=read_size,
        metavar="PIXELS",
        help="side of the crop, or HEIGHTxWIDTH (default: the variant's test "
        "size)",
    )
    _add_output(sub)
    add_runtime(sub)
    add_max_pixels(sub)


def _add_output(sub):
    """Adds how many classes are printed, in which format, and the batch."""
    sub.add_argument(
        "--top", type=int, default=1, help="how many classes to print (1)"
    )
    sub.add_argument(
        "--format",
        choices=("table", "csv", "json"),
        default="table",
        help="table (fields between tabs), csv or json (table)",
    )
    sub.add_argument(
        "--batch-size",
        dest="batch_size",
        type=int,
        default=8,
        help="images in one step of the network (8)",
    )


def add_demo(commands):
    """Adds `demo`, which classifies the frames of a camera or a video.

    Args:
        commands: What `ArgumentParser.add_subparsers` returned.
    """
    sub = add(
        commands,
        "demo",
        "show the classes of what a camera sees",
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
    sub.add_argument(
        "--size",
        type=read_size,
        help="side of the crop in pixels, or HEIGHTxWIDTH",
    )
    add_runtime(sub)
    sub.add_argument(
        "--save", metavar="FILE", help="film to write: .mp4 or .avi"
    )
    sub.add_argument(
        "--overwrite", action="store_true", help="replace the film at FILE"
    )
    sub.add_argument("--no-window", action="store_true", help="open no window")
    sub.add_argument(
        "--max-frames", type=int, help="end after this number of frames"
    )
