# %% [markdown]
# # Why adaptive gradient clipping
#
# One small network in three versions (batch normalization, normalizer-free, and
# normalizer-free with AGC) on digits, at small and large batches, with the
# learning rate in proportion to the batch. Three minutes on two CPU cores.
# The whole study, with three seeds and seven batch sizes, is in
# `docs/DIGITS_STUDY.md`.

# %%
# On Colab this installs the library; elsewhere it is there already.
import importlib.util

if importlib.util.find_spec("keras_nfnets") is None:
    # %pip install -q "keras-nfnets[data] @ git+REPOSITORY"
    pass

# %%
QUICK = False  # a test sets this, for an epoch at one batch size

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_nfnets
from keras_nfnets import layers
from keras_nfnets.data import digits, normalize

data = digits(size=16)
x = normalize(data.train_images, data.mean, data.std)
test_x = normalize(data.test_images, data.mean, data.std)

# %% [markdown]
# ## The same network, three ways
#
# With batch normalization each convolution is followed by one. Without, its
# weights are standardized, its input is divided by the standard deviation that
# the plan expects there, and its output is multiplied by alpha.

# %%
WIDTHS = (16, 32, 64)
ALPHA = 0.2


def with_batch_norm():
    """A pre-activation residual network."""
    inputs = x = keras.Input((16, 16, 1))
    x = keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(x)
    for width in WIDTHS:
        for strides in (1 if width == WIDTHS[0] else 2, 1):
            y = keras.layers.BatchNormalization()(x)
            y = keras.layers.Activation("gelu")(y)
            if x.shape[-1] != width or strides > 1:
                x = keras.layers.Conv2D(width, 1, strides)(y)
            y = keras.layers.Conv2D(width, 3, strides, padding="same")(y)
            y = keras.layers.BatchNormalization()(y)
            y = keras.layers.Activation("gelu")(y)
            y = keras.layers.Conv2D(width, 3, padding="same")(y)
            x = x + y
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.ops.gelu(x))
    outputs = keras.layers.Dense(10, "softmax", name="classifier")(x)
    return keras_nfnets.AGCModel(inputs, outputs)


def normalizer_free():
    """The same shape, by weight standardization and a plan of variances."""
    inputs = x = keras.Input((16, 16, 1))
    x = layers.WSConv2D(16, 3, padding="same")(x)
    variance = 1.0
    for width in WIDTHS:
        for strides in (1 if width == WIDTHS[0] else 2, 1):
            y = layers.VPActivation("gelu")(x) * variance**-0.5
            if x.shape[-1] != width or strides > 1:
                x, variance = layers.WSConv2D(width, 1, strides)(y), 1.0
            y = layers.WSConv2D(width, 3, strides, padding="same")(y)
            y = layers.VPActivation("gelu")(y)
            y = layers.WSConv2D(width, 3, padding="same")(y)
            x = x + ALPHA * y
            variance += ALPHA**2
    x = keras.layers.GlobalAveragePooling2D()(layers.VPActivation("gelu")(x))
    outputs = keras.layers.Dense(10, "softmax", name="classifier")(x)
    return keras_nfnets.AGCModel(inputs, outputs)


NETWORKS = {
    "batch norm": (with_batch_norm, None),
    "NF without AGC": (normalizer_free, None),
    "NF with AGC": (normalizer_free, keras_nfnets.AGC(0.04)),
}

# %% [markdown]
# ## Signal propagation
#
# The papers look at a fresh network by the variance of its channels over depth.
# With batch normalization it grows within a stage and is reset at the next;
# the normalizer-free one is planned to do the same.

# %%
from keras_nfnets.callbacks import signal_propagation

noise = np.random.default_rng(0).normal(size=(32, 16, 16, 1)).astype("float32")
figure, axis = plt.subplots(figsize=(6, 2.8))
for name in ("batch norm", "NF with AGC"):
    keras.utils.set_random_seed(0)
    blocks = signal_propagation(NETWORKS[name][0](), noise, training=True)
    axis.plot([b["avg_var"] for b in blocks], marker="o", label=name)
axis.set(xlabel="block", ylabel="average channel variance", yscale="log")
axis.legend()
figure.tight_layout()

# %% [markdown]
# ## Where each one breaks

# %%
EPOCHS = 1 if QUICK else 6
BATCHES = (64,) if QUICK else (32, 256)


def accuracy(name, batch):
    """Returns held-out accuracy after a training at this batch size."""
    keras.utils.set_random_seed(0)
    build, agc = NETWORKS[name]
    model = build()
    steps = EPOCHS * len(x) // batch
    rate = keras_nfnets.optimizers.WarmupCosine(
        0.1 * batch / 64, steps / 6, steps
    )
    model.compile(
        keras_nfnets.optimizers.SGD(rate, momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        agc=agc,
    )
    model.fit(x, data.train_labels, batch, epochs=EPOCHS, verbose=0)
    result = model.evaluate(
        test_x, data.test_labels, 360, verbose=0, return_dict=True
    )
    return result["accuracy"] if np.isfinite(result["loss"]) else np.nan


found = {name: [accuracy(name, b) for b in BATCHES] for name in NETWORKS}
for name, values in found.items():
    print(f"{name:15}", *(f"{value:7.3f}" for value in values))

# %%
figure, axis = plt.subplots(figsize=(6, 2.8))
for name, values in found.items():
    axis.plot(BATCHES, np.nan_to_num(values), marker="o", label=name)
axis.set(xlabel="batch size", ylabel="held-out accuracy", xscale="log")
axis.set_xticks(BATCHES, BATCHES)
axis.legend()
figure.tight_layout()

# %% [markdown]
# A value of zero is a loss that is not finite. It is a toy: all batch sizes
# have as many epochs, so the large ones have few steps, and nothing was tuned
# for any of the three.
#
# ## What AGC clips

# %%
keras.utils.set_random_seed(0)
model = normalizer_free()
model.compile(
    keras_nfnets.optimizers.SGD(0.1, momentum=0.9),
    "sparse_categorical_crossentropy",
    agc=keras_nfnets.AGC(0.04),
)
monitor = keras_nfnets.callbacks.AGCMonitor(picture="agc.png")
model.fit(
    x, data.train_labels, 64, epochs=EPOCHS, callbacks=[monitor], verbose=0
)
from IPython.display import Image

Image("agc.png")
