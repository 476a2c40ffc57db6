"""Networks compute the arrays that the papers' own code computed."""

import json

import keras
import numpy as np
import pytest
from helpers import (
    BACKEND,
    FILES,
    Reference,
    assert_gradients,
    assert_outputs,
    evaluate,
    gradients,
    tiny_variant,
    to_numpy,
    variant_of,
)

import keras_nfnets
from keras_nfnets.variants.plan import block_arguments
from keras_nfnets.weights.names import assign, haiku_targets

MODELS = [
    "nfnet_plain",
    "nfnet_patterns",
    "nfnet_relu_finalch",
    "nfnet_se25_silu",
    "nfnet_width",
    "nf_resnet_plain",
    "nf_resnet_se",
    "nf_regnet_plain",
]
TAGS = ["even", "odd"]
if BACKEND == "jax":
    # Each compiles for ten seconds; the others are of these kinds of blocks at
    # other widths, and the gradients are those of the other size.
    MODELS = [
        "nfnet_plain",
        "nfnet_se25_silu",
        "nf_resnet_se",
        "nf_regnet_plain",
    ]
    TAGS = ["odd"]
COUNTS = json.loads((FILES / "param_counts.json").read_text())["deepmind"]
PAPERS = {
    f"nfnet_f{i}{suffix}": f"NFNet-F{i}{plus}"
    for i in range(8)
    for suffix, plus in (("", ""), ("_plus", "+"))
}


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    reference = Reference(f"model_{request.param}")
    model = keras_nfnets.NFNet(
        variant_of(reference.meta),
        classes=reference.meta["kwargs"]["num_classes"],
        classifier_activation=None,
        dropout=0.0,
    )
    assign(
        haiku_targets(model, reference.meta["cls"]), reference.under("params/")
    )
    return reference, model


def test_blocks_follow_the_papers_plan(case):
    reference, model = case
    plan = list(block_arguments(variant_of(reference.meta), 0.25))
    for expected, arguments in zip(reference.meta["blocks"], plan, strict=True):
        block = model.get_layer(arguments["name"])
        assert arguments["beta"] == pytest.approx(expected["beta"], rel=1e-12)
        assert arguments["alpha"] == expected["alpha"]
        assert arguments["strides"] == expected["stride"]
        assert arguments["filters"] == expected["out_ch"]
        assert block.conv1.filters == expected["width"]
        assert block.conv1.groups == expected["groups"]
        assert block.projects == expected["use_projection"]
        if expected["se_hidden"]:
            assert block.squeeze_excite.reduce.units == expected["se_hidden"]
        else:
            assert block.attention is None
        assert arguments["stochastic_depth"] == pytest.approx(
            expected["stochdepth_rate_at_025"], rel=1e-12
        )
    assert model.count_params() == reference.meta["n_params"]


@pytest.mark.parametrize("tag", TAGS)
def test_features_and_logits_are_the_papers(case, tag):
    reference, model = case
    blocks = [a["name"] for a in _plan(reference)]
    outputs = {"stem": model.get_layer("stem").output, "logits": model.output}
    for i, name in enumerate(blocks):
        outputs[f"block_{i}"] = model.get_layer(name).output
    head, last = model.get_layer("head"), model.get_layer(blocks[-1]).output
    if head.conv:
        outputs["final_conv"] = last = head.conv(last)
    outputs["pool"] = keras.ops.mean(head.act(last), axis=(1, 2))
    found = evaluate(keras.Model(model.input, outputs), reference[f"{tag}/x"])
    for name, array in found.items():
        assert_outputs(array, reference[f"{tag}/{name}"])


def _plan(reference):
    return list(block_arguments(variant_of(reference.meta)))


