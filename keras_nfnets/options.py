"""Lists the settings of a run that the command line takes, as data.

`OPTIONS` has a row for each option of `keras-nfnets train`, and `runs.settings`
reads its values. The other tables have the names of precisions, export formats,
runtimes and recipes. Nothing here imports Keras.
"""

import dataclasses
from collections import ChainMap
from collections.abc import Callable, Collection
from typing import Any

from keras_nfnets.checks import MAX_PIXELS, near_matches, unknown_name
from keras_nfnets.image_size import size_from
from keras_nfnets.variants.table import VARIANTS

# The dtype policy of Keras for each value of `--precision`. With any of them,
# weights, standardization, AGC's norms, the classifier's softmax and the loss
# are float32.
PRECISIONS = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}
# The name in a run's folder for each format of `keras-nfnets export`.
EXPORTS = {
    "saved_model": "saved_model",
    "keras": "folded.keras",
    "onnx": "model.onnx",
    "openvino": "model.xml",
    "litert": "model.tflite",
}
# The format that each runtime of a classifier takes.
RUNTIMES = {
    "keras": "keras",
    "tensorflow": "saved_model",
    "onnx": "onnx",
    "openvino": "openvino",
    "litert": "litert",
}
# The precisions of exported files. Not every format has all.
EXPORT_PRECISIONS = ("float32", "float16", "int8")
# The networks of the recipes that do not have the name of one. `finetune` is
# for any.
OTHER_RECIPES: dict[str, str | None] = {
    "finetune": None,
    "nfnet_f5_repeated": "nfnet_f5",
    "nfnet_f0_finetune": "nfnet_f0",
    "nfnet_f1_finetune": "nfnet_f1",
    "nfnet_f3_finetune": "nfnet_f3",
    "nfnet_f3_plus_finetune": "nfnet_f3_plus",
    "nfnet_f7_finetune": "nfnet_f7",
    "nfnet_f7_plus_finetune": "nfnet_f7_plus",
}
RECIPE_NAMES: ChainMap[str, Any] = ChainMap(OTHER_RECIPES, VARIANTS)


@dataclasses.dataclass(frozen=True)
class Option:
    """Describes a setting of a run that the command line takes.

    Args:
        type: Function of its text that returns its value.
        help: String, its help.
        field: String, the field of `Settings`, or `"recipe."` and the field of
            its recipe.
        default: The value that an absent option has. Defaults to `None`: the
            recipe or the variant decides.
        names: Collection of the names that the value may have. Defaults to
            `None`, any value.
        off: The value for which the settings have `None`. Defaults to `None`,
            no such value.

    Example:

    >>> OPTIONS["epochs"].field
    'recipe.epochs'
    """

    type: Callable[[str], Any]
    help: str
    field: str
    default: Any = None
    names: Collection[str] | None = None
    off: Any = None

    def read(self, settings):
        """Returns the value of this option in a run's settings.

        Args:
            settings: `keras_nfnets.runs.Settings`.
        """
        value = settings
        for name in self.field.split("."):
            value = getattr(value, name)
        return self.off if value is None else value


OPTIONS = {
    "recipe": Option(
        str,
        "training settings: finetune, or the name of a network",
        "recipe_name",
        "nfnet_pico",
        RECIPE_NAMES,
    ),
    "variant": Option(
        str,
        "network to train (default: the recipe's)",
        "variant",
        names=VARIANTS,
    ),
    "data": Option(
        str,
        "digits, folder:PATH, tfds:NAME[:VERSION] or tfrecord:PATH",
        "data",
        "digits",
    ),
    "weights": Option(
        str,
        "weights to start from, with a new classifier: a file, imagenet for "
        "the published ones, or the folder of a run",
        "weights",
    ),
    "freeze_epochs": Option(
        int,
        "first epochs, in which the classifier alone is trained",
        "freeze_epochs",
        0,
    ),
    "batch_size": Option(
        int,
        "images per step on all devices; the learning rate follows",
        "recipe.batch_size",
    ),
    "epochs": Option(int, "number of epochs", "recipe.epochs"),
    "image_size": Option(
        size_from,
        "side of a training image in pixels, or HEIGHTxWIDTH; the test size "
        "follows",
        "recipe.train_size",
    ),
    "learning_rate": Option(
        float, "learning rate after the warm-up", "recipe.learning_rate"
    ),
    "clipping": Option(
        float,
        "threshold of AGC (the papers' lambda), 0 for no AGC",
        "recipe.clipping",
        off=0.0,
    ),
    "precision": Option(
        str,
        "precision of the layers: " + ", ".join(PRECISIONS),
        "precision",
        "float32",
        PRECISIONS,
    ),
    "seed": Option(int, "seed of everything random", "seed", 0),
    "max_pixels": Option(
        int,
        "limit on the pixels of an image file",
        "max_pixels",
        MAX_PIXELS,
    ),
}


def check_names(options):
    """Raises an error if the value of an option is a name that is not known.

    Args:
        options: Dictionary of values, by name in `OPTIONS`. Other names are not
            checked.

    Raises:
        ValueError: If a name is not known. The message has near matches.

    Example:

    >>> check_names({"variant": "nfnet_f0", "size": 256})
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
