# %% [markdown]
# # Fine-tuning on your own folder
#
# Weights to start from, a new classifier, then all layers. Two minutes on two
# CPU cores, with a small network that stands in for a published one.

# %%
# On Colab (with a CPU or a GPU) this installs the library.
import importlib.util

if importlib.util.find_spec("keras_nfnets") is None:
    # %pip install -q "keras-nfnets[data] @ git+REPOSITORY"
    pass

# %%
QUICK = False  # a test sets this, for one epoch of each stage

# %% [markdown]
# ## A folder of images
#
# One subfolder per class. Here it is made of the digits five to nine, as PNG
# files; for photographs of your own, give `open_source` the path of theirs. It
# holds a part of the images out.

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
source.class_names, source.train_count, source.test_count

# %% [markdown]
# ## Weights to start from
#
# `NFNet("eca_nfnet_l0", weights="imagenet")` fetches published weights, and
# `weights=FILE` reads those of a file. To run without a download, this notebook
# makes such a file: a small network learns the digits zero to four.

# %%
SGD = keras_nfnets.optimizers.SGD
# In so few steps AGC would leave skip gains at zero, and branches closed.
agc = keras_nfnets.AGC(0.04, exclude=["skip_gain", "classifier/kernel"])


def epochs(count):
    return 1 if QUICK else count


few = data.train_labels < 5  # stands for a large data set
images = normalize(data.train_images[few], data.mean, data.std)
images = images.repeat(3, axis=-1)  # image files are read as RGB
first = keras_nfnets.NFNet("nfnet_pico", input_shape=(32, 32, 3), classes=5)
first.compile(
    SGD(0.05, momentum=0.9), "sparse_categorical_crossentropy", agc=agc
)
first.fit(images, data.train_labels[few], 32, epochs=epochs(6), verbose=0)
first.save_weights("first.weights.h5")

# %% [markdown]
# ## The classifier alone
#
# The backbone is frozen, and the classifier's kernel is excluded from AGC. So
# `agc_clipped`, the fraction of units that AGC clipped, is zero or close to it:
# all that is left to clip is the classifier's bias.

# %%
base = keras_nfnets.NFNet(
    "nfnet_pico",
    input_shape=(32, 32, 3),
    include_top=False,
    pooling="avg",
    weights="first.weights.h5",
)
outputs = keras.layers.Dense(
    len(source.class_names), "softmax", name="classifier"
)(base.output)
model = keras_nfnets.AGCModel(base.input, outputs)

recipe = keras_nfnets.recipes.get("nfnet_pico").scaled(
    batch_size=32, epochs=epochs(5)
)
steps = source.train_count // recipe.batch_size
batches = dict(
    steps_per_epoch=steps,
    validation_data=keras_nfnets.data.test_batches(source, recipe),
    shuffle=False,
    verbose=2,
)
settings = dict(
    loss=keras_nfnets.losses.Crossentropy(),
    weighted_metrics=["accuracy"],  # the last test batch is padded
    agc=agc,
)
base.trainable = False
model.compile(SGD(0.03, momentum=0.9), **settings)
frozen = model.fit(
    keras_nfnets.data.train_batches(source, recipe),
    epochs=epochs(3),
    **batches,
)

# %% [markdown]
# ## All layers, slower
#
# Compiling again makes the change of `trainable` take effect. Now `agc_clipped`
# says how many units have gradients that are large for their weights. If it
# stays near one, the learning rate is too high or `clipping` too low; near
# zero, AGC does nothing.

# %%
base.trainable = True
model.compile(SGD(0.01, momentum=0.9), **settings)
thawed = model.fit(
    keras_nfnets.data.train_batches(source, recipe, seed=1),
    epochs=epochs(5),
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
# ## Name what an image shows
#
# The folder of each of these files is its class. Most of them are among the
# images that were trained on.

# %%
for path in sorted(folder.rglob("*.png"))[::150]:
    image = keras_nfnets.data.read_image(path, 32, source.channels)
    x = normalize(image[None], source.mean, source.std)
    row = model.predict_on_batch(x)[0]
    print(f"{path}: {source.class_names[row.argmax()]} ({row.max():.2f})")

# %% [markdown]
# ## By one command
#
#     keras-nfnets train --recipe finetune --weights imagenet \
#         --variant eca_nfnet_l0 --freeze-epochs 3 \
#         --data folder:photos --out runs/photos
#
# does the same, and `keras-nfnets predict runs/photos new.jpg` uses the result.
