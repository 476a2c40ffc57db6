"""Lists the names of networks, by family and by what is published."""

from keras_nfnets.checks import near_matches
from keras_nfnets.variants.published import SOURCES
from keras_nfnets.variants.table import VARIANTS


def list_models(
    pretrained: bool = False, family: str | None = None
) -> list[str]:
    """Returns the names that `NFNet` takes, in the order of the table.

    Args:
        pretrained: Boolean, whether only variants with published weights are
            listed. Defaults to `False`.
        family: String, `"nfnet"`, `"nf_resnet"` or `"nf_regnet"`, to list one
            family. Defaults to `None`, all of them.

    Returns:
        A list of strings, keys of `VARIANTS`.

    Raises:
        ValueError: If there is no such family, or `pretrained` is no boolean.

    Example:

    >>> keras_nfnets.list_models(pretrained=True, family="nf_regnet")
    ['nf_regnet_b1_timm']
    """
    if not isinstance(pretrained, bool):
        raise ValueError(
            "`pretrained` must be a boolean. "
            f"Received: pretrained={pretrained!r}"
        )
    families = list(dict.fromkeys(v.family for v in VARIANTS.values()))
    if family is not None and family not in families:
        raise ValueError(
            f"`family` must be one of {families}. "
            f"{near_matches(family, families)}Received: family={family!r}"
        )
    return [
        name
        for name, variant in VARIANTS.items()
        if family in (None, variant.family)
        and (name in SOURCES or not pretrained)
    ]
