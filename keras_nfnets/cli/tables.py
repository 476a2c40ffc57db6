"""Runs `list` and `summary`, which print tables of the networks.

Both count from the rows of `VARIANTS` and import neither Keras nor a backend.
"""

from rich.console import Console
from rich.table import Table

from keras_nfnets.variants.complexity import complexity
from keras_nfnets.variants.listing import list_models
from keras_nfnets.variants.plan import resolve_variant
from keras_nfnets.variants.published import TOP_1, published_by
from keras_nfnets.variants.table import VARIANTS


def list_networks(pretrained, family):
    """Prints a line for every network of the table.

    Args:
        pretrained: Boolean, whether only networks with published weights are
            listed.
        family: String, `"nfnet"`, `"nf_resnet"` or `"nf_regnet"`, or `None` for
            all.

    Raises:
        ValueError: If the family is not known.

    Example:

    >>> list_networks(pretrained=True, family="nf_regnet")
    """
    table = Table("family")
    table.add_column("variant", no_wrap=True)
    for column in ("parameters", "train / test px", "top-1", "weights"):
        table.add_column(column, justify="right")
    for name in list_models(pretrained, family):
        variant = VARIANTS[name]
        parameters = sum(part.parameters for part in complexity(name))
        table.add_row(
            variant.family,
            name,
            f"{parameters / 1e6:.2f} M",
            f"{variant.train_size} / {variant.test_size}",
            TOP_1.get(name, ""),
            published_by(name) or "",
        )
    Console().print(table)


def summary(variant, size, classes, channels):
    """Prints the outputs, parameters and multiply-adds of a network's parts.

    Args:
        variant: String, a key of `VARIANTS`.
        size: Integer, side of the image in pixels, or `None` for the variant's
            test size.
        classes: Integer, number of classes.
        channels: Integer, channels of the image.

    Raises:
        ValueError: If the variant is not known, the size is below the smallest
            that networks take, or a number is not a positive integer.

    Example:

    >>> summary("nfnet_f0", size=256, classes=1000, channels=3)
    """
    parts = complexity(variant, size, classes, channels)
    table = Table("part", "output", title=variant)
    for column in ("blocks", "parameters", "multiply-adds"):
        table.add_column(column, justify="right")
    for part in parts:
        table.add_row(
            part.name,
            f"{part.size} x {part.size} x {part.channels}",
            str(part.blocks or ""),
            f"{part.parameters:,}",
            f"{part.multiply_adds:,}",
        )
    table.add_section()
    table.add_row(
        "total",
        f"of {size or resolve_variant(variant)[0].test_size} px",
        str(sum(part.blocks for part in parts)),
        f"{sum(part.parameters for part in parts):,}",
        f"{sum(part.multiply_adds for part in parts):,}",
    )
    Console().print(table)
