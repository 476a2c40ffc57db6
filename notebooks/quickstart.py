# %% [markdown]
# # Quickstart
#
# Train a normalizer-free network on handwritten digits, look at its curves, and
# predict, save and export with it. A minute or two on two CPU cores.

# %%
# On Colab (with a CPU or a GPU) this installs the library.
import importlib.util

if importlib.util.find_spec("keras_nfnets") is None:
    # %pip install -q "keras-nfnets[data,onnx] @ git+REPOSITORY"
    pass

# %%
QUICK = False  # a test sets this, for one epoch
EPOCHS = 1 if QUICK else 12

# %% [markdown]
# ## Ten lines
#
# The digits are those of scikit-learn: 1,437 to train on, 360 held out. Before
# each update adaptive gradient clipping (AGC) scales down gradients that are
# large for the weights they belong to. It leaves out the classifier, as in the
# papers, and here the skip gains too: they start at zero, where AGC would hold
# them for longer than this training lasts.

# %%
import keras

import keras_nfnets
from keras_nfnets.data import digits, normalize

keras.utils.set_random_seed(0)
data = digits(size=32)
x = normalize(data.train_images, data.mean, data.std)
test_x = normalize(data.test_images, data.mean, data.std)

model = keras_nfnets.NFNet("nfnet_pico", input_shape=(32, 32, 1), classes=10)
steps = EPOCHS * -(-len(x) // 64)
model.compile(
    keras_nfnets.optimizers.SGD(
        keras.optimizers.schedules.CosineDecay(0.1, steps), momentum=0.9
    ),
    "sparse_categorical_crossentropy",
    metrics=["accuracy"],
    agc=keras_nfnets.AGC(0.04, exclude=["skip_gain", "classifier/kernel"]),
)
history = model.fit(
    x,
    data.train_labels,
    batch_size=64,
    epochs=EPOCHS,
    validation_data=(test_x, data.test_labels),
    verbose=2,
)

# %% [markdown]
# `agc_clipped` is the fraction of units (output neurons) that AGC clipped, a
# mean over the epoch. It is high while the network finds its way.
#
# ## Curves

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 3, figsize=(10, 2.8))
for axis, name in zip(axes, ("loss", "accuracy", "agc_clipped")):
    axis.plot(history.history[name], label="training")
    if f"val_{name}" in history.history:
        axis.plot(history.history[f"val_{name}"], label="held out")
        axis.legend()
    axis.set(title=name, xlabel="epoch")
figure.tight_layout()

# %% [markdown]
# ## Predict

# %%
probabilities = model.predict(test_x[:6], verbose=0)
figure, axes = plt.subplots(1, 6, figsize=(9, 1.8))
for axis, image, row in zip(axes, data.test_images, probabilities):
    axis.imshow(image[..., 0], cmap="gray_r")
    axis.set_title(f"{row.argmax()} ({row.max():.2f})")
    axis.axis("off")

# %% [markdown]
# ## Save, and load on any backend
#
# The largest difference between the outputs of both models:

# %%
model.save("digits.keras")
loaded = keras.models.load_model("digits.keras")
float(abs(loaded.predict(test_x[:6], verbose=0) - probabilities).max())

# %% [markdown]
# ## Export
#
# This ONNX file runs without Keras. Standardized weights are computed once and
# gains are folded into them. The file takes pixels in [0, 255]. `export` runs
# it, and keeps it only if it returns what the model returns.

# %%
from pathlib import Path

from keras_nfnets.data import Crop
from keras_nfnets.export import Description, export

names = [str(digit) for digit in range(10)]
export(
    model,
    "digits.onnx",
    format="onnx",
    mean=data.mean,
    std=data.std,
    description=Description(names, Crop(32, 32), channels=1),
    overwrite=True,
)
print(f"{Path('digits.onnx').stat().st_size / 1e6:.1f} MB")

# %%
classifier = keras_nfnets.Classifier("digits.onnx")
classifier.classify(data.test_images[0], top=3)

# %% [markdown]
# Next: [training on a TPU](colab_tpu.ipynb), [fine-tuning](fine_tuning.ipynb),
# [why AGC](why_agc.ipynb), [a model of your own](your_own_model.ipynb),
# [serving](serving.ipynb), [sounds as images](spectrograms.ipynb).
