"""Adds the arguments that several commands share.

Every function here gets a parser of one command and adds to it. The values
reach the function of the command as keyword arguments.
"""

import argparse

from keras_nfnets.image_size import size_from
from keras_nfnets.options import OPTIONS, RUNTIMES

# The modules of the commands. Those of TABLES need neither Keras nor a backend.
COMMANDS = "keras_nfnets.cli.commands"
TABLES = "keras_nfnets.cli.tables"
USING = "keras_nfnets.cli.using"


def add(commands, name, text, command=None):
    """Adds a command.

    Args:
        commands: What `ArgumentParser.add_subparsers` returned.
        name: String, the name of the command.
        text: String, its help, one line that starts with a verb.
        command: String, `"module:function"`, what runs it. Defaults to `None`,
            the function of that name in `COMMANDS`.

    Returns:
        An `argparse.ArgumentParser`, to add arguments to. After parsing,
        `command` is a tuple of the module's and the function's name.

    Example:

    >>> parser = argparse.ArgumentParser()
    >>> sub = add(parser.add_subparsers(), "evaluate", "measure a run's model")
    >>> parser.parse_args(["evaluate"]).command
    ('keras_nfnets.cli.commands', 'evaluate')
    """
    sub = commands.add_parser(name, help=text, description=text)
    module, _, function = (command or f"{COMMANDS}:{name}").partition(":")
    sub.set_defaults(command=(module, function))
    return sub


def read_size(text):
    """Returns the size of images that an argument names.

    Args:
        text: String, see `size_from`.

    Raises:
        argparse.ArgumentTypeError: If it is no size. The parser shows the
            message, where it would show that of a ValueError as "invalid".
    """
    try:
        return size_from(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be PIXELS or HEIGHTxWIDTH. Received: {text!r}"
        ) from None


def add_variant(sub):
    """Adds `--variant` and `--weights`, which stand in place of a run.

    Args:
        sub: The parser of a command.
    """
    sub.add_argument(
        "--variant", help="network such as nfnet_f0, in place of RUN"
    )
    sub.add_argument(
        "--weights",
        metavar="FILE",
        help="its weights: .weights.h5, .keras, .npz, .safetensors, or "
        "imagenet for the published ones",
    )


def add_runtime(sub):
    """Adds `--runtime`, the runtime of an exported file.

    Args:
        sub: The parser of a command.
    """
    sub.add_argument(
        "--runtime",
        choices=RUNTIMES,
        help="runtime of the model (default: Keras for RUN, else by the file)",
    )


def add_max_pixels(sub):
    """Adds `--max-pixels`, the limit on the pixels of an image file.

    It has no default here. The command takes the limit of the run or of
    `keras_nfnets.options`.

    Args:
        sub: The parser of a command.
    """
    sub.add_argument(
        "--max-pixels",
        type=int,
        default=argparse.SUPPRESS,
        help=OPTIONS["max_pixels"].help,
    )


def add_download(sub):
    """Adds `--download`, for data that are not on this machine.

    Args:
        sub: The parser of a command.
    """
    sub.add_argument(
        "--download",
        action="store_true",
        help="download and prepare tfds:NAME if it is not there",
    )
