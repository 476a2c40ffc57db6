"""Lists the settings of a run that the command line takes, as data."""

import dataclasses
from collections import ChainMap
from collections.abc import Collection
from typing import Any

from keras_nfnets.checks import MAX_PIXELS, near_matches, unknown_name
from keras_nfnets.variants.table import VARIANTS

# What `--precision` can name: how Keras calls it. Weights, standardization,
# AGC's norms, the classifier's softmax and the loss are float32 in all.
PRECISIONS = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}
# What `keras-nfnets export` writes: how it is called in a run's folder.
EXPORTS = {
    "saved_model": "saved_model",
    "keras": "folded.keras",
    "onnx": "model.onnx",
    "openvino": "model.xml",
    "litert": "model.tflite",
}
# What runs a classifier: which of these it takes.
RUNTIMES = {
    "keras": "keras",
    "tensorflow": "saved_model",
    "onnx": "onnx",
    "openvino": "openvino",
    "litert": "litert",
}
# In which of these is written; not every format knows all.
EXPORT_PRECISIONS = ("float32", "float16", "int8")
# Recipes have their network's name, but for these.
OTHER_RECIPES: dict[str, Any] = {"nfnet_f5_repeated": None}
RECIPE_NAMES = ChainMap(OTHER_RECIPES, VARIANTS)


@dataclasses.dataclass(frozen=True)
class Option:
    """A setting of a run that the command line takes.

    Args:
        type: Type of its value.
        help: String.
        field: String, the field of `Settings`, or of its recipe after a dot.
        default: What it is where it is not given, or `None` where something
            else decides. Defaults to `None`.
        names: Names that it may have, or `None`. Defaults to `None`.
    """

    type: type
    help: str
    field: str
    default: Any = None
    names: Collection[str] | None = None

    def read(self, settings):
        """Returns the value that settings have."""
        value = settings
        for name in self.field.split("."):
            value = getattr(value, name)
        return value


OPTIONS = {
    "recipe": Option(
        str,
        "whose training settings",
        "recipe_name",
        "nfnet_pico",
        RECIPE_NAMES,
    ),
    "variant": Option(
        str, "the network (the recipe's)", "variant", names=VARIANTS
    ),
    "data": Option(
        str,
        "digits, folder:PATH, tfds:NAME[:VERSION] or tfrecord:PATH",
        "data",
        "digits",
    ),
    "batch_size": Option(
        int,
        "images per step on all devices; the learning rate follows",
        "recipe.batch_size",
    ),
    "epochs": Option(int, "length of the run", "recipe.epochs"),
    "image_size": Option(
        int,
        "side of a training image in pixels; the test size follows",
        "recipe.train_size",
    ),
    "learning_rate": Option(
        float, "at the end of the warm-up", "recipe.learning_rate"
    ),
    "clipping": Option(float, "lambda of AGC", "recipe.clipping"),
    "precision": Option(
        str,
        "of the layers: " + ", ".join(PRECISIONS),
        "precision",
        "float32",
        PRECISIONS,
    ),
    "seed": Option(int, "of all that is random", "seed", 0),
    "max_pixels": Option(
        int,
        "files of images with more pixels are not decoded",
        "max_pixels",
        MAX_PIXELS,
    ),
}


def check_names(options):
    """Raises a ValueError if an option is a name that is not known.

    Args:
        options: Dictionary of values, by name in `OPTIONS`. Others are passed
            over.
    """
    for name, value in options.items():
        names = OPTIONS[name].names if name in OPTIONS else None
        if names is None or value is None or value in names:
            continue
        if names is VARIANTS or names is RECIPE_NAMES:
            rule = "the name of a network"
            raise unknown_name(name, value, rule, names, "`keras-nfnets list`")
        raise ValueError(
            f"`{name}` must be one of {sorted(names)}. "
            f"{near_matches(value, names)}Received: {name}={value!r}"
        )
