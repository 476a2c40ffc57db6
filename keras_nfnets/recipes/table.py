"""Lists the papers' training settings, one row each."""

from dataclasses import replace

from keras_nfnets.checks import unknown_name
from keras_nfnets.recipes.recipe import Recipe
from keras_nfnets.variants.table import VARIANTS


def _rows(base, columns, rows):
    """Returns recipes by name; what the variants say themselves is theirs."""
    return {
        name: replace(
            base,
            dropout=VARIANTS[name].dropout,
            train_size=VARIANTS[name].train_size,
            test_size=VARIANTS[name].test_size,
            **dict(zip(columns, row, strict=True)),
        )
        for name, row in rows.items()
    }


# Brock et al., 2021 (arXiv 2102.06171), Section 4 and Appendix A. The F7 is in
# its code only. The F5 of 86.3 top-1 is trained with SAM as the F6 is.
RECIPES: dict[str, Recipe] = _rows(
    Recipe(),
    ("randaugment_magnitude", "sam_rho"),
    {
        "nfnet_f0": (5, None),
        "nfnet_f1": (10, None),
        "nfnet_f2": (10, None),
        "nfnet_f3": (15, None),
        "nfnet_f4": (15, None),
        "nfnet_f5": (15, None),
        "nfnet_f6": (15, 0.05),
        "nfnet_f7": (15, None),
    },
)

# No paper trains the wider ones on ImageNet alone: those of the same depth.
RECIPES |= {f"{name}_plus": recipe for name, recipe in RECIPES.items()}

# What the families of the first paper (arXiv 2101.08692) do without.
_FIRST = replace(
    Recipe(),
    batch_size=1024,
    learning_rate=0.4,
    stochastic_depth=0.1,
    clipping=None,
    randaugment_layers=0,
    randaugment_magnitude=0,
)

# From its code, which names no L2 for B6 to B8: that of B5.
RECIPES |= _rows(
    replace(_FIRST, minimum_learning_rate=0.001),
    ("l2",),
    {
        "nf_regnet_b0": (5e-5,),
        "nf_regnet_b1": (6e-5,),
        "nf_regnet_b2": (7e-5,),
        "nf_regnet_b3": (8e-5,),
        "nf_regnet_b4": (9e-5,),
        "nf_regnet_b5": (1e-4,),
        "nf_regnet_b6": (1e-4,),
        "nf_regnet_b7": (1e-4,),
        "nf_regnet_b8": (1e-4,),
    },
)

# Its code has no settings of the NF-ResNets' own. These are the ones it trains
# batch-normalized ResNets with, and the NF-ResNet's default stochastic depth.
_RESNET = replace(
    _FIRST,
    epochs=90,
    l2=1e-4,
    ema_decay=None,
    mixup_share=0.0,
    cutmix_share=0.0,
)
RECIPES |= _rows(
    _RESNET,
    (),
    {
        f"nf_resnet{layers}{suffix}": ()
        for suffix in ("", "_se")
        for layers in (26, 50, 101, 152, 200, 288, 600)
    },
)

# Ours, for the 1,797 digits of scikit-learn, in no paper. In a run of a few
# hundred steps the papers' AGC would leave the residual branches closed: a skip
# gain starts at zero, where it may move by `clipping * epsilon` a step. So the
# skip gains are not clipped. `clipping` is larger than for batches of 4096, as
# the papers find that small batches take more. A mirrored digit is none.
RECIPES["nfnet_pico"] = Recipe(
    epochs=15,
    batch_size=64,
    learning_rate=0.1,
    warmup_epochs=2.0,
    dropout=VARIANTS["nfnet_pico"].dropout,
    stochastic_depth=0.0,
    clipping=0.04,
    agc_exclude=("skip_gain/gain$", "head/classifier/kernel$"),
    ema_decay=None,
    train_size=32,
    test_size=32,
    test_margin=0,
    random_crop=False,
    random_flip=False,
    randaugment_layers=0,
    randaugment_magnitude=0,
    mixup_share=0.0,
    cutmix_share=0.0,
)


def get(name: str) -> Recipe:
    """Returns the papers' recipe for one of their networks, or ours for ours.

    What no paper states is taken from the nearest that one does: the F+ from
    the F of the same depth (the paper trains them on another data set), the
    L2 of NF-RegNet B6 to B8 from B5, and the NF-ResNets from what the papers'
    code trains batch-normalized ResNets with. Neither NF-ResNets nor
    NF-RegNets are clipped. The second paper clips NF-ResNets too, which large
    batches need: `dataclasses.replace(recipe, clipping=0.01)`.

    Args:
        name: String, a key of `RECIPES`: an NFNet, NF-ResNet or NF-RegNet of
            the papers, or `"nfnet_pico"`.

    Returns:
        A `Recipe`.

    Raises:
        ValueError: If there is none of that name.

    Example:

    >>> keras_nfnets.recipes.get("nfnet_f1").learning_rate
    1.6

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Section 4, and [Brock et al., 2021](https://arxiv.org/abs/2101.08692),
    Section 6
    """
    if name in RECIPES:
        return RECIPES[name]
    raise unknown_name(
        "name",
        name,
        "the name of a recipe",
        RECIPES,
        "`keras_nfnets.recipes.RECIPES`",
    )
