"""Where each array of somebody else's weight file belongs in a model.

A source has names and layouts of its own: the papers' code (Haiku) has ours
but for the names, PyTorch Image Models (timm) has PyTorch's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np

from keras_nfnets.weights.values import checked

# How a source stores what we have: to its layout, and back to ours.
_LAYOUTS = {
    "same": (lambda x: x, lambda x: x),
    "conv": (
        lambda x: x.transpose(3, 2, 0, 1),
        lambda x: x.transpose(2, 3, 1, 0),
    ),
    "conv1d": (lambda x: x.transpose(2, 1, 0), lambda x: x.transpose(2, 1, 0)),
    "gain": (lambda x: x.reshape(-1, 1, 1, 1), lambda x: x.reshape(-1)),
    "dense": (lambda x: x.T, lambda x: x.T),
    "pointwise": (lambda x: x.T[:, :, None, None], lambda x: x[:, :, 0, 0].T),
}


@dataclass(frozen=True)
class Slot:
    """A variable's place in a source: which it is, and its layout there.

    Args:
        variable: `keras.Variable`.
        layout: String, how the source stores it: `"same"`, `"conv"`,
            `"conv1d"`, `"gain"`, `"dense"` or `"pointwise"`. Defaults to
            `"same"`.

    Example:

    >>> slot = timm_slots(model)["stem.conv1.weight"]
    >>> slot.read().shape
    (16, 3, 3, 3)
    """

    variable: keras.Variable
    layout: str = "same"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the source's array has."""
        ours = np.broadcast_to(0, tuple(self.variable.shape))
        return self.to_theirs(ours).shape

    def to_ours(self, array):
        """Returns an array of the source's layout in ours."""
        return _LAYOUTS[self.layout][1](array)

    def to_theirs(self, array):
        """Returns an array of our layout in the source's."""
        return _LAYOUTS[self.layout][0](array)

    def write(self, array: np.ndarray) -> None:
        """Assigns an array in the source's layout to the variable."""
        self.variable.assign(self.to_ours(array))

    def read(self) -> np.ndarray:
        """Returns the variable's value in the source's layout."""
        ours = np.asarray(self.variable.numpy())
        return np.array(self.to_theirs(ours), order="C")


def haiku_slots(model: keras.Model, root: str = "NFNet") -> dict[str, Slot]:
    """Maps the names in the papers' weight files to a model's variables.

    Args:
        model: A model as `keras_nfnets.NFNet` returns it.
        root: String, the network's name in the file: `"NFNet"`,
            `"NF_ResNet"` or `"NF_RegNet"`. Defaults to `"NFNet"`.

    Returns:
        A dictionary from names like `NFNet/~/nf_block_1/~/conv0::w` to
        `Slot`.

    Example:

    >>> slots = haiku_slots(keras_nfnets.NFNet("nfnet_pico"))
    >>> slots["NFNet/~/stem_conv0::gain"].shape
    (16,)
    """
    block = "nf_res_block" if root == "NF_ResNet" else "nf_block"
    # Haiku numbers the blocks through the network, the first without one.
    numbered = {
        name: f"{block}_{i}" if i else block
        for i, name in enumerate(_blocks(model))
    }
    rules = _HAIKU_SINGLE_STEM + _HAIKU if _has_single_stem(model) else _HAIKU
    return {
        f"{root}/~/{_renamed(_numbered(v.path, numbered), rules)}": Slot(v)
        for v in model.weights
    }


def timm_slots(model: keras.Model) -> dict[str, Slot]:
    """Maps the names in timm's state dictionaries to a model's variables.

    Args:
        model: A model as `keras_nfnets.NFNet` returns it.

    Returns:
        A dictionary from names like `stages.0.0.conv1.weight` to `Slot`.

    Example:

    >>> slots = timm_slots(keras_nfnets.NFNet("nfnet_l0"))
    >>> slots["stem.conv1.weight"].shape
    (16, 3, 3, 3)
    """
    inside = {
        name
        for name in _blocks(model)
        if model.get_layer(name).attention_inside
    }
    rules = _TIMM_SINGLE_STEM + _TIMM if _has_single_stem(model) else _TIMM
    slots = {}
    for variable in model.weights:
        path = variable.path
        attention = "attn" if path.split("/")[0] in inside else "attn_last"
        path = re.sub("/(squeeze_excite|eca)/", f"/{attention}/", path)
        name = _renamed(path, rules)
        slots[name] = Slot(variable, _timm_layout(name, variable))
    return slots


