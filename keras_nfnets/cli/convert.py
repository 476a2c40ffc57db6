"""Runs the command `convert`, which translates weight files.

It reads the papers' files, timm's and ours, and writes each of the others.
"""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from keras_nfnets import private_names
from keras_nfnets.extras import require
from keras_nfnets.files import check_is_file, replacing
from keras_nfnets.models.nfnet import NFNet
from keras_nfnets.weights import files as weight_files
from keras_nfnets.weights import keras as keras_files
from keras_nfnets.weights.names import haiku_targets, timm_targets

private_names.check()

ENDINGS = {
    "keras": keras_files.ENDINGS,
    "timm": (".safetensors",),
    "haiku": (".npz",),
}
TORCH = (".pth", ".pt", ".bin")


def convert(source, destination, variant, to="keras", root="NFNet"):
    """Converts a weight file, and prints what became of each variable.

    Args:
        source: String, a file whose ending says what it is: `.npz` (the papers'
            pickles, read without unpickling), `.safetensors`, `.pth`, `.pt` or
            `.bin` (timm), `.weights.h5` or `.keras` (ours).
        destination: String, the file to write.
        variant: String, a key of `VARIANTS`.
        to: String, `"keras"`, `"timm"` or `"haiku"`. Defaults to `"keras"`.
        root: String, the network's name in a file of the papers, see
            `weights.haiku_targets`. Defaults to `"NFNet"`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the source is damaged or of another network, or the
            ending of a path does not fit.
        ImportError: If the source is PyTorch's, which is not installed.
        OSError: If the file cannot be written.

    Example:

    >>> convert("F0_haiku.npz", "f0.weights.h5", "nfnet_f0")
    """
    source, destination = Path(source), Path(destination)
    if not destination.name.endswith(ENDINGS[to]):
        raise ValueError(
            f"`destination` must end in {' or '.join(ENDINGS[to])} with "
            f"--to {to}. Received: {destination}"
        )
    model = _converted(source, variant)
    _write(model, destination, to, root)
    console = Console(soft_wrap=True)
    console.print(_mapping(model, to, root))
    console.print(f"wrote {destination}")


def _converted(source, variant):
    """Returns the model with the source's weights in it."""
    if source.name.endswith(keras_files.ENDINGS):
        model = _model(variant, weight_files.classes_in(source))
        weight_files.load(model, source)
    else:
        arrays = _read(source)
        model = _model(variant, weight_files.classes_of(arrays))
        weight_files.load_arrays(model, arrays)
    return model


def _model(variant, classes):
    """Returns a fresh model, without its top where a file has no classes."""
    return NFNet(
        variant, include_top=classes is not None, classes=classes or 1000
    )


def _read(path):
    """Returns the arrays of a file of the papers, of timm or of PyTorch."""
    if path.suffix not in TORCH:
        return weight_files.read(path)
    check_is_file(path, "source")
    torch = require("torch", "torch")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # of many kinds, and PyTorch's text says how to trust it
        raise ValueError(
            f"{str(path)!r} is damaged, or is not a file of tensors alone"
        ) from None
    state = state.get("state_dict", state) if isinstance(state, dict) else None
    if not state or not all(torch.is_tensor(v) for v in state.values()):
        raise ValueError(f"{str(path)!r} does not hold a state dictionary")
    return {name: value.numpy() for name, value in state.items()}


def _write(model, destination, to, root):
    """Writes the model's weights under the names of `to`."""
    if to != "keras":
        weight_files.write(model, destination, root)
        return
    with replacing(destination) as temporary:
        if destination.name.endswith(".weights.h5"):
            model.save_weights(temporary)
        else:
            model.save(temporary)


def _mapping(model, to, root):
    """Returns a table of what was written, variable by variable."""
    is_timm = to == "timm"
    targets = timm_targets(model) if is_timm else haiku_targets(model, root)
    title = "timm's name" if is_timm else "the papers' name"
    table = Table(title, "ours", "shape")
    for name, target in targets.items():
        shape = " x ".join(map(str, target.variable.shape)) or "scalar"
        table.add_row(name, target.variable.path, shape)
    return table
