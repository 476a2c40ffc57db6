"""Plans the blocks of a variant before anything is built.

`block_arguments` is the signal propagation of the papers: it computes `beta`
for every block. `models.nfnet` and `complexity` both build from it.
"""

import math

from keras_nfnets.checks import unknown_name
from keras_nfnets.image_size import Size, sides
from keras_nfnets.variants.table import VARIANTS, Variant

# Stem and stages of every network halve the image five times.
MIN_SIZE = 32


def check_smallest(**arguments: Size) -> None:
    """Raises a ValueError for images that are too small for the networks.

    Args:
        **arguments: Sizes by the names of the arguments.
    """
    for name, size in arguments.items():
        if min(sides(size)) < MIN_SIZE:
            raise ValueError(
                f"`{name}` must be at least {MIN_SIZE} pixels a side. "
                f"Received: {name}={size}"
            )


def resolve_variant(variant: str | Variant) -> tuple[Variant, str]:
    """Returns a variant and its name.

    Args:
        variant: String, a key of `VARIANTS`, or a `Variant`.

    Returns:
        A tuple of the `Variant` and its key; a given `Variant` is called
        `"nfnet"`.

    Raises:
        ValueError: If there is no such key. The message lists near matches.

    Example:

    >>> resolve_variant("nfnet_f0")[0].depths
    (1, 2, 6, 3)
    """
    if isinstance(variant, Variant):
        return variant, "nfnet"
    if variant in VARIANTS:
        return VARIANTS[variant], variant
    raise unknown_name(
        "variant",
        variant,
        "a Variant or the name of one",
        VARIANTS,
        "`keras_nfnets.list_models()`",
    )


def shared_arguments(variant):
    """Returns the arguments that stem, blocks and head have in common.

    Args:
        variant: A `Variant`.
    """
    return dict(
        activation=variant.activation,
        padding=variant.padding,
        epsilon=variant.epsilon,
        epsilon_rule=variant.epsilon_rule,
        gamma_in_kernel=variant.gamma_in_kernel,
    )


def feature_strides(variant: str | Variant) -> dict[str, int]:
    """Returns the stride of the stem's and each stage's feature map.

    A stride of 8 means that a side of the feature map is an eighth of the
    image's.

    Args:
        variant: String, a key of `VARIANTS`, or a `Variant`.

    Returns:
        A dictionary from the keys of `NFNet(variant, features=True)`'s
        outputs to integers, in pixels.

    Raises:
        ValueError: If `variant` is unknown.

    Example:

    >>> keras_nfnets.feature_strides("nfnet_f0")
    {'stem': 4, 'stage1': 4, 'stage2': 8, 'stage3': 16, 'stage4': 32}
    """
    variant, _ = resolve_variant(variant)
    stride = math.prod(variant.stem_strides) * (2 if variant.stem_pool else 1)
    strides = {"stem": stride}
    for stage, own in enumerate(variant.strides):
        stride *= own
        strides[f"stage{stage + 1}"] = stride
    return strides


def block_arguments(variant, stochastic_depth=0.0):
    """Yields the arguments of every `NFBlock` of a network, in order.

    A block computes `h + alpha * f(beta * h)`, where `f` preserves variance. So
    each block raises the variance of the signal by `alpha ** 2`. `beta` is one
    over the standard deviation that is expected at the block's input. The first
    block of a stage projects its shortcut from the scaled input; the expected
    variance behind it is therefore `1 + alpha ** 2`, whatever it was before.

    Args:
        variant: A `Variant`.
        stochastic_depth: Float in [0, 1). Block i of n gets the rate
            `stochastic_depth * i / n`. Defaults to `0.0`.

    Returns:
        A generator of dictionaries.

    Example:

    >>> betas = [a["beta"] for a in block_arguments(VARIANTS["nfnet_f0"])]
    >>> [round(beta, 3) for beta in betas[:4]]
    [1.0, 0.981, 0.981, 0.962]

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Section 2 and Appendix C
    """
    expected_std = 1.0
    index, total = 0, sum(variant.depths)
    for stage, depth in enumerate(variant.depths):
        for block in range(depth):
            expansion = variant.expansions[stage]
            if index == 0 and variant.first_expansion is not None:
                expansion = variant.first_expansion
            yield dict(
                filters=variant.widths[stage],
                strides=variant.strides[stage] if block == 0 else 1,
                expansion=expansion,
                group_width=variant.group_widths[stage],
                kernel_size=variant.kernel_size,
                alpha=variant.alpha,
                beta=1.0 / expected_std,
                attention=variant.attention,
                attention_inside=variant.attention_inside,
                se_ratio=variant.se_ratio,
                two_convs=variant.two_convs,
                big_width=variant.big_widths[stage],
                divisor=variant.divisor,
                shortcut=variant.shortcut,
                use_skip_gain=variant.use_skip_gain,
                stochastic_depth=stochastic_depth * index / total,
                name=f"stage{stage + 1}_block{block}",
                **shared_arguments(variant),
            )
            if block == 0:
                expected_std = 1.0
            expected_std = math.sqrt(expected_std**2 + variant.alpha**2)
            index += 1
