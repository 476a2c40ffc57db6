"""Maps the arrays of other libraries' weight files to a model's variables.

A source has its own names and its own order of axes. A name is a module and a
variable in it, and the tables below translate the two apart. One kernel of the
second block, on its way to each source:

| | module | variable | axes |
|---|---|---|---|
| here | `stage1_block1/squeeze_excite/reduce` | `kernel` | IO |
| the papers' code | `nf_block_1/~/squeeze_excite/~/linear` | `w` | IO |
| timm | `stages.0.1.attn_last.fc1` | `weight` | OI11 |

This makes `NFNet/~/nf_block_1/~/squeeze_excite/~/linear::w` in a file of the
papers, written with Haiku, and `stages.0.1.attn_last.fc1.weight` in one of
timm (PyTorch Image Models). Haiku has the axes that Keras has.
"""

import re
from collections.abc import Mapping

import keras
import numpy as np

from keras_nfnets.weights.target import Target
from keras_nfnets.weights.values import checked

BLOCK_NAME = re.compile(r"stage(\d+)_block(\d+)")

# A row of a table of variables is the end of our path and the source's name.
HAIKU_HEAD = {"head/conv": "final_conv", "head/classifier": "linear"}
HAIKU_BLOCK = {
    "conv0": "/~/conv0",
    "conv1": "/~/conv1",
    "conv1b": "/~/conv1b",
    "conv2": "/~/conv2",
    "conv_shortcut": "/~/conv_shortcut",
    "squeeze_excite/reduce": "/~/squeeze_excite/~/linear",
    "squeeze_excite/expand": "/~/squeeze_excite/~/linear_1",
    "eca/conv": "/eca/conv",  # our name, since the papers have none
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
# By the end of timm's name and our axes. The first row that fits holds.
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
        `Target`.

    Example:

    >>> targets = haiku_targets(keras_nfnets.NFNet("nfnet_pico"))
    >>> targets["NFNet/~/stem_conv0::gain"].shape
    (16,)
    """
    stem = [f"stem_conv{i}" for i in range(_stem_convs(model))]
    modules = _stem(stem, "initial_conv") | HAIKU_HEAD
    block = "nf_res_block" if root == "NF_ResNet" else "nf_block"
    # Haiku counts through the whole network, and the first has no number.
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
        A dictionary from names like `stages.0.0.conv1.weight` to `Target`.

    Example:

    >>> targets = timm_targets(keras_nfnets.NFNet("nfnet_l0"))
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

    >>> assign(haiku_targets(model), {"NFNet/~/stem_conv0::w": array, ...})
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
    """Returns a model's weights under a source's names, with its axes.

    Args:
        targets: Dictionary, as `haiku_targets` or `timm_targets` returns it.

    Returns:
        A dictionary from the source's names to NumPy arrays.

    Example:

    >>> arrays = collect(timm_targets(model))
    """
    return {name: target.read() for name, target in targets.items()}


def _stem_convs(model):
    return len(model.get_layer("stem").convs)


def _stem(several, single):
    """Returns the stem's names; a single convolution has its own."""
    names = several if len(several) > 1 else [single]
    return {f"stem/conv{i}": name for i, name in enumerate(names)}


def _blocks(model):
    """Returns the numbers of stage and block for each block's name."""
    first = dict.fromkeys(v.path.split("/")[0] for v in model.weights)
    found = {name: BLOCK_NAME.fullmatch(name) for name in first}
    return {
        name: (int(match[1]), int(match[2]))
        for name, match in found.items()
        if match
    }


def _block(ours, theirs, table, **placeholders):
    return {
        f"{ours}/{a}": f"{theirs}{b.format(**placeholders)}"
        for a, b in table.items()
    }


def _translated(path, modules, variables):
    """Returns a source's names for a path's module and variable.

    A module that is in no table keeps its name, and so does a variable.
    """
    module, _, variable = path.rpartition("/")
    last_two = "/".join(path.split("/")[-2:])
    default = variables.get(variable, variable)
    return modules.get(module, module), variables.get(last_two, default)


def _timm_axes(name, axes):
    for ending, ours, theirs in TIMM_AXES:
        if name.endswith(ending) and axes == ours:
            return theirs
    return None
