# %% [markdown]
# # Why adaptive gradient clipping
#
# One small network in three versions (batch normalization, normalizer-free, and
# normalizer-free with AGC) learns digits, at small and large batches, with the
# learning rate in proportion to the batch. Two to three minutes on two CPU
# cores. [A larger study](../docs/DIGITS_STUDY.md) has three seeds and seven
# batch sizes.

# %%
# On Colab (with a CPU or a GPU) this installs the library.
import importlib.util

if importlib.util.find_spec("keras_nfnets") is None:
    # %pip install -q "keras-nfnets[data] @ git+REPOSITORY"
    pass
if importlib.util.find_spec("matplotlib") is None:
    raise ImportError("`pip install 'keras-nfnets[data]'` installs matplotlib")

# %%
QUICK = False  # a test sets this, for one epoch at one batch size

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image

import keras_nfnets
from keras_nfnets import layers
from keras_nfnets.callbacks import AGCMonitor, signal_propagation
from keras_nfnets.data import digits, normalize

data = digits(size=8)
x = normalize(data.train_images, data.mean, data.std)[:1024]
y = data.train_labels[:1024]
test_x = normalize(data.test_images, data.mean, data.std)

# %% [markdown]
# ## The same network, three ways
#
# With batch normalization, every convolution is preceded by one. Without it,
# the weights of convolutions are standardized, activations keep the variance,
# each block divides its input by the standard deviation that is planned there,
# and its residual branch is multiplied by alpha.

# %%
WIDTHS = (16, 32)
ALPHA = 0.2


def with_batch_norm():
    """A pre-activation residual network."""

    def activation(x):
        return keras.ops.gelu(keras.layers.BatchNormalization()(x))

    inputs = keras.Input((None, None, 1))
    x = keras.layers.Conv2D(16, 3, padding="same")(inputs)
    for width in WIDTHS:
        for first in (True, False):
            y = activation(x)
            strides = 2 if first and width > 16 else 1
            if first:
                x = keras.layers.Conv2D(width, 1, strides)(y)
            y = keras.layers.Conv2D(width, 3, strides, padding="same")(y)
            x = x + keras.layers.Conv2D(width, 3, padding="same")(activation(y))
    x = keras.layers.GlobalAveragePooling2D()(activation(x))
    outputs = keras.layers.Dense(10, "softmax", name="classifier")(x)
    return keras_nfnets.AGCModel(inputs, outputs)


def normalizer_free():
    """The same shape, by weight standardization and a plan of variances."""

    def activation(x):
        return layers.VPActivation("gelu")(x)

    inputs = keras.Input((None, None, 1))
    x = layers.WSConv2D(16, 3, padding="same")(inputs)
    variance = 1.0
    for width in WIDTHS:
        for first in (True, False):
            y = activation(keras.layers.Rescaling(variance**-0.5)(x))
            strides = 2 if first and width > 16 else 1
            if first:
                x, variance = layers.WSConv2D(width, 1, strides)(y), 1.0
            y = layers.WSConv2D(width, 3, strides, padding="same")(y)
            y = layers.WSConv2D(width, 3, padding="same")(activation(y))
            x = x + keras.layers.Rescaling(ALPHA)(y)
            variance += ALPHA**2
    x = keras.layers.GlobalAveragePooling2D()(activation(x))
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
# Block 0 is the stem, and each stage has two blocks. With batch normalization
# the variance grows within a stage and is reset at the next. That of the
# normalizer-free network stays near one, as planned.

# %%
noise = np.random.default_rng(0).normal(size=(32, 32, 32, 1)).astype("float32")
figure, axis = plt.subplots(figsize=(6, 2.8))
for name in ("batch norm", "NF with AGC"):
    keras.utils.set_random_seed(0)
    blocks = signal_propagation(NETWORKS[name][0](), noise, training=True)
    axis.plot([block["avg_var"] for block in blocks], marker="o", label=name)
axis.set(xlabel="block", ylabel="average channel variance", xticks=range(5))
axis.set(ylim=(0, None))
axis.legend()
figure.tight_layout()

# %% [markdown]
# ## Where each one breaks

# %%
EPOCHS = 1 if QUICK else 15
BATCHES = (64,) if QUICK else (32, 256, 1024)


def accuracies(name, batch):
    """Returns the accuracy on training and held-out digits, by name."""
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
    history = model.fit(
        x,
        y,
        batch,
        epochs=EPOCHS,
        verbose=0,
        callbacks=[keras.callbacks.TerminateOnNaN()],
    ).history
    if not np.isfinite(history["loss"][-1]):
        return {"training": np.nan, "held-out": np.nan}
    guesses = keras.ops.argmax(model(test_x, training=False), axis=-1)
    right = keras.ops.convert_to_numpy(guesses) == data.test_labels
    return {"training": history["accuracy"][-1], "held-out": right.mean()}


found = {name: [accuracies(name, b) for b in BATCHES] for name in NETWORKS}

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3), sharey=True)
for axis, part in zip(axes, ("training", "held-out")):
    for name, rows in found.items():
        values = [row[part] for row in rows]
        print(f"{part:9} {name:15}", *(f"{value:6.3f}" for value in values))
        axis.plot(BATCHES, np.nan_to_num(values), marker="o", label=name)
    axis.set(xlabel="batch size", ylabel=f"{part} accuracy", xscale="log")
    axis.set_xticks(BATCHES, BATCHES)
    axis.minorticks_off()
axes[0].legend()
figure.tight_layout()

# %% [markdown]
# A loss that is not finite is `nan` in the table and zero in the figure.
#
# - Without AGC the normalizer-free network diverges from batch 256 on.
# - With AGC it learns at batch 256 as at 32. At 1024, in fifteen steps with a
#   learning rate of 1.6, it does not.
# - With batch normalization the training digits are learned at all three sizes.
#   Held-out accuracy falls from batch 256 on: the averages of mean and variance
#   that are used there move by a hundredth in each step, and have sixty steps
#   at batch 256.
#
# It is a toy, with one seed. All batch sizes have as many epochs, so the large
# ones have few steps, and nothing was tuned for any of the three.
#
# ## What AGC clips
#
# Of each layer over the epochs: on the left the fraction of its units that were
# clipped, on the right the norm of its gradient over that of its weights. The
# classifier's row is that of its bias, which starts at zero; its kernel is
# never clipped.

# %%
keras.utils.clear_session()  # so that layers are counted from one
keras.utils.set_random_seed(0)
model = normalizer_free()
model.compile(
    keras_nfnets.optimizers.SGD(0.1, momentum=0.9),
    "sparse_categorical_crossentropy",
    agc=keras_nfnets.AGC(0.04),
)
history = model.fit(
    x,
    y,
    64,
    epochs=EPOCHS,
    callbacks=[AGCMonitor(picture="agc.png")],
    verbose=0,
)
Image("agc.png")
