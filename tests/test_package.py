"""What a user meets first: the surface, its documentation, its weight."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_nfnets
from keras_nfnets import (
    callbacks,
    data,
    export,
    extras,
    layers,
    monitors,
    recipes,
)
from keras_nfnets.layers import activations
from keras_nfnets.models import imagenet
from keras_nfnets.training import agc, distribution, losses, optimizers, sam
from keras_nfnets.weights import files as weight_files
from keras_nfnets.weights import haiku as haiku_files
from keras_nfnets.weights import names as weights
from keras_nfnets.weights import published

ROOT = Path(__file__).parent.parent
MODULES = (
    keras_nfnets,
    activations,
    agc,
    callbacks,
    data,
    distribution,
    export,
    extras,
    haiku_files,
    imagenet,
    layers,
    losses,
    monitors,
    optimizers,
    published,
    recipes,
    sam,
    weight_files,
    weights,
)


def surface():
    """Every public function and class, by the name a user writes."""
    found = {}
    for module in MODULES:
        for name, value in vars(module).items():
            own = getattr(value, "__module__", "").startswith("keras_nfnets")
            if not own or name.startswith("_") or not callable(value):
                continue
            # A module's own names, and what the two packages re-export.
            if hasattr(module, "__path__") or value.__module__ == (
                module.__name__
            ):
                found[f"{module.__name__}.{name}"] = value
    return found


SURFACE = surface()
LAYERS = {n: v for n, v in vars(layers).items() if inspect.isclass(v)}


def takes_arguments(value):
    return any(
        name not in ("self", "args", "kwargs")
        for name in inspect.signature(value).parameters
    )


@pytest.mark.parametrize("name", SURFACE)
def test_public_names_are_documented(name):
    value = SURFACE[name]
    text = inspect.getdoc(value) or ""
    assert text.partition("\n")[0].rstrip().endswith((".", ":", "`"))
    if inspect.isclass(value):
        assert "Example:" in text
        # An inherited docstring would describe the parent.
        assert value.__doc__ != getattr(value.__mro__[1], "__doc__", None)


@pytest.mark.parametrize("name", SURFACE)
def test_documented_arguments_are_the_real_ones(name):
    value = SURFACE[name]
    text = inspect.getdoc(value) or ""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", text, re.M)
    if section is None:
        assert not inspect.isclass(value) or not takes_arguments(value)
        return
    documented = re.findall(r"^    \*{0,2}(\w+):", section[1], re.M)
    parameters = inspect.signature(value).parameters
    # A layer's `name` and a loss's `dtype` are Keras's, and need no words.
    own = [p for p in parameters if p not in ("name", "kwargs")]
    assert [d for d in documented if d not in ("name", "kwargs")] == own


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_registered(name):
    registered = keras.saving.get_registered_name(LAYERS[name])
    assert registered == f"keras_nfnets>{name}"
    assert keras.saving.get_registered_object(registered) is LAYERS[name]


def test_version_is_a_literal_that_the_changelog_has():
    """setuptools reads it from the source, where Keras need not be."""
    source = (ROOT / "keras_nfnets" / "__init__.py").read_text("utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f'\n__version__ = "{keras_nfnets.__version__}"\n' in source
    assert f"## [{keras_nfnets.__version__}]" in changes


def test_import_is_light():
    """What only the command line and the data need is loaded by them."""
    heavy = ("matplotlib", "PIL", "sklearn")
    program = (
        "import sys, keras; before = set(sys.modules); import keras_nfnets; "
        f"print(sorted((set(sys.modules) - before) & {set(heavy)!r}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "[]"
