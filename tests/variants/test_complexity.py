"""Parameters and multiply-adds are those of the papers' and timm's code."""

import json
from dataclasses import replace

import pytest
from helpers import FILES

from keras_nfnets import VARIANTS, NFNet
from keras_nfnets.variants.complexity import complexity

REFERENCE = json.loads((FILES / "param_counts.json").read_text())
ODD = replace(
    VARIANTS["nfnet_pico"],
    depths=(1, 2),
    widths=(24, 40),
    expansions=(0.5, 1.0),
    group_widths=(8, 8),
    big_widths=(True, False),
    two_convs=False,
    kernel_size=5,
    se_ratio=0.3,
)


def totals(parts):
    return (
        sum(part.parameters for part in parts),
        sum(part.multiply_adds for part in parts),
    )


def papers_name(row):
    """The key of a network that the reference names as its figures do."""
    name = row.replace("NFNet-F", "nfnet_f").replace("+", "_plus")
    name = name.replace("NF-ResNet", "nf_resnet").replace("-SE", "_se")
    return name.replace("NF-RegNet-B", "nf_regnet_b")


def timm_name(row):
    return f"{row}_timm" if f"{row}_timm" in VARIANTS else row


def test_every_variant_but_ours_is_in_the_reference():
    names = {papers_name(row) for row in REFERENCE["deepmind"]}
    names |= {timm_name(row) for row in REFERENCE["timm"]}
    # The papers' code counts no ResNet-26, which the first paper's text has.
    assert VARIANTS.keys() - names == {
        "nfnet_pico",
        "nf_resnet26",
        "nf_resnet26_se",
    }


@pytest.mark.parametrize("row", REFERENCE["deepmind"])
def test_equals_the_papers(row):
    expected, name = REFERENCE["deepmind"][row], papers_name(row)
    assert VARIANTS[name].test_size == expected["test_imsize"]
    assert totals(complexity(name)) == (
        expected["params"],
        expected["macs_exact"],
    )


@pytest.mark.parametrize("row", REFERENCE["timm"])
def test_parameters_equal_timm_s(row):
    expected, name = REFERENCE["timm"][row], timm_name(row)
    variant = VARIANTS[name]
    assert totals(complexity(name))[0] == expected["params"]
    test_size = expected["test_input_size"] or expected["input_size"]
    assert variant.test_size == test_size[-1]
    assert variant.train_size == expected["input_size"][-1]


@pytest.mark.parametrize("variant", ["nfnet_pico", ODD], ids=["pico", "odd"])
def test_parameters_equal_those_of_the_model(variant):
    model = NFNet(variant, input_shape=(32, 32, 2), classes=7)
    parts = complexity(variant, 32, classes=7, channels=2)
    for part in parts:
        layers = [x for x in model.layers if x.name.startswith(part.name)]
        assert part.parameters == sum(x.count_params() for x in layers)
    assert totals(parts)[0] == model.count_params()


def test_sizes_are_rounded_up():
    model = NFNet(ODD, input_shape=(77, 77, 1), classes=7)
    *parts, _ = complexity(ODD, 77, channels=1)
    for part in parts:
        last = [x for x in model.layers if x.name.startswith(part.name)][-1]
        shape = (None, part.size, part.size, part.channels)
        assert last.output.shape == shape


def test_multiply_adds_grow_with_the_area():
    small, large = (
        sum(part.multiply_adds for part in complexity(ODD, size)[:1])
        for size in (64, 128)
    )
    assert large == 4 * small


def test_unknown_variant():
    with pytest.raises(ValueError, match="Did you mean .*'nfnet_pico'"):
        complexity("nfnet_picco")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(size=31), "`size` must be at least 32 pixels a side. .*=31"),
        (
            dict(size=32, classes=0),
            "`classes` must be a positive integer. .*classes=0",
        ),
        (dict(size=32, channels=0), "`channels` must be a positive integer."),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        complexity("nfnet_pico", **arguments)
