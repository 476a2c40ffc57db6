"""Adds the commands that prepare: `convert` and `tpu-compile`."""

from keras_nfnets.cli.arguments import add
from keras_nfnets.tpu.chips import BATCH_MULTIPLE


def add_convert(commands):
    """Adds `convert`, which translates weight files.

    Args:
        commands: What `ArgumentParser.add_subparsers` returned.
    """
    sub = add(
        commands,
        "convert",
        "convert weights between the papers' files, timm's and ours",
        "keras_nfnets.cli.convert:convert",
    )
    sub.add_argument(
        "source",
        metavar="SOURCE",
        help=".npz (the papers'), .safetensors, .pth or .bin (timm's), "
        ".weights.h5 or .keras (ours); no file is unpickled",
    )
    sub.add_argument("destination", metavar="FILE", help="file to write")
    sub.add_argument(
        "--variant", required=True, help="network such as nfnet_f0"
    )
    sub.add_argument(
        "--to",
        choices=("keras", "timm", "haiku"),
        default="keras",
        help="names and format of FILE (keras)",
    )
    sub.add_argument(
        "--root",
        choices=("NFNet", "NF_ResNet", "NF_RegNet"),
        default="NFNet",
        help="the network's name in a file of the papers (NFNet)",
    )


def add_tpu_compile(commands):
    """Adds `tpu-compile`, which tells whether a step fits into a TPU.

    Args:
        commands: What `ArgumentParser.add_subparsers` returned.
    """
    sub = add(
        commands,
        "tpu-compile",
        "compile a network's step for a TPU that is not there: does it fit",
        "keras_nfnets.cli.tpu:tpu_compile",
    )
    sub.epilog = (
        "What is compiled is what fit runs: forward and backward pass, AGC, "
        "SGD with Nesterov momentum and L2, EMA. The compiler is that of the "
        "libtpu wheel. It takes half a minute for a small network and minutes "
        "for a large one. The exit status is 0 if the step fits, 1 if not, 2 "
        "if it cannot be tried."
    )
    option = sub.add_argument
    option("variant", metavar="VARIANT", help="network such as nfnet_f0")
    option("--topology", default="v5e:1x1", help="chip and shape (v5e:1x1)")
    option("--batch", type=int, default=32, help="images on all chips (32)")
    option("--size", type=int, help="pixels (default: the variant's)")
    option(
        "--precision",
        choices=("bfloat16", "float32"),
        default="bfloat16",
        help="precision of the layers (bfloat16)",
    )
    option(
        "--backend",
        choices=("jax", "tensorflow"),
        default="jax",
        help="backend of Keras (jax)",
    )
    option("--inference", action="store_true", help="what predict runs")
    option("--remat", action="store_true", help="NFNet(..., remat=True)")
    state = "list what the arguments hold: weights, momentum, EMA, batch"
    option("--optimizer-state", action="store_true", help=state)
    search = f"search for it in steps of {BATCH_MULTIPLE} on each device"
    option("--largest-batch", action="store_true", help=search)
