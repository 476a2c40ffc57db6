"""Parses the command line and runs the command that it names.

`network_arguments`, `run_arguments`, `model_arguments` and `tool_arguments` add
the parsers of the commands. Each parser names the function that runs its
command, as a module and a name (`arguments.add`). The module is imported when
the command runs: `--help`, `list` and `summary` answer without Keras, and a
wrong option is refused before TensorFlow is imported.

To add a command, add its parser in one of these modules, call that function in
`_parser`, and write a function whose arguments have the names of the parser's.
"""

import argparse
import importlib
import os
import sys

from keras_nfnets import __version__
from keras_nfnets.checks import complain
from keras_nfnets.cli.model_arguments import add_demo, add_export, add_predict
from keras_nfnets.cli.network_arguments import add_list, add_summary
from keras_nfnets.cli.run_arguments import add_data, add_evaluate, add_train
from keras_nfnets.cli.status import BAD_REQUEST as BAD_REQUEST
from keras_nfnets.cli.status import INTERRUPTED as INTERRUPTED
from keras_nfnets.cli.status import SOME_FAILED as SOME_FAILED
from keras_nfnets.cli.status import TERMINATED as TERMINATED
from keras_nfnets.cli.tool_arguments import add_convert, add_tpu_compile
from keras_nfnets.options import check_names


def main(arguments=None):
    """Runs one command.

    Args:
        arguments: List of strings, such as `["list", "--pretrained"]`. Defaults
            to `None`, those of the process.

    Returns:
        Integer, the exit status: 0, or one of those in `status`. An error that
        the user can correct is one line on the standard error. An unexpected
        one is raised.

    Raises:
        SystemExit: For `--help`, for `--version` and for arguments that the
            parser does not know, as `argparse` does.

    Example:

    >>> main(["summary", "nfnet_f0", "--size", "256"])
    """
    given = vars(_parser().parse_args(arguments))
    module, name = given.pop("command")
    try:
        check_names(given)
        # Importing Keras takes seconds. Commands that do without do not wait.
        command = getattr(importlib.import_module(module), name)
        status = command(**given) or 0
        sys.stdout.flush()  # A closed pipe shows here at the latest.
        return status
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes once more when it ends, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SOME_FAILED
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        complain(f"error: {error}")
        return BAD_REQUEST
    except Exception as error:
        if not _is_tensorflow_error(error):
            raise
        complain(f"error: {error.message.partition('Detected at')[0]}")
        return BAD_REQUEST


def _is_tensorflow_error(error):
    """Returns whether TensorFlow raised an error, such as a lack of memory."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow and isinstance(error, tensorflow.errors.OpError)


def _parser():
    """Returns the parser of all commands, in the order of the help."""
    parser = argparse.ArgumentParser(
        "keras-nfnets", description="Normalizer-free networks for Keras 3."
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"keras-nfnets {__version__}",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_train(commands)
    add_data(commands)
    add_evaluate(commands)
    add_export(commands)
    add_predict(commands)
    add_demo(commands)
    add_list(commands)
    add_summary(commands)
    add_convert(commands)
    add_tpu_compile(commands)
    return parser
