"""Lists published results and weights of the networks.

`TOP_1` has the published accuracies, and `SOURCES` the addresses of weight
files.
"""

from dataclasses import dataclass

# Top-1 on ImageNet at the test size, in percent, as published.
TOP_1 = {
    "nfnet_f0": "83.6",
    "nfnet_f1": "84.7",
    "nfnet_f2": "85.1",
    "nfnet_f3": "85.7",
    "nfnet_f4": "85.9",
    "nfnet_f5": "86.0",
    "nfnet_f6": "86.5 (with SAM)",
    "dm_nfnet_f0": "83.468",
    "dm_nfnet_f1": "84.700",
    "dm_nfnet_f2": "85.184",
    "dm_nfnet_f3": "85.676",
    "dm_nfnet_f4": "85.838",
    "dm_nfnet_f5": "86.102",
    "dm_nfnet_f6": "86.364",
    "nfnet_l0": "82.766",
    "eca_nfnet_l0": "82.590",
    "eca_nfnet_l1": "84.062",
    "eca_nfnet_l2": "84.710",
    "nf_resnet50_timm": "80.658",
    "nf_regnet_b1_timm": "79.368",
    "test_nfnet": "47.634",
}


@dataclass(frozen=True)
class Source:
    """Describes a published weight file.

    Args:
        url: String, its address.
        file: String, its name after the download.
        md5: String, its checksum. Defaults to `None`, where none is known.

    Example:

    >>> keras_nfnets.published.SOURCES["nfnet_f0"].file
    'F0_haiku.npz'
    """

    url: str
    file: str
    md5: str | None = None


# The addresses are from the papers' repository. The checksums are from jam,
# another library that fetches the files.
SOURCES = {
    f"nfnet_f{i}": Source(
        f"https://storage.googleapis.com/dm-nfnets/F{i}_haiku.npz",
        f"F{i}_haiku.npz",
        md5,
    )
    for i, md5 in enumerate(
        (
            "0a41039da1cb43adf47f1b7d86ddfe0f",
            "c9126bbfaf855f9ddb7ff3b902558781",
            "7a018d8d1498020e2f5a8719a1e7f53f",
            "d8e1e78d26db659c486150dbaccbe78a",
            "f5974a7e3388aa81b91a9f1403e759a4",
            "8639e925de951030651ac775b9f915c3",
            "b16cca40ac1ecec2bd5e3273866da0c1",
        )
    )
}
# timm's files: our name of the network, and timm's with the training's tag.
_TIMM = {
    **{f"dm_nfnet_f{i}": f"dm_nfnet_f{i}.dm_in1k" for i in range(7)},
    "nfnet_l0": "nfnet_l0.ra2_in1k",
    "eca_nfnet_l0": "eca_nfnet_l0.ra2_in1k",
    "eca_nfnet_l1": "eca_nfnet_l1.ra2_in1k",
    "eca_nfnet_l2": "eca_nfnet_l2.ra3_in1k",
    "nf_resnet50_timm": "nf_resnet50.ra2_in1k",
    "nf_regnet_b1_timm": "nf_regnet_b1.ra2_in1k",
    "test_nfnet": "test_nfnet.r160_in1k",
}
SOURCES |= {
    name: Source(
        f"https://huggingface.co/timm/{theirs}/resolve/main/model.safetensors",
        f"{theirs}.safetensors",
    )
    for name, theirs in _TIMM.items()
}


def published_by(variant):
    """Returns who publishes weights of a variant.

    Args:
        variant: String, a key of `VARIANTS`.

    Returns:
        String, `"papers"` or `"timm"`, or `None` if nobody does.

    Example:

    >>> published_by("nfnet_l0")
    'timm'
    """
    if variant not in SOURCES:
        return None
    return "papers" if SOURCES[variant].file.endswith(".npz") else "timm"
