"""What tests of several modules share."""

import json
import pathlib

import keras
import numpy as np

import keras_nfnets
from keras_nfnets.variants.rounding import make_divisible

TESTS = pathlib.Path(__file__).parent
ROOT = TESTS.parent
FILES = TESTS / "reference"
BACKEND = keras.backend.backend()


class Reference:
    """One file of arrays that the papers' own code computed."""

    def __init__(self, name):
        with np.load(FILES / f"{name}.npz", allow_pickle=False) as file:
            self.arrays = dict(file)
        self.meta = json.loads(str(self.arrays.pop("meta")))

    def __getitem__(self, name):
        return self.arrays[name]

    def under(self, prefix):
        """The arrays under a prefix, without it."""
        return {
            name.removeprefix(prefix): array
            for name, array in self.arrays.items()
            if name.startswith(prefix)
        }


def assert_outputs(actual, expected, rate=2e-5):
    """Up to 20 times the float32 noise of the reference arrays."""
    expected = np.asarray(expected)
    bound = rate * np.abs(expected).max() + 1e-30
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=0, atol=bound)


def assert_gradients(actual, expected, rate=2e-4):
    """Gradients that cancel (skip gains) have absolute noise of 1e-6."""
    expected = np.asarray(expected)
    bound = rate * np.abs(expected).max() + 2e-6
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=0, atol=bound)


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def evaluate(model, inputs):
    """Returns `model(inputs)` in NumPy, whatever structure it has.

    On JAX as one program: one by one, operations take longer to compile. On
    TensorFlow it takes longer to make a graph.
    """
    if BACKEND == "jax":
        return model.predict_on_batch(inputs)
    return keras.tree.map_structure(to_numpy, model(inputs))


def gradients(layer, inputs, loss):
    """Returns outputs, d loss / d inputs and d loss / d variable by id."""
    if not layer.built:
        layer.build(inputs.shape)
    variables = layer.trainable_variables
    run = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[BACKEND]
    outputs, d_inputs, grads = run(layer, inputs, loss)
    return (
        to_numpy(outputs),
        to_numpy(d_inputs),
        {id(v): to_numpy(g) for v, g in zip(variables, grads, strict=True)},
    )


def _tensorflow(layer, inputs, loss):
    import tensorflow as tf

    x = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x)
        value = loss(outputs)
    d_inputs, *grads = tape.gradient(
        value, [x, *(v.value for v in layer.trainable_variables)]
    )
    return outputs, d_inputs, grads


def _jax(layer, inputs, loss):
    import jax

    def run(x, values):
        others = [v.value for v in layer.non_trainable_variables]
        outputs, _ = layer.stateless_call(values, others, x)
        return loss(outputs), outputs

    values = [v.value for v in layer.trainable_variables]
    grad = jax.jit(jax.value_and_grad(run, argnums=(0, 1), has_aux=True))
    (_, outputs), (d_inputs, grads) = grad(jax.numpy.asarray(inputs), values)
    return outputs, d_inputs, grads


def _torch(layer, inputs, loss):
    x = keras.ops.convert_to_tensor(inputs).requires_grad_()
    layer.zero_grad()
    outputs = layer(x)
    loss(outputs).backward()
    grads = [v.value.grad for v in layer.trainable_variables]
    return outputs.detach(), x.grad, grads


def jacobian(layer, inputs, function, variable):
    """Returns d function(layer(inputs)) / d variable, in NumPy.

    Args:
        layer: Built layer.
        inputs: Array.
        function: Maps the outputs to a vector.
        variable: One of the layer's trainable variables.
    """
    run = {
        "tensorflow": _tensorflow_jacobian,
        "jax": _jax_jacobian,
        "torch": _torch_jacobian,
    }[BACKEND]
    return np.stack(
        [to_numpy(row) for row in run(layer, inputs, function, variable)]
    )


def _tensorflow_jacobian(layer, inputs, function, variable):
    import tensorflow as tf

    with tf.GradientTape(persistent=True) as tape:
        values = tf.unstack(function(layer(inputs)))
    rows = [tape.gradient(value, variable.value) for value in values]
    return [tf.convert_to_tensor(row) for row in rows]  # embeddings' slices


def _jax_jacobian(layer, inputs, function, variable):
    import jax

    def run(value):
        with keras.StatelessScope([(variable, value)]):
            return function(layer(inputs))

    return jax.jit(jax.jacrev(run))(variable.value)


def _torch_jacobian(layer, inputs, function, variable):
    import torch

    values = function(layer(inputs))
    return [
        torch.autograd.grad(value, variable.value, retain_graph=True)[0]
        for value in values
    ]


def weighted_sum(cotangent):
    """The loss whose gradient in the outputs is the cotangent."""
    cotangent = keras.ops.convert_to_tensor(cotangent)
    return lambda outputs: keras.ops.sum(outputs * cotangent)


