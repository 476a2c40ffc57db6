"""Tries an installed package: a network trains, is saved, and comes back.

    python -I tools/smoke_test.py

Run with `-I`, Python does not import the package from this checkout. It needs
one backend, and takes half a minute.
"""

import contextlib
import io
import sys
import sysconfig
import tempfile
import warnings
from importlib import metadata
from pathlib import Path

import keras
import numpy as np

import keras_nfnets
from keras_nfnets import cli


def check(is_so, what):
    """Ends the process with a message unless something is so."""
    if not is_so:
        sys.exit(f"smoke test: {what}")


def command(*arguments):
    """Runs a command and returns what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = cli.main([str(argument) for argument in arguments])
    check(status == 0, f"{arguments[0]} returned {status}")
    return printed.getvalue()


def installed():
    """Checks where the package is, its version and its files."""
    folder = Path(keras_nfnets.__file__).parent
    site = Path(sysconfig.get_path("purelib"))
    check(folder.parent == site, f"{folder} is not in {site}")
    version = metadata.version("keras-nfnets")
    check(keras_nfnets.__version__ == version, f"{version} is installed")
    check((folder / "py.typed").is_file(), "py.typed is missing")
    for name in keras_nfnets.__all__:
        getattr(keras_nfnets, name)


def trains_and_comes_back(folder):
    """Trains a network and loads what it was saved as."""
    names = ["cat", "dog"]
    model = keras_nfnets.from_preset(
        "nfnet_pico", load_weights=False, class_names=names
    )
    x = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype("float32")
    model.compile("sgd", "sparse_categorical_crossentropy")
    logs = model.fit(x, np.arange(8) % 2, batch_size=8, verbose=0).history
    check(np.isfinite(logs["loss"][0]), f"the loss is {logs['loss']}")
    check("agc_clipped" in logs, "AGC does not report")
    expected = model.predict(x, verbose=0)
    model.save(folder / "model.keras")
    loaded = keras.models.load_model(folder / "model.keras")
    model.save_to_preset(folder / "pets")
    preset = keras_nfnets.from_preset(folder / "pets")
    check(preset.class_names == tuple(names), "the classes have other names")
    for other in (loaded, preset):
        found = other.predict(x, verbose=0)
        check(np.array_equal(found, expected), "a copy predicts otherwise")


def commands_answer(folder):
    """Runs the commands that need no data."""
    check("nfnet_f0" in command("list"), "list lacks nfnet_f0")
    command("summary", "nfnet_pico")
    source = folder / "pets" / "model.safetensors"
    target = folder / "pets.weights.h5"
    command("convert", source, target, "--variant", "nfnet_pico")
    check(target.is_file(), "convert wrote nothing")


def main():
    """Runs all checks."""
    # Of other packages, in versions that this package does not choose.
    warnings.simplefilter("ignore")
    installed()
    with tempfile.TemporaryDirectory() as folder:
        trains_and_comes_back(Path(folder))
        commands_answer(Path(folder))
    print(
        f"keras-nfnets {keras_nfnets.__version__} works with Keras "
        f"{keras.__version__} on {keras.backend.backend()}, Python "
        f"{sys.version.split()[0]}"
    )


if __name__ == "__main__":
    main()
