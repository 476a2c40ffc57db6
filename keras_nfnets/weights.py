"""Names of the papers' weight arrays, and how they map to ours.

Layouts agree (HWIO kernels, IO dense kernels), so that mapping is renaming.
"""

import re

_PARTS = [
    (r"^stem/conv(\d+)/", r"stem_conv\1/"),
    (r"^head/conv/", "final_conv/"),
    (r"^head/classifier/", "linear/"),
    (r"/squeeze_excite/reduce/", "/~/squeeze_excite/~/linear/"),
    (r"/squeeze_excite/expand/", "/~/squeeze_excite/~/linear_1/"),
    (r"/(conv[^/]+)/", r"/~/\1/"),
    (r"/skip_gain/gain$", "/skip_gain"),
    (r"/kernel$", "/w"),
]


def haiku_names(model):
    """Maps the names in the papers' weight files to a model's variables.

    Args:
        model: A model of an NFNet variant, as `keras_nfnets.NFNet` returns.

    Returns:
        A dictionary from names like `NFNet/~/nf_block_1/~/conv0::w` to
        `keras.Variable`.

    Example:

    >>> names = haiku_names(keras_nfnets.NFNet("nfnet_pico"))
    >>> names["NFNet/~/stem_conv0::gain"].shape
    (16,)
    """
    variables = model.trainable_variables
    blocks = dict.fromkeys(
        v.path.split("/")[0] for v in variables if "_block" in v.path
    )
    # Haiku numbers the blocks through the network, the first without one.
    numbered = {
        block: f"nf_block_{i}" if i else "nf_block"
        for i, block in enumerate(blocks)
    }
    return {_haiku_name(v.path, numbered): v for v in variables}


def from_haiku(model, arrays):
    """Assigns the papers' arrays to a model, all of them or none.

    Args:
        model: A model of an NFNet variant, as `keras_nfnets.NFNet` returns.
        arrays: Dictionary from Haiku names, as in `haiku_names`, to arrays.

    Raises:
        ValueError: If a name is missing, unknown, or its shape differs.

    Example:

    >>> from_haiku(model, {"NFNet/~/stem_conv0::w": array, ...})
    """
    names = haiku_names(model)
    for name in sorted(names.keys() ^ arrays.keys()):
        where = "the arrays" if name in names else "the model"
        raise ValueError(
            f"`arrays` must name exactly the model's weights. {name!r} is "
            f"not in {where}"
        )
    for name, variable in names.items():
        if tuple(variable.shape) != arrays[name].shape:
            raise ValueError(
                f"`arrays` must have the model's shapes. Received: {name!r} "
                f"of shape {arrays[name].shape}, expected "
                f"{tuple(variable.shape)}"
            )
    for name, variable in names.items():
        variable.assign(arrays[name])


def _haiku_name(path, numbered):
    block, _, rest = path.partition("/")
    if block in numbered:
        path = f"{numbered[block]}/{rest}"
    is_dense = "/squeeze_excite/" in path or path.startswith("head/classifier")
    for pattern, replacement in _PARTS:
        path = re.sub(pattern, replacement, path)
    module, _, name = path.rpartition("/")
    if is_dense and name == "bias":
        name = "b"
    return f"NFNet/~/{module}::{name}"