def test_loss_and_every_gradient_are_the_papers(case):
    reference, model = case
    tag = reference.meta["grad_input"]
    labels = keras.ops.convert_to_tensor(reference[f"{tag}/labels"])
    losses = []

    def loss(logits):
        value = keras.ops.mean(
            keras.losses.sparse_categorical_crossentropy(
                labels, logits, from_logits=True
            )
        )
        losses.append(value)
        return value

    logits, dx, grads = gradients(model, reference[f"{tag}/x"], loss)
    assert_outputs(to_numpy(loss(logits)), reference[f"{tag}/loss"])
    assert_outputs(dx, reference[f"{tag}/dx"], rate=2e-4)
    expected = reference.under("grads/")
    targets = haiku_targets(model, reference.meta["cls"])
    assert targets.keys() == expected.keys()
    for name, target in targets.items():
        assert_gradients(grads[id(target.variable)], expected[name])


@pytest.mark.skipif(BACKEND == "jax", reason="building it takes 20 s on JAX")
def test_parameter_counts_are_the_papers():
    # The other variants differ in depth and width only, and building them all
    # takes minutes; test_complexity.py counts each of them from the table.
    # In a stateless scope, layers are built without allocating weights.
    with keras.StatelessScope():
        model = keras_nfnets.NFNet("nfnet_f0")
        expected = COUNTS[PAPERS["nfnet_f0"]]
        sizes = [int(np.prod(v.shape)) for v in model.trainable_variables]
    assert sum(sizes) == expected["params"]
    assert len(sizes) == expected["tensors"]


@pytest.mark.parametrize("name", sorted(PAPERS))
def test_sizes_and_rates_are_the_papers(name):
    expected = COUNTS[PAPERS[name]]
    variant = keras_nfnets.VARIANTS[name]
    assert variant.test_size == expected["test_imsize"]
    assert variant.train_size == expected["train_imsize"]
    assert variant.dropout == expected["drop_rate"]


def test_rows_keep_the_families_rules():
    for name, variant in keras_nfnets.VARIANTS.items():
        if not name.startswith("nfnet_f"):
            continue
        scale = variant.depths[0]
        assert variant.depths == (scale, 2 * scale, 6 * scale, 3 * scale)
        assert variant.stem_widths[-1] == variant.widths[0] // 2
        assert variant.head_width == 2 * variant.widths[-1]


def test_pico_is_small_and_takes_32_pixels():
    model = keras_nfnets.NFNet("nfnet_pico", input_shape=(32, 32, 3))
    assert model.count_params() <= 500_000
    assert model.name == "nfnet_pico"
    outputs = evaluate(model, np.ones((2, 32, 32, 3), "float32"))
    np.testing.assert_allclose(outputs.sum(-1), 1.0, rtol=1e-5)


def test_every_layer_is_built():
    # Keras would run a model with one that is not, outside of any program,
    # before the first step.
    model = keras_nfnets.NFNet(tiny_variant())
    assert [x.path for x in model._flatten_layers() if not x.built] == []


@pytest.mark.parametrize("channels", [1, 10])
def test_channels_and_odd_unknown_sizes(channels):
    model = keras_nfnets.NFNet(
        tiny_variant(), input_shape=(None, None, channels), classes=3
    )
    for size in [(47, 33), (1, 1)]:
        x = np.ones((2, *size, channels), "float32")
        assert evaluate(model, x).shape == (2, 3)


@pytest.mark.parametrize(
    "pooling, shape",
    [(None, (None, 2, 2, 16)), ("avg", (None, 16)), ("max", (None, 16))],
)
def test_without_top(pooling, shape):
    model = keras_nfnets.NFNet(
        tiny_variant(),
        include_top=False,
        input_shape=(64, 47, 3),
        pooling=pooling,
    )
    assert model.output.shape == shape
    x = np.ones((1, 64, 47, 3), "float32")
    assert evaluate(model, x).shape[1:] == shape[1:]


