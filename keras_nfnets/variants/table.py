"""Lists the networks as data, one row each.

`VARIANTS` maps a name to a `Variant`. A family starts from a base, such as `_F`
or `_RESNET`, and its rows hold only what changes, under named columns:

    "nfnet_f1": ((2, 4, 12, 6), 0.3, 224, 320),

is NFNet-F1: `_F` with other `depths`, `dropout`, `train_size` and `test_size`.
Comments name the paper and the table that a family is from. A name without a
suffix is the papers' network, `_timm` is timm's network where both have one.

To add a network, add a row; `NFNet`, `complexity`, the command line and the
list of models then know it. A network of a new kind may need a field in
`Variant`.
"""

from dataclasses import replace
from typing import Any

from keras_nfnets.variants.rounding import make_divisible
from keras_nfnets.variants.variant import Variant as Variant


def _rows(base, columns, rows):
    """Returns variants by name: the base, changed by each row's columns."""
    return {
        name: replace(base, **dict(zip(columns, row, strict=True)))
        for name, row in rows.items()
    }


_F = Variant(depths=(1, 2, 6, 3))

# Brock et al., 2021 (arXiv 2102.06171), Table 1 and Appendix C.
VARIANTS: dict[str, Variant] = _rows(
    _F,
    ("depths", "dropout", "train_size", "test_size"),
    {
        "nfnet_f0": ((1, 2, 6, 3), 0.2, 192, 256),
        "nfnet_f1": ((2, 4, 12, 6), 0.3, 224, 320),
        "nfnet_f2": ((3, 6, 18, 9), 0.4, 256, 352),
        "nfnet_f3": ((4, 8, 24, 12), 0.4, 320, 416),
        "nfnet_f4": ((5, 10, 30, 15), 0.5, 384, 512),
        "nfnet_f5": ((6, 12, 36, 18), 0.5, 416, 544),
        "nfnet_f6": ((7, 14, 42, 21), 0.5, 448, 576),
        "nfnet_f7": ((8, 16, 48, 24), 0.5, 480, 608),
    },
)

# The wider networks that the paper pre-trains on JFT (Section 5).
VARIANTS |= {
    f"{name}_plus": replace(
        variant,
        widths=(384, 768, 2048, 2048),
        stem_widths=(16, 32, 64, 192),
        head_width=4096,
    )
    for name, variant in VARIANTS.items()
}

# Brock et al., 2021 (arXiv 2101.08692), the first paper, Section 5 and Appendix
# B. Names with "_se" have squeeze-and-excitation. The networks of 288 and 600
# layers are in its code only.
_RESNET = Variant(
    family="nf_resnet",
    depths=(3, 4, 6, 3),
    widths=(256, 512, 1024, 2048),
    stem_widths=(64,),
    stem_strides=(2,),
    stem_kernel_size=7,
    stem_pool=True,
    head_width=None,
    expansions=(0.25,) * 4,
    group_widths=(None,) * 4,
    two_convs=False,
    attention=None,
    se_ratio=0.25,
    shortcut="stride",
    activation="relu",
    dropout=0.0,
    train_size=224,
    test_size=224,
)
for _suffix, _attention in (("", None), ("_se", "se")):
    VARIANTS |= {
        f"nf_resnet{layers}{_suffix}": replace(
            _RESNET, depths=depths, attention=_attention
        )
        for layers, depths in {
            26: (2, 2, 2, 2),
            50: (3, 4, 6, 3),
            101: (3, 4, 23, 3),
            152: (3, 8, 36, 3),
            200: (3, 24, 36, 3),
            288: (24, 24, 24, 24),
            600: (50, 50, 50, 50),
        }.items()
    }

# The same paper, Section 6 and Appendix C. The networks have 0.75 times the
# widths of the paper's table.
_REGNET = Variant(
    family="nf_regnet",
    depths=(1, 3, 6, 6),
    strides=(2, 2, 2, 2),
    stem_strides=(2,),
    expansions=(2.25,) * 4,
    first_expansion=1.0,
    group_widths=(8,) * 4,
    big_widths=(False,) * 4,
    two_convs=False,
    attention_inside=True,
    activation="silu",
    classifier_std=0.0,
)
_REGNETS = {
    "b0": ((48, 104, 208, 440), (1, 3, 6, 6), 0.2, 192, 224),
    "b1": ((48, 104, 208, 440), (2, 4, 7, 7), 0.2, 224, 256),
    "b2": ((56, 112, 232, 488), (2, 4, 8, 8), 0.3, 240, 272),
    "b3": ((56, 128, 248, 528), (2, 5, 9, 9), 0.3, 288, 320),
    "b4": ((64, 144, 288, 616), (2, 6, 11, 11), 0.4, 320, 384),
    "b5": ((80, 168, 336, 704), (3, 7, 14, 14), 0.4, 384, 456),
    "b6": ((88, 184, 376, 792), (3, 8, 16, 16), 0.5, 448, 528),
    "b7": ((96, 208, 416, 880), (4, 10, 19, 19), 0.5, 512, 600),
    "b8": ((104, 232, 456, 968), (4, 11, 22, 22), 0.5, 600, 672),
}
VARIANTS |= {
    f"nf_regnet_{name}": replace(
        _REGNET,
        depths=depths,
        widths=tuple(int(width * 0.75) for width in widths),
        stem_widths=(int(widths[0] * 0.75),),
        head_width=1280 * int(widths[-1] * 0.75) // 440,
        dropout=dropout,
        train_size=train_size,
        test_size=test_size,
    )
    for name, (
        widths,
        depths,
        dropout,
        train_size,
        test_size,
    ) in _REGNETS.items()
}

