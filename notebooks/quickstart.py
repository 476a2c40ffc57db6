# %% [markdown]
# # Quickstart
#
# A normalizer-free network learns handwritten digits, is looked at, saved, and
# exported. A minute on two CPU cores.

# %%
# On Colab this installs the library; elsewhere it is there already.
import importlib.util

if importlib.util.find_spec("keras_nfnets") is None:
    # %pip install -q "keras-nfnets[data,onnx] @ git+REPOSITORY"
    pass

# %%
QUICK = False  # a test sets this, for an epoch in place of fifteen

# %% [markdown]
# ## Ten lines
#
# The digits are those of scikit-learn, 1,437 for training. Before each update
# adaptive gradient clipping (AGC) scales down gradients that are large for the
# weights they belong to.

# %%
import keras

import keras_nfnets
from keras_nfnets.data import digits, normalize

keras.utils.set_random_seed(0)
data = digits(size=32)
x = normalize(data.train_images, data.mean, data.std)
test_x = normalize(data.test_images, data.mean, data.std)

model = keras_nfnets.NFNet("nfnet_pico", input_shape=(32, 32, 1), classes=10)
model.compile(
    keras_nfnets.optimizers.SGD(0.1, momentum=0.9),
    "sparse_categorical_crossentropy",
    metrics=["accuracy"],
    agc=keras_nfnets.AGC(0.04, exclude=["skip_gain", "classifier/kernel"]),
)
history = model.fit(
    x,
    data.train_labels,
    batch_size=64,
    epochs=1 if QUICK else 15,
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

# %%
model.save("digits.keras")
loaded = keras.models.load_model("digits.keras")
float(abs(loaded.predict(test_x[:6], verbose=0) - probabilities).max())

# %% [markdown]
# ## Export
#
# The file below runs without Keras: standardized weights are computed once and
# gains are folded into them. It takes pixels in [0, 255]. Once it is written it
# is run, and it stays only if it returns what the model returns.

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
# [why AGC](why_agc.ipynb), [a model of your own](your_own_model.ipynb).