def variant_of(meta):
    """The Variant that a model of the papers' code describes."""
    row, kwargs = meta["variant"], meta["kwargs"]
    shared = dict(
        depths=tuple(row["depth"]),
        head_width=meta["final_ch"],
        se_ratio=kwargs["se_ratio"],
        activation=kwargs["activation"],
        alpha=kwargs["alpha"],
        dropout=0.0,
    )
    fields = {
        "NFNet": _nfnet,
        "NF_ResNet": _nf_resnet,
        "NF_RegNet": _nf_regnet,
    }[meta.get("cls", "NFNet")](row, kwargs)
    return keras_nfnets.Variant(**(shared | fields))


def _nfnet(row, kwargs):
    return dict(
        widths=tuple(int(w * kwargs["width"]) for w in row["width"]),
        stem_widths=(16, 32, 64, row["width"][0] // 2),
        expansions=tuple(row.get("expansion", [0.5] * 4)),
        group_widths=tuple(row.get("group_width", [128] * 4)),
        big_widths=tuple(row.get("big_width", [True] * 4)),
        two_convs=kwargs["use_two_convs"],
    )


def _nf_resnet(row, kwargs):
    return dict(
        widths=tuple(kwargs["width_pattern"]),
        stem_widths=(kwargs["stem_ch"],),
        stem_strides=(2,),
        stem_kernel_size=7,
        stem_pool=True,
        expansions=(0.25,) * 4,
        group_widths=(None,) * 4,
        two_convs=False,
        attention="se" if kwargs["use_se"] else None,
        shortcut="stride",
    )


def _nf_regnet(row, kwargs):
    widths = tuple(int(w * kwargs["width"]) for w in row["width"])
    return dict(
        widths=widths,
        strides=(2, 2, 2, 2),
        stem_widths=widths[:1],
        stem_strides=(2,),
        expansions=(kwargs["expansion"],) * 4,
        first_expansion=1.0,
        group_widths=(kwargs["group_size"],) * 4,
        big_widths=(False,) * 4,
        two_convs=False,
        attention_inside=True,
    )


def variant_of_timm(cfg):
    """The Variant that a configuration of timm's describes."""

    def rounded(width):
        return make_divisible(width * cfg["width_factor"], cfg["ch_div"])

    widths = tuple(rounded(w) for w in cfg["channels"])
    stem = rounded(cfg["stem_chs"] or cfg["channels"][0])
    stems = {
        "deep_quad": dict(stem_widths=(stem // 8, stem // 4, stem // 2, stem)),
        "7x7_pool": dict(
            stem_widths=(stem,),
            stem_strides=(2,),
            stem_kernel_size=7,
            stem_pool=True,
        ),
        "3x3": dict(
            stem_widths=(stem,), stem_strides=(2,), strides=(2, 2, 2, 2)
        ),
    }
    act = {"gelu": "gelu_erf"}.get(cfg["act_layer"], cfg["act_layer"])
    return keras_nfnets.Variant(
        depths=tuple(cfg["depths"]),
        widths=widths,
        **stems[cfg["stem_type"]],
        head_width=rounded(cfg["num_features"])
        if cfg["num_features"]
        else None,
        expansions=(cfg["bottle_ratio"],) * 4,
        first_expansion=1.0 if cfg["reg"] else None,
        group_widths=(cfg["group_size"],) * 4,
        big_widths=(not cfg["reg"],) * 4,
        divisor=cfg["ch_div"],
        two_convs=cfg["extra_conv"],
        attention=cfg["attn_layer"],
        attention_inside=cfg["reg"],
        se_ratio=cfg["attn_kwargs"].get("rd_ratio", 1 / 16),
        use_skip_gain=cfg["skipinit"],
        activation=act,
        gamma_in_kernel=not cfg["gamma_in_act"],
        alpha=cfg["alpha"],
        padding="same" if cfg["same_padding"] else "symmetric",
        epsilon=cfg["std_conv_eps"],
        epsilon_rule="add",
        dropout=0.0,
    )


def tiny_variant(**changes):
    """A network small enough to train in a test."""
    fields = dict(
        depths=(1, 1, 1, 1),
        widths=(16, 16, 16, 16),
        stem_widths=(4, 4, 8, 8),
        head_width=16,
        group_widths=(4, 4, 8, 8),
        dropout=0.0,
        train_size=32,
        test_size=32,
    )
    return keras_nfnets.Variant(**{**fields, **changes})


def least_variant(**changes):
    """A network of one block, with as few layers as can be, to trace."""
    fields = dict(
        depths=(1,), stem_widths=(8, 8), stem_strides=(2, 2), two_convs=False
    )
    return tiny_variant(**{**fields, **changes})


def one_output():
    """A model of two inputs and one output, for what callbacks see."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def set_weights(model, value):
    for weight in model.trainable_variables:
        weight.assign(np.full(weight.shape, value))


def without_speed(rows):
    """The rows of a run's history, but how fast it went."""
    return [
        {n: v for n, v in row.items() if n != "images_per_second"}
        for row in rows
    ]
