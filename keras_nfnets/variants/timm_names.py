"""Translates the names of networks between timm's and those of the table.

A name without a suffix is the papers' network in the table, and timm's own in
timm: timm's `nf_resnet50` is `nf_resnet50_timm` here.
"""

from keras_nfnets.variants.table import VARIANTS

# timm adds epsilon to the variance in weight standardization; the papers
# take the larger of both.
OF_TIMM = {
    name.removesuffix("_timm"): name
    for name, variant in VARIANTS.items()
    if variant.epsilon_rule == "add"
}
_TO_TIMM = {ours: theirs for theirs, ours in OF_TIMM.items()}
# Before the names of networks that timm does not have.
PREFIX = "keras_nfnets/"


def architecture_of(variant):
    """Returns the name of a network in a timm configuration.

    Args:
        variant: String, a key of `VARIANTS`.

    Returns:
        String: timm's name, or the key after `"keras_nfnets/"` for a network
        that timm does not have.

    Example:

    >>> architecture_of("nf_resnet50_timm"), architecture_of("nf_resnet50")
    ('nf_resnet50', 'keras_nfnets/nf_resnet50')
    """
    return _TO_TIMM.get(variant, f"{PREFIX}{variant}")


def variant_names():
    """Returns the key of `VARIANTS` for each name that a configuration has."""
    return {architecture_of(name): name for name in VARIANTS}
