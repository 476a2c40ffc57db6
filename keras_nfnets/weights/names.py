"""Maps the arrays of other libraries' weight files to a model's variables.

Two sources publish weights: the papers' code, written with Haiku, and timm
(PyTorch Image Models). Each has its own names and, for timm, its own order of
axes. The tables below translate a module and its variable apart.

Follow one kernel of NFNet-F1, that of the first dense layer of
squeeze-and-excitation in the second block:

    stage1_block1/squeeze_excite/reduce/kernel         IO: (256, 128)

1. It is split into the module `stage1_block1/squeeze_excite/reduce` and the
   variable `kernel`.
2. The block gets the source's name. Haiku counts blocks through the network
   (`nf_block_1`), timm counts stages from zero (`stages.0.1`).
3. The row `squeeze_excite/reduce` of `HAIKU_BLOCK` and `TIMM_BLOCK` gives the
   rest of the module. Modules of stem and head have names of their own, as in
   `HAIKU_HEAD` and `TIMM_HEAD`.
4. The row `kernel` of `HAIKU_VARIABLES` and `TIMM_VARIABLES` gives the
   variable.
5. Haiku has the axes of Keras. For timm, the first row of `TIMM_AXES` that fits
   gives the axes. timm computes these dense layers as 1x1 convolutions.

The results are the names in the files:

    NFNet/~/nf_block_1/~/squeeze_excite/~/linear::w    IO: (256, 128)
    stages.0.1.attn_last.fc1.weight                    OI11: (128, 256, 1, 1)
"""

import re
from collections.abc import Mapping

import keras
import numpy as np

from keras_nfnets.weights.target import Target
from keras_nfnets.weights.values import checked

BLOCK_NAME = re.compile(r"stage(\d+)_block(\d+)")

# A table of modules maps our module to the source's. A table of variables maps
# the end of our path to the source's variable.
HAIKU_HEAD = {"head/conv": "final_conv", "head/classifier": "linear"}
HAIKU_BLOCK = {
    "conv0": "/~/conv0",
    "conv1": "/~/conv1",
    "conv1b": "/~/conv1b",
    "conv2": "/~/conv2",
    "conv_shortcut": "/~/conv_shortcut",
    "squeeze_excite/reduce": "/~/squeeze_excite/~/linear",
    "squeeze_excite/expand": "/~/squeeze_excite/~/linear_1",
    "eca/conv": "/eca/conv",  # The papers have no ECA, so this name is ours.
    "skip_gain": "",
}
HAIKU_VARIABLES = {
    "kernel": "w",
    "reduce/bias": "b",
    "expand/bias": "b",
    "classifier/bias": "b",
    "skip_gain/gain": "skip_gain",
}

TIMM_HEAD = {"head/conv": "final_conv", "head/classifier": "head.fc"}
# `attention` is `attn` inside the bottleneck and `attn_last` behind it.
TIMM_BLOCK = {
    "conv0": ".conv1",
    "conv1": ".conv2",
    "conv1b": ".conv2b",
    "conv2": ".conv3",
    "conv_shortcut": ".downsample.conv",
    "squeeze_excite/reduce": ".{attention}.fc1",
    "squeeze_excite/expand": ".{attention}.fc2",
    "eca/conv": ".{attention}.conv",
    "skip_gain": "",
}
TIMM_VARIABLES = {"kernel": "weight", "skip_gain/gain": "skipinit_gain"}
# The end of timm's name, our axes, and timm's axes. The first row that fits
# applies; an array that fits none has our axes.
TIMM_AXES = (
    (".gain", "O", "O111"),
    (".fc1.weight", "IO", "OI11"),
    (".fc2.weight", "IO", "OI11"),
    (".weight", "IO", "OI"),
    (".weight", "WIO", "OIW"),
    (".weight", "HWIO", "OIHW"),
)


def haiku_targets(model: keras.Model, root: str = "NFNet") -> dict[str, Target]:
    """Maps the names in the papers' weight files to a model's variables.

    Args:
        model: A model as `keras_nfnets.NFNet` returns it.
        root: String, the network's name in the file: `"NFNet"`,
            `"NF_ResNet"` or `"NF_RegNet"`. Defaults to `"NFNet"`.

    Returns:
        A dictionary from names like `NFNet/~/nf_block_1/~/conv0::w` to
        `Target`, one for each weight of the model.

    Example:

    >>> model = keras_nfnets.NFNet("nfnet_pico")
    >>> targets = keras_nfnets.weights.haiku_targets(model)
    >>> targets["NFNet/~/stem_conv0::gain"].shape
    (16,)
    """
    stem = [f"stem_conv{i}" for i in range(_stem_convs(model))]
    modules = _stem(stem, "initial_conv") | HAIKU_HEAD
    block = "nf_res_block" if root == "NF_ResNet" else "nf_block"
    # Haiku numbers blocks through the whole network, except the first.
    for number, name in enumerate(_blocks(model)):
        theirs = f"{block}_{number}" if number else block
        modules |= _block(name, theirs, HAIKU_BLOCK)
    targets = {}
    for variable in model.weights:
        module, name = _translated(variable.path, modules, HAIKU_VARIABLES)
        targets[f"{root}/~/{module}::{name}"] = Target(variable)
    return targets


