"""AGC leaves the gradient of an embedding sparse, as TensorFlow gives it."""

import keras
import numpy as np
import numpy_model
import pytest
from helpers import BACKEND, to_numpy

import keras_nfnets
from keras_nfnets.training.optimizers import with_agc

pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="only TensorFlow has sparse gradients"
)


class Recorded(keras.optimizers.SGD):
    """Keeps the gradients that it updates with."""

    def update_step(self, gradient, variable, learning_rate):
        self.seen.append(gradient)
        super().update_step(gradient, variable, learning_rate)


def sparse():
    import tensorflow as tf

    rows = tf.constant([[3.0, 0.0], [1.0, 1.0], [0.0, 4.0]])
    return tf.IndexedSlices(rows, tf.constant([0, 2, 0]), tf.constant([4, 2]))


WEIGHTS = np.arange(1.0, 9.0, dtype="float32").reshape(4, 2)


@pytest.mark.parametrize(
    "axes, units",
    [((1,), (1,)), ((0, 1), (0, 1)), ((0,), (0,)), (None, (0,))],
)
def test_a_sparse_gradient_is_clipped_as_the_dense_one(axes, units):
    clipped = keras_nfnets.agc.adaptive_clip(
        [sparse()], [keras.Variable(WEIGHTS)], 0.1, axes=[axes]
    )[0]
    assert hasattr(clipped, "indices")
    # Row 0 is used twice: what counts is the norm of the sum, 5.
    dense = np.array([[3, 4], [0, 0], [1, 1], [0, 0]], "float32")
    (expected,) = numpy_model.adaptive_clip(
        [dense], [WEIGHTS], 0.1, axes=[units]
    )
    assert (expected != dense).any()
    np.testing.assert_allclose(
        to_numpy(keras.ops.convert_to_tensor(clipped)), expected, rtol=1e-5
    )


@pytest.mark.parametrize("exclude", ["classifier", ["embeddings"]])
def test_the_optimizer_sees_a_sparse_gradient(exclude):
    layer = keras.layers.Embedding(4, 2)
    model = keras.Sequential([keras.Input((2,)), layer, keras.layers.Dense(1)])
    optimizer = Recorded(0.1)
    optimizer.seen = []
    agc = keras_nfnets.AGC(0.1, exclude=exclude)
    model.compile(with_agc(optimizer, agc, model), "mse", run_eagerly=True)
    model.fit(np.array([[0, 2]]), np.ones((1, 2, 1)), verbose=0)
    assert [hasattr(g, "indices") for g in optimizer.seen] == [
        True,
        False,
        False,
    ]
