# %% [markdown]
# # On a TPU in Colab or Kaggle
#
# Colab's TPU runtime is one v5e chip, with JAX and Keras and without
# TensorFlow. Kaggle's has eight of these chips. Keras on JAX runs on both by
# the same code. Where there is no TPU, this notebook takes four virtual devices
# of the CPU and a small network: two minutes on two CPU cores.
#
# - JAX: one chip on Colab, eight on Kaggle by `DataParallel`.
# - TensorFlow: Colab's TPU runtime has none, and its last build for TPUs,
#   `tensorflow-tpu` 2.19, has no wheel for the Python there. So `TPUStrategy`
#   does not work on Colab. Where that wheel is installed,
#   `distribution.scope` below opens a `TPUStrategy`.
# - Kaggle's TPU image has `tensorflow-cpu`, which reads images.
#
# No TPU was at hand where this was written: it ran on virtual devices, and the
# TPU's own compiler took its step (`keras-nfnets tpu-compile`).

# %%
# On Colab this installs the library.
import importlib.util

if importlib.util.find_spec("keras_nfnets") is None:
    # %pip install -q "keras-nfnets[data] @ git+REPOSITORY"
    pass

# %%
QUICK = False  # a test sets this, for fewer steps

# %% [markdown]
# ## The devices
#
# The backend is chosen before Keras is imported. The flag for XLA says how many
# devices a CPU stands for; a TPU does not read it.

# %%
import os

os.environ["KERAS_BACKEND"] = "jax"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
import jax
import keras

import keras_nfnets

HAS_TPU = jax.default_backend() == "tpu"
jax.devices()

# %% [markdown]
# ## The network and its recipe
#
# On a TPU, computing in bfloat16 is faster and takes half of the memory.
# Weights, standardization, the norms of AGC and the loss stay in float32.
#
# A recipe holds the papers' settings for a network. `scaled` fits the learning
# rate to another batch, and the warm-up to a shorter training.

# %%
if HAS_TPU:
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
name, size, batch = (
    ("nfnet_f0", 192, 256) if HAS_TPU else ("nfnet_pico", 32, 64)
)
recipe = keras_nfnets.recipes.get(name).scaled(
    batch_size=batch, epochs=1 if QUICK else 6, train_size=size
)
recipe.learning_rate, recipe.warmup_epochs, recipe.test_size

# %% [markdown]
# ## Images
#
# With TensorFlow beside JAX, `keras_nfnets.data` reads images by tf.data: files
# in folders, TFDS, records. It is used for its input pipeline alone, so
# `pip install tensorflow-cpu` will do. Without TensorFlow arrays work as they
# always do in Keras.

# %%
WITH_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None


def batches():
    """Returns what `fit` reads, by tf.data, and the steps of an epoch."""
    source = keras_nfnets.data.open_source("digits")
    steps = source.train_count // batch
    feed = dict(
        x=keras_nfnets.data.train_batches(source, recipe),
        steps_per_epoch=steps,
        validation_data=keras_nfnets.data.test_batches(source, recipe),
        shuffle=False,
    )
    return feed, steps


def arrays():
    """Returns what `fit` reads, in memory, and the steps of an epoch."""
    digits = keras_nfnets.data.digits(size=size)
    images = keras_nfnets.data.normalize(
        digits.train_images, digits.mean, digits.std
    )
    steps = len(images) // batch
    count = steps * batch  # every batch is whole
    feed = dict(
        x=images[:count], y=digits.train_labels[:count], batch_size=batch
    )
    return feed, steps


# %% [markdown]
# ## Train
#
# `distribution.scope` takes all devices that it finds, and splits each batch
# over them. AGC clips the gradient of the whole batch, after the sum over
# devices. The first epoch includes the compilation.

# %%
with keras_nfnets.distribution.scope() as devices:
    print(devices)
    keras.utils.set_random_seed(0)
    feed, steps = batches() if WITH_TENSORFLOW else arrays()
    model = keras_nfnets.NFNet(
        name,
        input_shape=(None, None, 1),  # test images may be larger
        classes=10,
        **recipe.model_args(),
    )
    model.compile(**recipe.compile_args(steps))
    throughput = keras_nfnets.callbacks.Throughput(batch)
    history = model.fit(
        **feed, epochs=recipe.epochs, callbacks=[throughput], verbose=2
    )

# %% [markdown]
# `images_per_second` counts steps that are compiled already. Every device has a
# copy of the weights:

# %%
kernel = model.get_layer(index=1).trainable_variables[0]
print(kernel.path, kernel.value.sharding)

# %% [markdown]
# ## What fits
#
# The TPU's compiler runs on any Linux machine (x86-64), without a TPU:
# `pip install "keras-nfnets[jax,tpu-compile]"`, then
#
#     keras-nfnets tpu-compile nfnet_f0 --topology v5e:1x1 --largest-batch
#
# says how many images fit, and what a step costs at best.
# `NFNet(..., remat=True)` computes each block again for its gradient, which
# takes less memory and more time.
#
# ## The same by the command line
#
#     KERAS_BACKEND=jax keras-nfnets train --recipe nfnet_f0 \
#         --data folder:photos --precision bfloat16 --out runs/f0
#
# With `--resume` a run that was stopped goes on where it was.
# [The guide to TPUs](../docs/tpu.md) has more, and pods of several hosts.
