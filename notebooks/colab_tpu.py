# %% [markdown]
# # On a TPU in Colab or Kaggle
#
# Colab's TPU runtime is one v5e chip, with JAX and Keras and without
# TensorFlow. Kaggle's has eight of these chips. Keras on JAX runs on both by
# the same code; where there is no TPU, this notebook takes four virtual devices
# of the CPU, and small images. Two minutes there.
#
# - JAX: one chip on Colab, eight on Kaggle by `DataParallel`.
# - TensorFlow: Colab's TPU runtime has none, and its last build for TPUs,
#   `tensorflow-tpu` 2.19, has no wheel for the Python there. So `TPUStrategy`
#   does not work on Colab. Kaggle has `tensorflow-cpu`, which reads images.
#
# No TPU was at hand where this was written: it ran on virtual devices, and the
# TPU's own compiler took its step (`keras-nfnets tpu-compile`).

# %%
# On Colab this installs the library; elsewhere it is there already.
import importlib.util

if importlib.util.find_spec("keras_nfnets") is None:
    # %pip install -q "keras-nfnets[data] @ git+REPOSITORY"
    pass

# %%
QUICK = False  # a test sets this, for fewer steps

# %% [markdown]
# ## The devices
#
# The backend is chosen before Keras is imported. A runtime with a TPU has
# `libtpu`; without one, JAX makes four devices of the CPU.

# %%
import os

os.environ["KERAS_BACKEND"] = "jax"
HAS_TPU = importlib.util.find_spec("libtpu") is not None and os.path.exists(
    "/dev/vfio/0"
)
if not HAS_TPU:
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

import jax
import keras
import numpy as np

import keras_nfnets

jax.devices()

# %% [markdown]
# ## The network and its step
#
# On a TPU computing in bfloat16 is faster and takes half of the memory.
# Weights, standardization, the norms of AGC and the loss stay in float32.
# `distribution.scope` takes all devices that it finds. AGC clips the gradient
# of the global batch, after the sum over devices.

# %%
if HAS_TPU:
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
name, size, batch = (
    ("nfnet_f0", 192, 256) if HAS_TPU else ("nfnet_pico", 32, 64)
)
recipe = keras_nfnets.recipes.get(name).scaled(
    batch_size=batch, epochs=1 if QUICK else 8, train_size=size
)

# %% [markdown]
# ## Images
#
# With TensorFlow beside JAX, `keras_nfnets.data` reads images by tf.data: files
# in folders, TFDS, records. It is used for its input pipeline alone, so
# `pip install tensorflow-cpu` will do. Without TensorFlow arrays work as they
# always do in Keras.

# %%
WITH_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None


def arrays():
    """Returns digits as RGB images of the network's size, and labels."""
    digits = keras_nfnets.data.digits(size=size)
    images = keras_nfnets.data.normalize(
        digits.train_images, digits.mean, digits.std
    )
    return np.repeat(images, 3, axis=-1), digits.train_labels


# %% [markdown]
# ## Train

# %%
with keras_nfnets.distribution.scope() as devices:
    print(devices)
    keras.utils.set_random_seed(0)
    if WITH_TENSORFLOW:
        source = keras_nfnets.data.open_source("digits")
        steps, channels = source.train_count // batch, source.channels
        feed = dict(
            x=keras_nfnets.data.train_batches(source, recipe),
            steps_per_epoch=steps,
            validation_data=keras_nfnets.data.test_batches(source, recipe),
            shuffle=False,
        )
    else:
        x, y = arrays()
        steps, channels = len(x) // batch, 3
        count = steps * batch  # every batch is whole
        feed = dict(x=x[:count], y=y[:count], batch_size=batch)
    model = keras_nfnets.NFNet(
        name,
        input_shape=(size, size, channels),
        classes=10,
        **recipe.model_args(),
    )
    model.compile(**recipe.compile_args(steps))
    history = model.fit(**feed, epochs=recipe.epochs, verbose=2)

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

# %% [markdown]
# ## The same by the command line
#
#     KERAS_BACKEND=jax keras-nfnets train --recipe nfnet_f0 \
#         --data folder:photos --precision bfloat16 --out runs/f0
#
# A run that is stopped goes on with `--resume` where it was.