def assign(slots: Mapping[str, Slot], arrays: Mapping[str, np.ndarray]) -> None:
    """Assigns a source's arrays to their variables, all of them or none.

    Args:
        slots: Dictionary, as `haiku_slots` or `timm_slots` returns it.
        arrays: Dictionary from the source's names to arrays.

    Raises:
        ValueError: If a name is missing, unknown, its shape differs, or a
            value is not a finite number of the variable's type.

    Example:

    >>> assign(haiku_slots(model), {"NFNet/~/stem_conv0::w": array, ...})
    """
    for name in sorted(slots.keys() ^ arrays.keys()):
        where = "the file" if name in slots else "the model"
        raise ValueError(
            f"`arrays` must name exactly the model's weights. {name!r} is "
            f"not in {where}"
        )
    for name, slot in slots.items():
        if slot.shape != tuple(arrays[name].shape):
            raise ValueError(
                f"`arrays` must have the model's shapes. Received: {name!r} "
                f"of shape {tuple(arrays[name].shape)}, expected {slot.shape}"
            )
    values = {
        name: checked(name, arrays[name], slot.variable.dtype)
        for name, slot in slots.items()
    }
    for name, slot in slots.items():
        slot.write(values[name])


def collect(slots: Mapping[str, Slot]) -> dict[str, np.ndarray]:
    """Returns a model's weights under a source's names, in its layouts.

    Args:
        slots: Dictionary, as `haiku_slots` or `timm_slots` returns it.

    Returns:
        A dictionary from the source's names to NumPy arrays.

    Example:

    >>> arrays = collect(timm_slots(model))
    """
    return {name: slot.read() for name, slot in slots.items()}


_HAIKU_SINGLE_STEM = [(r"^stem/conv0/", "initial_conv/")]
_HAIKU = [
    (r"^stem/conv(\d+)/", r"stem_conv\1/"),
    (r"^head/conv/", "final_conv/"),
    (r"(squeeze_excite/.*/|^head/classifier/)bias$", r"\1b"),
    (r"^head/classifier/", "linear/"),
    (r"/squeeze_excite/reduce/", "/~/squeeze_excite/~/linear/"),
    (r"/squeeze_excite/expand/", "/~/squeeze_excite/~/linear_1/"),
    (r"/(conv[^/]+)/", r"/~/\1/"),
    (r"/skip_gain/gain$", "/skip_gain"),
    (r"/kernel$", "/w"),
    (r"/([^/]*)$", r"::\1"),
]

_TIMM_SINGLE_STEM = [(r"^stem/conv0/", "stem.conv.")]
_TIMM = [
    (r"^stem/conv(\d+)/", lambda m: f"stem.conv{int(m[1]) + 1}."),
    (r"^stage(\d+)_block(\d+)/", lambda m: f"stages.{int(m[1]) - 1}.{m[2]}/"),
    (r"/conv2/", "/conv3/"),
    (r"/conv1(b?)/", r"/conv2\1/"),
    (r"/conv0/", "/conv1/"),
    (r"/conv_shortcut/", "/downsample.conv/"),
    (r"/reduce/", "/fc1/"),
    (r"/expand/", "/fc2/"),
    (r"/skip_gain/gain$", "/skipinit_gain"),
    (r"^head/conv/", "final_conv/"),
    (r"^head/classifier/", "head.fc/"),
    (r"kernel$", "weight"),
    (r"/", "."),
]


def _timm_layout(name, variable):
    if name.endswith(".gain"):
        return "gain"
    if not name.endswith(".weight"):
        return "same"
    if ".fc1." in name or ".fc2." in name:
        return "pointwise"
    return {4: "conv", 3: "conv1d", 2: "dense"}[len(variable.shape)]


def _has_single_stem(model):
    return len(model.get_layer("stem").convs) == 1


def _blocks(model):
    first = (v.path.split("/")[0] for v in model.weights)
    return [name for name in dict.fromkeys(first) if "_block" in name]


def _numbered(path, numbered):
    block, _, rest = path.partition("/")
    return f"{numbered[block]}/{rest}" if block in numbered else path


def _renamed(path, rules):
    for pattern, replacement in rules:
        path = re.sub(pattern, replacement, path)
    return path
