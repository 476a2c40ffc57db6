import json
from dataclasses import replace
from pathlib import Path

import pytest

from keras_nfnets import VARIANTS, NFNet
from keras_nfnets.complexity import complexity

REFERENCE = Path(__file__).parent / "reference" / "param_counts.json"
F_NAMES = sorted(set(VARIANTS) - {"nfnet_pico"})
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


@pytest.fixture(scope="module")
def reference():
    return json.loads(REFERENCE.read_text())["deepmind"]


def test_reference_has_every_f_variant():
    assert len(F_NAMES) == 16


@pytest.mark.parametrize("name", F_NAMES)
def test_equals_the_reference(name, reference):
    row = name.replace("nfnet_f", "NFNet-F").replace("_plus", "+")
    expected = reference[row]
    assert VARIANTS[name].test_size == expected["test_imsize"]
    assert totals(complexity(name)) == (
        expected["params"],
        expected["macs_exact"],
    )


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
        (dict(size=31), "`size` must be at least 32 pixels. .*size=31"),
        (dict(size=32, classes=0), "`classes` must be positive. .*classes=0"),
        (dict(size=32, channels=0), "`channels` must be positive."),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        complexity("nfnet_pico", **arguments)
