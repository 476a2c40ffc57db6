# %% [markdown]
# # Sounds as images
#
# Spectrograms have one channel and are not square. In competitions on bird song
# networks such as `eca_nfnet_l0` are fine-tuned on them and served on a CPU.
# Here three kinds of calls are synthesized, and a small network learns to tell
# them apart and is exported. A minute and a half on two CPU cores.

# %%
# On Colab (with a CPU or a GPU) this installs the library.
import importlib.util

if importlib.util.find_spec("keras_nfnets") is None:
    # %pip install -q "keras-nfnets[data,onnx] @ git+REPOSITORY"
    pass
if importlib.util.find_spec("matplotlib") is None:
    raise ImportError("`pip install 'keras-nfnets[data]'` installs matplotlib")

# %%
QUICK = False  # a test sets this, for fewer sounds and one epoch

# %% [markdown]
# ## Sounds
#
# A second each, at a random pitch, loudness and moment, in noise.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_nfnets

RATE, SECONDS = 16_000, 1.0
random = np.random.default_rng(0)
moments = np.arange(int(RATE * SECONDS)) / RATE


def rising(low, high):
    """A whistle that rises from one frequency to another."""
    return np.sin(2 * np.pi * (low * moments + (high - low) * moments**2 / 2))


def trill(low, high):
    """A whistle whose frequency swings twelve times a second."""
    swing = np.sin(2 * np.pi * 12 * moments) / (2 * np.pi * 12)
    return np.sin(np.pi * ((low + high) * moments + (high - low) * swing))


def clicks(low, high):
    """Short bursts, nine a second."""
    return np.sin(2 * np.pi * high * moments) * (
        np.sin(2 * np.pi * 9 * moments) > 0.9
    )


CALLS = {"rising": rising, "trill": trill, "clicks": clicks}


def sound(call):
    """Returns the wave of one call."""
    low = random.uniform(800, 2500)
    wave = random.uniform(0.3, 1.0) * call(low, low + random.uniform(500, 2500))
    return np.roll(wave, random.integers(len(moments))) + random.normal(
        0, 0.3, len(moments)
    )


# %% [markdown]
# ## Spectrograms, 64 x 128 pixels of one channel
#
# The logarithm of the power of each frequency at each moment, scaled to mean 0
# and standard deviation 1 as the networks want it.

# %%
labels = np.arange(90 if QUICK else 600) % len(CALLS)
waves = np.stack([sound([*CALLS.values()][label]) for label in labels])
real, imaginary = keras.ops.stft(
    waves.astype("float32"),
    sequence_length=256,
    sequence_stride=125,
    fft_length=256,
)
power = keras.ops.convert_to_numpy(real**2 + imaginary**2)
images = np.log10(power + 1e-3)[:, :128, 1:129]  # time, frequency
images = images.swapaxes(1, 2)[:, ::-2, :, None].astype("float32")
images = (images - images.mean()) / images.std()
figure, axes = plt.subplots(1, 3, figsize=(8, 1.8))
for axis, image, label in zip(axes, images, labels):
    axis.imshow(image[..., 0], aspect="auto")
    axis.set(title=[*CALLS][label], xlabel="time", ylabel="frequency")
    axis.set(xticks=[], yticks=[])
figure.tight_layout()
images.shape

# %% [markdown]
# ## A network for that shape
#
# Weights for RGB images fit a network of one channel: the first kernel is
# summed over the colours, and a warning says so. For
# `NFNet("eca_nfnet_l0", input_shape=(64, 128, 1), classes=3)` that would be
# `weights="imagenet"`. To run without a download, the small network here starts
# from a file of RGB weights that were not trained.

# %%
keras.utils.set_random_seed(0)
rgb = keras_nfnets.NFNet("nfnet_pico", input_shape=(64, 128, 3), classes=3)
rgb.save_weights("rgb.weights.h5")
model = keras_nfnets.NFNet(
    "nfnet_pico",
    input_shape=(64, 128, 1),
    classes=3,
    weights="rgb.weights.h5",
)

# %%
model.compile(
    keras_nfnets.optimizers.SGD(0.05, momentum=0.9),
    "sparse_categorical_crossentropy",
    metrics=["accuracy"],
    agc=keras_nfnets.AGC(0.04, exclude=["skip_gain", "classifier/kernel"]),
)
held_out = len(images) // 5
history = model.fit(
    images[held_out:],
    labels[held_out:],
    batch_size=32,
    epochs=1 if QUICK else 5,
    validation_data=(images[:held_out], labels[:held_out]),
    verbose=2,
)

# %% [markdown]
# ## On a CPU, without Keras
#
# In such a competition the time for all sounds is limited. This prints the
# accuracy of the exported file on the held-out sounds, and the time for one.

# %%
import time

keras_nfnets.export.export(model, "calls.onnx", format="onnx", overwrite=True)
import onnxruntime

session = onnxruntime.InferenceSession("calls.onnx")
(name,) = [value.name for value in session.get_inputs()]
start = time.perf_counter()
(found,) = session.run(None, {name: images[:held_out]})
each = (time.perf_counter() - start) / held_out
right = (found.argmax(1) == labels[:held_out]).mean()
print(f"accuracy {right:.3f}, {1000 * each:.1f} ms per sound")

# %% [markdown]
# ## By the command line
#
# Spectrograms in a folder per class, as PNG files. Files of a folder are read
# as RGB, so the weights are taken as they are:
#
#     keras-nfnets train --recipe finetune --weights imagenet \
#         --variant eca_nfnet_l0 --image-size 128x512 \
#         --data folder:spectrograms --out runs/calls
