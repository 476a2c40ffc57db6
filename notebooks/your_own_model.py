# %% [markdown]
# # A model of your own
#
# Subclass a layer and `AGCModel`, write a `train_step`, use AGC in a network of
# `keras.applications`, and make that network normalizer-free. Two minutes on
# two CPU cores.

# %%
# On Colab (with a CPU or a GPU) this installs the library.
import importlib.util

if importlib.util.find_spec("keras_nfnets") is None:
    # %pip install -q "keras-nfnets[data] @ git+REPOSITORY"
    pass
if importlib.util.find_spec("tensorflow") is None:
    raise ImportError(
        "`pip install 'keras-nfnets[tensorflow]'` installs tensorflow"
    )

# %%
QUICK = False  # a test sets this, for one epoch of each

# %%
import os

# The `train_step` below is TensorFlow's; all else runs on any backend.
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import numpy as np
import tensorflow as tf

import keras_nfnets
from keras_nfnets import layers
from keras_nfnets.data import digits, normalize

keras.utils.set_random_seed(0)
data = digits(size=32)
x = normalize(data.train_images, data.mean, data.std)
y = data.train_labels
EPOCHS = 1 if QUICK else 4

# %% [markdown]
# ## A layer that standardizes in its own way
#
# `WSConv2D` standardizes its kernel in the method `standardize`. This subclass
# also sets a tenth of the weights to zero, always the same ones.


# %%
@keras.saving.register_keras_serializable("notebook")
class SparseWSConv2D(layers.WSConv2D):
    """A standardized convolution with a fixed mask on its weights."""

    def build(self, input_shape):
        super().build(input_shape)
        draws = np.random.default_rng(0).random(self.kernel.shape)
        self.mask = (draws > 0.1).astype("float32")

    def standardize(self, kernel):
        return super().standardize(kernel) * keras.ops.cast(
            self.mask, kernel.dtype
        )


# %% [markdown]
# ## A subclassed model
#
# `AGCModel` takes the place of `keras.Model`. The last dense layer is taken for
# the classifier, whose kernel AGC leaves alone. The model is saved and loaded
# as any other; the number is the largest difference of their outputs.


# %%
@keras.saving.register_keras_serializable("notebook")
class Digits(keras_nfnets.AGCModel):
    """Two convolutions and a classifier."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.first = SparseWSConv2D(16, 3, strides=2)
        self.activation = layers.VPActivation("gelu")
        self.second = layers.WSConv2D(32, 3, strides=2)
        self.pool = keras.layers.GlobalAveragePooling2D()
        self.classifier = keras.layers.Dense(10, "softmax")

    def call(self, inputs):
        x = self.activation(self.first(inputs))
        x = self.activation(self.second(x))
        return self.classifier(self.pool(x))


model = Digits()
model.compile(
    keras.optimizers.Adam(3e-3),
    "sparse_categorical_crossentropy",
    metrics=["accuracy"],
    agc=keras_nfnets.AGC(0.1),
)
model.fit(x, y, 64, epochs=EPOCHS, verbose=2)
model.save("own.keras")
loaded = keras.models.load_model("own.keras")
found, expected = (m.predict(x[:8], verbose=0) for m in (loaded, model))
float(abs(found - expected).max())

# %% [markdown]
# ## A training step of your own
#
# AGC is in the optimizer, so a `train_step` as in Keras's guide clips too.


# %%
class Mixed(Digits):
    """Trains on images that are mixed with others of the batch."""

    def train_step(self, batch):
        images, labels = batch
        share = tf.random.uniform((), 0.0, 0.3)
        mixed = images * (1 - share) + tf.reverse(images, [0]) * share
        with tf.GradientTape() as tape:
            probabilities = self(mixed, training=True)
            loss = self.compute_loss(y=labels, y_pred=probabilities)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(labels, probabilities)
        return self.get_metrics_result()


model = Mixed()
model.compile(
    keras.optimizers.Adam(3e-3),
    "sparse_categorical_crossentropy",
    metrics=["accuracy"],
    agc=keras_nfnets.AGC(0.1),
)
model.fit(x, y, 64, epochs=EPOCHS, verbose=2)
model.optimizer.agc_report()

# %% [markdown]
# ## AGC in any Keras model
#
# `with_agc` makes an optimizer clip, for any model or loop. Here, for a network
# of `keras.applications` with fresh weights, for eight steps. The report is the
# fraction of units that were clipped: here nearly all.

# %%
rgb = np.repeat(x, 3, axis=-1)
mobile = keras.applications.MobileNetV2(
    input_shape=(32, 32, 3), weights=None, classes=10, alpha=0.35
)
optimizer = keras_nfnets.optimizers.with_agc(
    keras.optimizers.SGD(0.05, momentum=0.9), keras_nfnets.AGC(0.05), mobile
)
mobile.compile(
    optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"]
)
mobile.fit(rgb[:512], y[:512], 64, epochs=1, verbose=2)
optimizer.agc_report()

# %% [markdown]
# ## Surgery
#
# `normalizer_free` returns the same network without batch normalization:
# convolutions are standardized, activations keep the variance, and residual
# branches are scaled by alpha and a skip gain. It is trained from scratch.

# %%
free, report = keras_nfnets.surgery.normalizer_free(mobile)
print(sorted({type(layer).__name__ for layer in free.layers}))
free.compile(
    keras_nfnets.optimizers.SGD(0.05, momentum=0.9),
    "sparse_categorical_crossentropy",
    metrics=["accuracy"],
    agc=keras_nfnets.AGC(0.1, exclude=["skip_gain"]),
)
history = free.fit(rgb[:512], y[:512], 64, epochs=1, verbose=2)

# %% [markdown]
# The signal of the new network over its blocks, for normal images: as planned,
# the variance stays near one.

# %%
from IPython.display import Image

from keras_nfnets.callbacks import plot_signal_propagation

plot_signal_propagation(free, "signal.png")
Image("signal.png")
