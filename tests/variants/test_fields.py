"""Every field of `Variant` reaches the network and the count of its cost."""

import dataclasses
import json
import math

import pytest

import keras_nfnets
from keras_nfnets import NFNet, Variant
from keras_nfnets.variants.complexity import complexity

BASE = Variant(
    depths=(2, 1),
    widths=(16, 32),
    strides=(1, 2),
    stem_widths=(4, 8),
    stem_strides=(2, 1),
    head_width=24,
    expansions=(0.5, 0.5),
    group_widths=(4, 4),
    big_widths=(True, True),
    train_size=32,
)
# Another value of each field. A new field needs one here, or in UNBUILT.
CHANGED = dict(
    depths=(1, 1),
    widths=(16, 24),
    strides=(2, 2),
    stem_widths=(4, 6),
    stem_strides=(1, 1),
    stem_kernel_size=5,
    stem_pool=True,
    head_width=None,
    expansions=(0.5, 1.0),
    first_expansion=1.0,
    group_widths=(8, 4),
    big_widths=(True, False),
    divisor=6,
    two_convs=False,
    kernel_size=5,
    attention="eca",
    attention_inside=True,
    se_ratio=0.25,
    shortcut="stride",
    use_skip_gain=False,
    activation="silu",
    gamma_in_kernel=True,
    alpha=0.3,
    padding="symmetric",
    epsilon=1e-3,
    epsilon_rule="add",
    classifier_std=0.1,
    dropout=0.7,
    train_size=48,
)
UNBUILT = {
    "family": "for list_models",
    "test_size": "what images are prepared to, by data and export",
    "test_crop": "what images are prepared to, by data and export",
    "test_squash": "what images are prepared to, by data and export",
    "pixel_mean": "normalization, by data and export",
    "pixel_std": "normalization, by data and export",
}


def build(variant):
    size = variant.train_size
    return NFNet(variant, input_shape=(size, size, 3), classes=5)


def settings(model):
    """Everything that the layers of a model are made from."""
    config = model.get_config()
    config.pop("name")
    shapes = [[list(w.shape) for w in model.weights], model.input_shape]
    return json.dumps([config["layers"], shapes], default=str)


def multiply_adds(model):
    """Counts them from the stock layers of the folded model.

    But for squeeze-excite, which takes up a convolution there.
    """
    kernels = [w for w in model.weights if "squeeze_excite/" in w.path]
    total = sum(math.prod(w.shape) for w in kernels if w.name == "kernel")
    for layer in keras_nfnets.export.fold(model).layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None and "squeeze_excite" not in layer.name:
            # Each weight is used once at each position of the output.
            total += math.prod(layer.output.shape[1:-1]) * math.prod(
                kernel.shape
            )
    return total


@pytest.fixture(scope="module")
def base():
    return settings(build(BASE))


def test_every_field_is_here():
    fields = {field.name for field in dataclasses.fields(Variant)}
    assert CHANGED.keys() | UNBUILT.keys() == fields
    assert not CHANGED.keys() & UNBUILT.keys()


@pytest.mark.long
@pytest.mark.parametrize("field", CHANGED)
def test_field_reaches_the_network_and_its_cost(field, base):
    variant = dataclasses.replace(BASE, **{field: CHANGED[field]})
    assert getattr(variant, field) != getattr(BASE, field)
    model = build(variant)
    assert settings(model) != base
    parts = complexity(variant, variant.train_size, classes=5)
    assert sum(part.parameters for part in parts) == model.count_params()
    assert sum(part.multiply_adds for part in parts) == multiply_adds(model)
