"""Lists the papers' training settings, one row each.

`RECIPES` maps the name of a network to a `Recipe`. A family starts from a base,
and its rows hold what changes, under named columns, as in `variants.table`.
"""

from dataclasses import replace

from keras_nfnets.checks import unknown_name
from keras_nfnets.options import OTHER_RECIPES
from keras_nfnets.recipes.recipe import Recipe
from keras_nfnets.variants.plan import resolve_variant
from keras_nfnets.variants.table import VARIANTS, Variant


def _rows(base, columns, rows):
    """Returns recipes by name: the base, changed by each row's columns.

    Dropout and image sizes are those of the variant of the same name.
    """
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
# its code only. The paper also reports an F5 of 86.3 top-1 that is trained with
# SAM, as the F6 is.
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

# No paper trains the wider networks on ImageNet alone. They get the recipes of
# the networks of the same depth.
RECIPES |= {f"{name}_plus": recipe for name, recipe in RECIPES.items()}

# Fort et al., 2021 (arXiv 2105.13343): 86.78 top-1 with as many steps.
RECIPES["nfnet_f5_repeated"] = replace(
    RECIPES["nfnet_f5"], sam_rho=RECIPES["nfnet_f6"].sam_rho, repeats=16
)

# Smith et al., 2023 (arXiv 2310.16764) fine-tune these networks on ImageNet,
# after a training on JFT. They state 50 epochs, SAM, stochastic depth, dropout
# and the image sizes. The rest is ours: the learning rate is a tenth of that
# from scratch, SAM is as for the F6, and everything else is as in the network's
# training from scratch.
RECIPES |= {
    name: replace(
        RECIPES[network],
        epochs=50,
        learning_rate=RECIPES[network].learning_rate / 10,
        sam_rho=RECIPES["nfnet_f6"].sam_rho,
        train_size=384,
        test_size=480,
    )
    for name, network in OTHER_RECIPES.items()
    if network and name == f"{network}_finetune"
}

# The families of the first paper (arXiv 2101.08692) are trained without AGC and
# RandAugment.
_FIRST = replace(
    Recipe(),
    batch_size=1024,
    learning_rate=0.4,
    stochastic_depth=0.1,
    clipping=None,
    randaugment_layers=0,
    randaugment_magnitude=0,
)

# From its code, which has no L2 for B6 to B8. They get that of B5.
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

# Its code has no settings for NF-ResNets. These are its settings for ResNets
# with batch normalization, and the NF-ResNet's default stochastic depth.
_RESNET = replace(
    _FIRST,
    epochs=90,
    l2=1e-4,
    ema_decay=None,
    mixup_fraction=0.0,
    cutmix_fraction=0.0,
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

# This package's own recipe, for the 1,797 digits of scikit-learn.
# - Skip gains are not clipped. They start at zero, where AGC lets them move by
#   `clipping * epsilon` times the learning rate in a step. In a run of a few
#   hundred steps the residual branches would stay closed.
# - `clipping` is larger than for batches of 4096, since the papers find that
#   small batches allow more.
# - Digits are not flipped, since a mirrored digit is no digit.
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
    mixup_fraction=0.0,
    cutmix_fraction=0.0,
)

# This package's own recipe to start from trained weights, for photographs and
# any network: a short run at a low rate, with little augmentation. The
# classifier, which is new, learns ten times as fast as the rest.
RECIPES["finetune"] = Recipe(
    epochs=20,
    batch_size=32,
    learning_rate=0.1,
    backbone_multiplier=0.1,
    warmup_epochs=1.0,
    l2=1e-5,
    stochastic_depth=0.1,
    clipping=0.02,
    ema_decay=None,
    crop_area=0.35,
    randaugment_layers=1,
    randaugment_magnitude=5,
    mixup_fraction=0.0,
    cutmix_fraction=0.0,
)


def get(name: str) -> Recipe:
    """Returns the recipe for one of the networks.

    Most are stated in a paper or in its code. The others are taken from the
    nearest network: an F+ from the F of the same depth (the paper trains it on
    another data set), the L2 of NF-RegNet B6 to B8 from B5, and the NF-ResNets
    from the batch-normalized ResNets in the papers' code. NF-ResNets and
    NF-RegNets are not clipped here, as in the first paper. The second paper
    clips NF-ResNets too, which large batches need: `dataclasses.replace(recipe,
    clipping=0.01)`. The recipes `"nfnet_pico"` and `"finetune"` are this
    package's own. The latter is for any network that starts from trained
    weights, see `fitted`. Of those that end in `_finetune`, epochs, SAM and
    image sizes are a paper's.

    Args:
        name: String, a key of `RECIPES`: an NFNet, NF-ResNet or NF-RegNet of
            the papers, `"nfnet_f5_repeated"`, `"nfnet_f0_finetune"` and so on,
            `"nfnet_pico"` or `"finetune"`.

    Returns:
        A `Recipe`.

    Raises:
        ValueError: If there is none of that name.

    Example:

    >>> keras_nfnets.recipes.get("nfnet_f1").learning_rate
    1.6

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Section 4, [Brock et al., 2021](https://arxiv.org/abs/2101.08692),
    Section 6, [Fort et al., 2021](https://arxiv.org/abs/2105.13343), and
    [Smith et al., 2023](https://arxiv.org/abs/2310.16764)
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


def fitted(recipe: Recipe, variant: str | Variant) -> Recipe:
    """Returns a recipe with the image sizes and the dropout of a network.

    Args:
        recipe: `Recipe`, such as `get("finetune")`.
        variant: String, a key of `VARIANTS`, or a `Variant`.

    Returns:
        A `Recipe`.

    Raises:
        ValueError: If there is no such variant.

    Example:

    >>> recipe = keras_nfnets.recipes.get("finetune")
    >>> keras_nfnets.recipes.fitted(recipe, "eca_nfnet_l0").train_size
    224
    """
    row, _ = resolve_variant(variant)
    return replace(
        recipe,
        dropout=row.dropout,
        train_size=row.train_size,
        test_size=row.test_size,
    )


def variant_of(name: str) -> str | None:
    """Returns the network that a recipe is for.

    Args:
        name: String, a key of `RECIPES`.

    Returns:
        A string, a key of `VARIANTS`, or `None` for `"finetune"`, which is for
        any.

    Example:

    >>> keras_nfnets.recipes.variant_of("nfnet_f5_repeated")
    'nfnet_f5'
    """
    return OTHER_RECIPES.get(name, name)
