"""Adds the commands about the table of networks: `list` and `summary`.

They run without Keras, so their functions are in `tables`.
"""

from keras_nfnets.cli.arguments import TABLES, add


def add_list(commands):
    """Adds `list`, which prints a line for every network.

    Args:
        commands: What `ArgumentParser.add_subparsers` returned.
    """
    sub = add(commands, "list", "list the networks", f"{TABLES}:list_networks")
    sub.add_argument(
        "--pretrained",
        action="store_true",
        help="only those with published weights",
    )
    sub.add_argument("--family", help="nfnet, nf_resnet or nf_regnet")


def add_summary(commands):
    """Adds `summary`, which counts a network's parameters.

    Args:
        commands: What `ArgumentParser.add_subparsers` returned.
    """
    sub = add(
        commands,
        "summary",
        "count parameters and multiply-adds of a network's parts",
        f"{TABLES}:summary",
    )
    sub.add_argument(
        "variant", metavar="VARIANT", help="network such as nfnet_f0"
    )
    sub.add_argument(
        "--size", type=int, help="side in pixels (default: its test size)"
    )
    sub.add_argument(
        "--classes", type=int, default=1000, help="number of classes (1000)"
    )
    sub.add_argument(
        "--channels", type=int, default=3, help="channels of the images (3)"
    )
