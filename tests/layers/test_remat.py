"""Rematerialized layers compute the same, and save and load as such."""

import keras
import numpy as np
import pytest
from helpers import BACKEND, evaluate, gradients, least_variant, weighted_sum

import keras_nfnets
from keras_nfnets.layers import NFBlock, Stem


def block(remat):
    keras.utils.set_random_seed(0)
    layer = NFBlock(16, 2, group_width=4, two_convs=False, remat=remat)
    layer.build((None, 8, 8, 8))
    layer.skip_gain.gain.assign(0.5)
    return layer


def stem(remat):
    keras.utils.set_random_seed(0)
    layer = Stem((4, 16), (2, 1), pool=True, remat=remat)
    layer.build((None, 8, 8, 8))
    return layer


@pytest.mark.parametrize("make", [block, stem])
def test_gradients_are_those_of_the_layer_that_keeps_everything(make):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(2, 8, 8, 8)).astype("float32")
    layers = make(False), make(True)
    shape = layers[0].compute_output_shape(inputs.shape)
    loss = weighted_sum(rng.normal(size=shape).astype("float32"))
    plain, again = (gradients(layer, inputs, loss) for layer in layers)
    # The same operations, which another compilation rounds otherwise.
    for one, other in zip(plain[:2], again[:2], strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)
    for v, w in zip(*(x.trainable_variables for x in layers), strict=True):
        np.testing.assert_allclose(
            again[2][id(w)], plain[2][id(v)], rtol=1e-5, atol=1e-5
        )


def trained(data, remat):
    """The weights of a small network with stochastic depth, after training."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 8))
    layer = NFBlock(
        8, group_width=4, two_convs=False, stochastic_depth=0.5, remat=remat
    )
    x = keras.layers.GlobalAveragePooling2D()(layer(inputs))
    model = keras_nfnets.AGCModel(inputs, keras.layers.Dense(3)(x))
    layer.skip_gain.gain.assign(0.5)
    model.compile("sgd", "mse", agc=None)
    model.fit(*data, batch_size=4, epochs=2, shuffle=False, verbose=0)
    return model.get_weights()


def test_training_ends_at_the_same_weights():
    """What is computed again has to drop the same samples."""
    rng = np.random.default_rng(0)
    shapes = (8, 8, 8, 8), (8, 3)
    data = [rng.normal(size=shape).astype("float32") for shape in shapes]
    pairs = zip(trained(data, False), trained(data, True), strict=True)
    for plain, again in pairs:
        np.testing.assert_allclose(again, plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("remat", [False, True])
def test_saving(remat, tmp_path):
    model = keras_nfnets.NFNet(
        least_variant(), input_shape=(32, 32, 3), classes=3, remat=remat
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    layers = [x for x in loaded.layers if isinstance(x, (Stem, NFBlock))]
    assert [x.remat for x in layers] == [remat] * 2
    inputs = np.ones((1, 32, 32, 3), "float32")
    np.testing.assert_allclose(
        evaluate(loaded, inputs),
        evaluate(model, inputs),
        rtol=1e-5,
    )


@pytest.mark.long
@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="elsewhere it is Keras's own, as it is"
)
def test_a_barrier_keeps_xla_from_joining_both_computations():
    import tensorflow as tf

    x = tf.random.stateless_normal((2, 8, 8, 8), (0, 0))

    def barriers_and_gradients(layer):
        @tf.function(jit_compile=True)
        def run(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(tf.square(layer(x)))
            return tape.gradient(loss, [x, *layer.trainable_variables])

        program = run.experimental_get_compiler_ir(x)(stage="hlo")
        return program.count(" opt-barrier("), run(x)

    # Whether XLA joins them depends on the device: for a TPU it does, see
    # `benchmarks/TPU.md`, and for a CPU it does not.
    none, expected = barriers_and_gradients(block(remat=False))
    one, actual = barriers_and_gradients(block(remat=True))
    assert (none, one) == (0, 1)
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
