"""Converts weights between the papers' files, timm's and ours.

    python tools/convert_weights.py F0_haiku.npz f0.weights.h5 \\
        --variant nfnet_f0
    python tools/convert_weights.py f0.weights.h5 f0.safetensors \\
        --variant nfnet_f0 --to timm

The source's ending says what it is: `.npz` (the papers' pickles, read without
unpickling), `.safetensors` or `.pth` (timm), `.weights.h5` or `.keras` (ours).
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console  # noqa: E402 (the backend comes first)
from rich.table import Table  # noqa: E402

import keras_nfnets  # noqa: E402
from keras_nfnets.files import check_is_file, replacing  # noqa: E402
from keras_nfnets.weights import files as weight_files  # noqa: E402
from keras_nfnets.weights import keras as keras_files  # noqa: E402

ENDINGS = {
    "keras": keras_files.ENDINGS,
    "timm": (".safetensors",),
    "haiku": (".npz",),
}
TORCH = (".pth", ".pt", ".bin")


def main(argv=None):
    options = _arguments(argv)
    console = Console(soft_wrap=True)
    try:
        _check_destination(options)
        model = _converted(options)
        _write(model, options)
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    console.print(_mapping(model, options.to, options.root))
    console.print(f"wrote {options.destination}")
    return 0


def _converted(options):
    """Returns the model with the source's weights in it."""
    if str(options.source).endswith(keras_files.ENDINGS):
        model = _model(options.variant, weight_files.classes_in(options.source))
        weight_files.load(model, options.source)
    else:
        arrays = _read(options.source)
        model = _model(options.variant, weight_files.classes_of(arrays))
        weight_files.load_arrays(model, arrays)
    return model


def _model(variant, classes):
    """Returns a fresh model, without its top where a file has no classes."""
    return keras_nfnets.NFNet(
        variant, include_top=classes is not None, classes=classes or 1000
    )


def _read(path):
    if path.suffix not in TORCH:
        return weight_files.read(path)
    check_is_file(path, "source")
    import torch

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


def _write(model, options):
    if options.to == "keras":
        with replacing(options.destination) as temporary:
            if options.destination.name.endswith(".weights.h5"):
                model.save_weights(temporary)
            else:
                model.save(temporary)
    else:
        weight_files.write(model, options.destination, options.root)


def _mapping(model, source, root):
    """Returns a table of what was written, variable by variable."""
    if source == "timm":
        targets = keras_nfnets.weights.timm_targets(model)
    else:
        targets = keras_nfnets.weights.haiku_targets(model, root)
    table = Table("theirs", "ours", "shape")
    for name, target in targets.items():
        shape = " x ".join(map(str, target.variable.shape)) or "scalar"
        table.add_row(name, target.variable.path, shape)
    return table


def _check_destination(options):
    if not str(options.destination).endswith(ENDINGS[options.to]):
        raise ValueError(
            f"`destination` must end in {' or '.join(ENDINGS[options.to])} "
            f"with --to {options.to}. Received: {options.destination}"
        )


def _arguments(argv):
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(__doc__.splitlines()[2:]),
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("destination", type=Path)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--to", choices=ENDINGS, default="keras")
    parser.add_argument(
        "--root",
        choices=("NFNet", "NF_ResNet", "NF_RegNet"),
        default="NFNet",
        help="the network's name in a file of the papers (default: NFNet)",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
