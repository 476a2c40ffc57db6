"""What tests of several modules share."""

import json
import pathlib

import keras
import numpy as np

import keras_nfnets

FILES = pathlib.Path(__file__).parent / "reference"
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
    """Returns `model(inputs)` in NumPy.

    On JAX as one program: one by one, operations take longer to compile.
    """
    if BACKEND != "jax":
        return to_numpy(model(inputs))
    return model.predict_on_batch(inputs)


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


def weighted_sum(cotangent):
    """The loss whose gradient in the outputs is the cotangent."""
    cotangent = keras.ops.convert_to_tensor(cotangent)
    return lambda outputs: keras.ops.sum(outputs * cotangent)


def variant_of(meta):
    """The Variant that a reference model's hyper-parameters describe."""
    row, kwargs = meta["variant"], meta["kwargs"]
    stages = len(row["depth"])
    final = meta["final_ch"]
    return keras_nfnets.Variant(
        depths=tuple(row["depth"]),
        widths=tuple(int(w * kwargs["width"]) for w in row["width"]),
        stem_widths=(16, 32, 64, row["width"][0] // 2),
        head_width=final,
        expansions=tuple(row.get("expansion", [0.5] * stages)),
        group_widths=tuple(row.get("group_width", [128] * stages)),
        big_widths=tuple(row.get("big_width", [True] * stages)),
        two_convs=kwargs["use_two_convs"],
        se_ratio=kwargs["se_ratio"],
        activation=kwargs["activation"],
        alpha=kwargs["alpha"],
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