def timm_targets(model: keras.Model) -> dict[str, Target]:
    """Maps the names in timm's state dictionaries to a model's variables.

    Args:
        model: A model as `keras_nfnets.NFNet` returns it.

    Returns:
        A dictionary from names like `stages.0.0.conv1.weight` to `Target`, one
        for each weight of the model.

    Example:

    >>> model = keras_nfnets.NFNet("nfnet_l0")
    >>> targets = keras_nfnets.weights.timm_targets(model)
    >>> targets["stem.conv1.weight"].shape
    (16, 3, 3, 3)
    """
    stem = [f"stem.conv{i + 1}" for i in range(_stem_convs(model))]
    modules = _stem(stem, "stem.conv") | TIMM_HEAD
    for name, (stage, number) in _blocks(model).items():
        # timm counts stages from zero, and blocks in each stage.
        theirs = f"stages.{stage - 1}.{number}"
        inside = model.get_layer(name).attention_inside
        attention = "attn" if inside else "attn_last"
        modules |= _block(name, theirs, TIMM_BLOCK, attention=attention)
    targets = {}
    for variable in model.weights:
        module, name = _translated(variable.path, modules, TIMM_VARIABLES)
        name = f"{module}.{name}".replace("/", ".")
        axes = _timm_axes(name, Target(variable).axes)
        targets[name] = Target(variable, axes)
    return targets


def assign(
    targets: Mapping[str, Target], arrays: Mapping[str, np.ndarray]
) -> None:
    """Assigns a source's arrays to their variables, all of them or none.

    Args:
        targets: Dictionary, as `haiku_targets` or `timm_targets` returns it.
        arrays: Dictionary from the source's names to arrays.

    Raises:
        ValueError: If a name is missing or unknown, if a shape differs, or if
            a value is not a finite number of the variable's type.

    Example:

    >>> targets = keras_nfnets.weights.haiku_targets(
    ...     keras_nfnets.NFNet("nfnet_pico")
    ... )
    >>> arrays = keras_nfnets.weights.collect(targets)
    >>> keras_nfnets.weights.assign(targets, arrays)
    """
    for name in sorted(targets.keys() ^ arrays.keys()):
        where = "the file" if name in targets else "the model"
        raise ValueError(
            f"`arrays` must name exactly the model's weights. {name!r} is "
            f"not in {where}"
        )
    for name, target in targets.items():
        if target.shape != tuple(arrays[name].shape):
            raise ValueError(
                f"`arrays` must have the model's shapes. Received: {name!r} "
                f"of shape {tuple(arrays[name].shape)}, expected {target.shape}"
            )
    values = {
        name: checked(name, arrays[name], target.variable.dtype)
        for name, target in targets.items()
    }
    for name, target in targets.items():
        target.write(values[name])


def collect(targets: Mapping[str, Target]) -> dict[str, np.ndarray]:
    """Returns a model's weights under a source's names, in its axes.

    Args:
        targets: Dictionary, as `haiku_targets` or `timm_targets` returns it.

    Returns:
        A dictionary from the source's names to NumPy arrays.

    Example:

    >>> model = keras_nfnets.NFNet("nfnet_l0")
    >>> targets = keras_nfnets.weights.timm_targets(model)
    >>> arrays = keras_nfnets.weights.collect(targets)
    >>> arrays["stages.0.0.conv1.weight"].shape
    (64, 128, 1, 1)
    """
    return {name: target.read() for name, target in targets.items()}


def _stem_convs(model):
    """Returns the number of convolutions in the stem."""
    return len(model.get_layer("stem").convs)


def _stem(several, single):
    """Returns the stem's names; a single convolution has its own."""
    names = several if len(several) > 1 else [single]
    return {f"stem/conv{i}": name for i, name in enumerate(names)}


def _blocks(model):
    """Returns the numbers of stage and block, by the block's name."""
    first = dict.fromkeys(v.path.split("/")[0] for v in model.weights)
    found = {name: BLOCK_NAME.fullmatch(name) for name in first}
    return {
        name: (int(match[1]), int(match[2]))
        for name, match in found.items()
        if match
    }


def _block(ours, theirs, table, **placeholders):
    """Returns the source's modules in one block, by ours."""
    return {
        f"{ours}/{a}": f"{theirs}{b.format(**placeholders)}"
        for a, b in table.items()
    }


def _translated(path, modules, variables):
    """Returns the source's names for the module and variable of a path.

    A module that is in no table keeps its name, and so does a variable.
    """
    module, _, variable = path.rpartition("/")
    last_two = "/".join(path.split("/")[-2:])
    default = variables.get(variable, variable)
    return modules.get(module, module), variables.get(last_two, default)


def _timm_axes(name, axes):
    """Returns timm's axes of an array, or `None` where they are ours."""
    for ending, ours, theirs in TIMM_AXES:
        if name.endswith(ending) and axes == ours:
            return theirs
    return None
