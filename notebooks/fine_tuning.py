# %% [markdown]
# # Fine-tuning on your own folder
#
# Published weights, a new classifier, then everything. Three minutes on two CPU
# cores with the small network that stands in for a published one here.

# %%
# On Colab this installs the library; elsewhere it is there already.
import importlib.util

if importlib.util.find_spec("keras_nfnets") is None:
    # %pip install -q "keras-nfnets[data] @ git+REPOSITORY"
    pass

# %%
QUICK = False  # a test sets this, for an epoch of each stage

# %% [markdown]
# ## A folder of images
#
# One subfolder per class, as photographs are kept. Here: the digits five to
# nine, as PNG files.

# %%
import os
import pathlib

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
import keras

import keras_nfnets
from keras_nfnets.data import digits, normalize

keras.utils.set_random_seed(0)
data = digits(size=32)
folder = pathlib.Path("photos")
for i, (image, label) in enumerate(zip(data.train_images, data.train_labels)):
    if label >= 5:
        path = folder / str(label) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(path, image, scale=False)
source = keras_nfnets.data.open_source(f"folder:{folder}")
source.class_names, source.train_count

# %% [markdown]
# ## Weights to start from
#
# `weights="imagenet"` fetches published ones. This notebook makes its own, on
# the digits zero to four, so that it runs without a network.

# %%
SGD = keras_nfnets.optimizers.SGD
# In so few steps AGC would leave skip gains at zero, and branches closed.
agc = keras_nfnets.AGC(0.04, exclude=["skip_gain", "classifier/kernel"])
settings = dict(loss="sparse_categorical_crossentropy", metrics=["accuracy"])


def epochs(count):
    return 1 if QUICK else count


few = data.train_labels < 5
images = normalize(data.train_images[few], data.mean, data.std)
images = images.repeat(3, axis=-1)  # image files are read as RGB
first = keras_nfnets.NFNet("nfnet_pico", input_shape=(32, 32, 3), classes=5)
first.compile(SGD(0.05, momentum=0.9), agc=agc, **settings)
first.fit(images, data.train_labels[few], 32, epochs=epochs(8), verbose=0)
first.save_weights("first.weights.h5")

# %% [markdown]
# ## The classifier alone
#
# The backbone is frozen. `agc_clipped` counts units whose weights have left the
# floor `epsilon`; what is frozen has no gradient, and the classifier's kernel
# is excluded, so there is hardly anything to clip.

# %%
base = keras_nfnets.NFNet(
    "nfnet_pico",
    input_shape=(32, 32, 3),
    include_top=False,
    pooling="avg",
    weights="first.weights.h5",
)
outputs = keras.layers.Dense(5, "softmax", name="classifier")(base.output)
model = keras_nfnets.AGCModel(base.input, outputs)

recipe = keras_nfnets.recipes.get("nfnet_pico").scaled(
    batch_size=32, epochs=epochs(6)
)
steps = source.train_count // recipe.batch_size
batches = dict(
    steps_per_epoch=steps,
    validation_data=keras_nfnets.data.test_batches(source, recipe),
    shuffle=False,
    verbose=2,
)
base.trainable = False
model.compile(
    SGD(0.1, momentum=0.9),
    keras_nfnets.losses.Crossentropy(),
    metrics=["accuracy"],
    agc=agc,
)
frozen = model.fit(
    keras_nfnets.data.train_batches(source, recipe),
    epochs=epochs(3),
    **batches,
)

# %% [markdown]
# ## Everything, slower
#
# Now `agc_clipped` says something: how many units have a gradient that is large
# for their weights. A value near one for long means a learning rate that is too
# high or a `clipping` that is too low; near zero, AGC does nothing.

# %%
base.trainable = True
model.compile(
    SGD(0.02, momentum=0.9),
    keras_nfnets.losses.Crossentropy(),
    metrics=["accuracy"],
    agc=agc,
)
thawed = model.fit(
    keras_nfnets.data.train_batches(source, recipe, seed=1),
    epochs=epochs(6),
    **batches,
)

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 2, figsize=(8, 2.8))
for axis, name in zip(axes, ("val_accuracy", "agc_clipped")):
    values = frozen.history[name] + thawed.history[name]
    axis.plot(range(1, len(values) + 1), values, marker="o")
    axis.axvline(len(frozen.history[name]) + 0.5, color="gray", linestyle=":")
    axis.set(title=f"{name}: frozen, then all", xlabel="epoch")
figure.tight_layout()

# %% [markdown]
# ## By one command
#
#     keras-nfnets train --recipe finetune --weights imagenet \
#         --variant eca_nfnet_l0 --freeze-epochs 1 \
#         --data folder:photos --out runs/photos
#
# and afterwards `keras-nfnets predict runs/photos new.jpg`.