# Networks of PyTorch Image Models (timm). If the papers have another network of
# the same name, timm's is called `<name>_timm` here.
_TIMM: dict[str, Any] = dict(
    divisor=8, epsilon=1e-5, epsilon_rule="add", activation="gelu_erf"
)
_TIMM_OWN: dict[str, Any] = dict(
    padding="symmetric",
    gamma_in_kernel=True,
    use_skip_gain=False,
    dropout=0.0,
    test_crop=0.9,
    test_squash=False,
)

# The papers' weights as timm runs them: with another epsilon in the weight
# standardization, and with the exact GELU.
VARIANTS |= {
    f"dm_nfnet_f{i}": replace(
        VARIANTS[f"nfnet_f{i}"], **_TIMM, test_crop=test_crop
    )
    for i, test_crop in enumerate((0.9, 0.91, 0.92, 0.94, 0.951, 0.954, 0.956))
}
VARIANTS |= {
    f"nfnet_f{i}_timm": replace(VARIANTS[f"nfnet_f{i}"], **(_TIMM | _TIMM_OWN))
    for i in range(8)
}

# timm's light networks have narrower bottlenecks and groups, and SiLU.
_LIGHT = replace(
    VARIANTS["nfnet_f0_timm"],
    expansions=(0.25,) * 4,
    group_widths=(64,) * 4,
    se_ratio=0.25,
    activation="silu",
    test_crop=1.0,
)
VARIANTS |= _rows(
    _LIGHT,
    ("depths", "head_width", "attention", "train_size", "test_size"),
    {
        "nfnet_l0": ((1, 2, 6, 3), 2304, "se", 224, 288),
        "eca_nfnet_l0": ((1, 2, 6, 3), 2304, "eca", 224, 288),
        "eca_nfnet_l1": ((2, 4, 12, 6), 3072, "eca", 256, 320),
        "eca_nfnet_l2": ((3, 6, 18, 9), 3072, "eca", 320, 384),
        "eca_nfnet_l3": ((4, 8, 24, 12), 3072, "eca", 352, 448),
    },
)
# timm's small network for tests.
VARIANTS["test_nfnet"] = replace(
    _LIGHT,
    depths=(1, 1, 1, 1),
    widths=(32, 64, 96, 128),
    head_width=192,
    group_widths=(8,) * 4,
    train_size=160,
    test_size=160,
    test_crop=0.95,
    pixel_mean=(127.5,) * 3,
    pixel_std=(127.5,) * 3,
)

_RESNET_TIMM = replace(
    _RESNET,
    **(_TIMM | _TIMM_OWN | dict(activation="relu")),
    shortcut="pool",
    se_ratio=1 / 16,
)
VARIANTS |= _rows(
    _RESNET_TIMM,
    ("depths", "attention", "train_size", "test_size", "test_crop"),
    {
        "nf_resnet26_timm": ((2, 2, 2, 2), None, 224, 224, 0.9),
        "nf_resnet50_timm": ((3, 4, 6, 3), None, 256, 288, 0.94),
        "nf_resnet101_timm": ((3, 4, 23, 3), None, 224, 224, 0.9),
        "nf_seresnet26": ((2, 2, 2, 2), "se", 224, 224, 0.9),
        "nf_seresnet50": ((3, 4, 6, 3), "se", 224, 224, 0.9),
        "nf_seresnet101": ((3, 4, 23, 3), "se", 224, 224, 0.9),
        "nf_ecaresnet26": ((2, 2, 2, 2), "eca", 224, 224, 0.9),
        "nf_ecaresnet50": ((3, 4, 6, 3), "eca", 224, 224, 0.9),
        "nf_ecaresnet101": ((3, 4, 23, 3), "eca", 224, 224, 0.9),
    },
)

# timm rounds the NF-RegNets' channels to multiples of 8.
_REGNET_SIZES_TIMM = {
    "b0": (192, 256),
    "b1": (256, 288),
    "b2": (240, 272),
    "b3": (288, 320),
    "b4": (320, 384),
    "b5": (384, 456),
}
VARIANTS |= {
    f"nf_regnet_{name}_timm": replace(
        VARIANTS[f"nf_regnet_{name}"],
        **(_TIMM | _TIMM_OWN | dict(activation="silu")),
        widths=tuple(make_divisible(0.75 * w, 8) for w in _REGNETS[name][0]),
        stem_widths=(make_divisible(0.75 * _REGNETS[name][0][0], 8),),
        head_width=make_divisible(
            0.75 * (1280 * _REGNETS[name][0][-1] // 440), 8
        ),
        classifier_std=0.01,
        train_size=train_size,
        test_size=test_size,
    )
    for name, (train_size, test_size) in _REGNET_SIZES_TIMM.items()
}

# This package's own network, in no paper: for laptops, tests and the demo.
VARIANTS |= _rows(
    Variant(depths=(1, 1, 1, 1), group_widths=(16, 16, 16, 16)),
    (
        "widths",
        "stem_widths",
        "head_width",
        "dropout",
        "train_size",
        "test_size",
    ),
    {
        "nfnet_pico": ((32, 64, 128, 128), (16, 24, 32, 32), 256, 0.1, 32, 32),
    },
)
