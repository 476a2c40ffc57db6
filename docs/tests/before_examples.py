"""Runs before each example of a docstring, in a folder of its own."""

# begin
import keras
import numpy as np
import tensorflow as tf

import keras_nfnets

random = np.random.default_rng(0)
images = random.integers(0, 256, (64, 32, 32, 3)).astype("uint8")
y = np.arange(64) % 10
source = keras_nfnets.data.from_arrays(
    images, y, images[:16], y[:16], "0123456789"
)
recipe = keras_nfnets.recipes.get("nfnet_pico").scaled(batch_size=16)
x = keras_nfnets.data.normalize(images, source.mean, source.std)
inputs = keras.Input((32, 32, 3))
outputs = keras_nfnets.layers.WSConv2D(8, 3, strides=4)(inputs)
outputs = keras_nfnets.layers.NFBlock(8, group_width=4)(outputs)
outputs = keras_nfnets.layers.Head(8, classes=10)(outputs)
model = keras_nfnets.AGCModel(inputs, outputs)
model.compile(
    keras_nfnets.optimizers.SGD(0.1, use_ema=True),
    keras_nfnets.losses.Crossentropy(),
    metrics=["accuracy"],
)
dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