def test_logits_and_probabilities_agree():
    model = keras_nfnets.NFNet(tiny_variant(depths=(1,)), classes=5)
    logits = keras_nfnets.NFNet(
        tiny_variant(depths=(1,)), classes=5, classifier_activation=None
    )
    logits.set_weights(model.get_weights())
    x = keras.random.normal((2, 32, 32, 3), seed=1)
    np.testing.assert_allclose(
        to_numpy(keras.ops.softmax(evaluate(logits, x))),
        evaluate(model, x),
        rtol=1e-5,
    )


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_returns_float32_probabilities(policy):
    exact = keras_nfnets.NFNet(tiny_variant(depths=(1,)), classes=5)
    keras.config.set_dtype_policy(policy)
    model = keras_nfnets.NFNet(tiny_variant(depths=(1,)), classes=5)
    model.set_weights(exact.get_weights())
    x = keras.random.normal((2, 32, 32, 3), seed=1)
    outputs = evaluate(model, x)
    assert outputs.dtype == "float32"
    assert keras.backend.standardize_dtype(model.output.dtype) == "float32"
    # bfloat16 has 8 bits, through some twenty layers.
    np.testing.assert_allclose(outputs, evaluate(exact, x), atol=0.02)


def test_rates_rise_and_dropout_defaults_to_the_variant():
    variant = tiny_variant(depths=(1, 2, 1, 1), dropout=0.3)
    model = keras_nfnets.NFNet(variant, classes=2, stochastic_depth=0.25)
    rates = [
        layer.stochastic_depth
        for layer in model.layers
        if isinstance(layer, keras_nfnets.layers.NFBlock)
    ]
    np.testing.assert_allclose(rates, [0.0, 0.05, 0.1, 0.15, 0.2])
    assert model.get_layer("head").dropout == 0.3


def test_weights_are_read_from_a_file(tmp_path):
    path = tmp_path / "tiny.weights.h5"
    model = keras_nfnets.NFNet(tiny_variant(depths=(1,)), classes=5)
    model.save_weights(path)
    copy = keras_nfnets.NFNet(
        tiny_variant(depths=(1,)), classes=5, weights=str(path)
    )
    for ours, theirs in zip(model.weights, copy.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(ours), to_numpy(theirs))


def test_preprocessing_centres_imagenets_mean():
    x = np.array([[[[123.675, 116.28, 103.53], [255, 255, 255]]]])
    outputs = to_numpy(keras_nfnets.preprocess_input(x))
    np.testing.assert_allclose(outputs[0, 0, 0], 0, atol=1e-6)
    expected = (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(outputs[0, 0, 1], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(variant="nfnet_f9"), "Did you mean 'nfnet_f"),
        (
            dict(variant="resnet"),
            "`variant` must be a Variant or the name of one",
        ),
        (dict(variant=3), "Received: variant=3"),
        (dict(input_shape=(31, 64, 3)), "at least 32 pixels"),
        (dict(input_shape=(64, 64)), "`input_shape` must be"),
        (dict(input_shape=(64, 64, None)), "`input_shape` must be"),
        (dict(classes=0), "`classes` must be positive"),
        (dict(dropout=1.0), r"`dropout` must be in \[0, 1\)"),
        (dict(stochastic_depth=-0.1), "`stochastic_depth` must be in"),
        (dict(pooling="sum"), "`pooling` must be"),
        (dict(weights="imagenet"), "with published weights: nfnet_f0, "),
        (dict(weights="none.npz"), "`weights` must be a file"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    arguments = {"variant": "nfnet_pico", **arguments}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        keras_nfnets.NFNet(**arguments)


def test_channels_first_is_refused():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="must be 'channels_last'"):
            keras_nfnets.NFNet("nfnet_pico")
    finally:
        keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize("change", ["missing", "unknown", "misshapen"])
def test_arrays_that_do_not_fit_are_refused_whole(change):
    model = keras_nfnets.NFNet(tiny_variant(depths=(1,)), classes=5)
    arrays = {n: np.ones(s.shape) for n, s in haiku_targets(model).items()}
    name = "NFNet/~/final_conv::gain"
    if change == "missing":
        del arrays[name]
    elif change == "unknown":
        arrays["NFNet/~/nf_block_9::skip_gain"] = np.ones(())
    else:
        arrays[name] = np.ones(3)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"NFNet/~/(final_conv|nf_block_9)"):
        assign(haiku_targets(model), arrays)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
