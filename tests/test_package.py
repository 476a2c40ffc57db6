"""The public surface is complete, documented, and light to import."""

import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import keras
import pytest

import keras_nfnets
from keras_nfnets import layers

ROOT = Path(__file__).parent.parent
# All that a user may touch, held against what is there.
PUBLIC = """
    AGC AGCModel Classifier NFNet PresetModel SAM VARIANTS Variant __version__
    activations agc callbacks complexity data decode_predictions distribution
    evaluation_crop export feature_strides from_preset haiku_files imagenet
    initializers layers list_models losses monitors optimizers preprocess_input
    published recipes runs sam surgery weight_files weights
""".split()
MODULES = [
    keras_nfnets,
    *filter(inspect.ismodule, (getattr(keras_nfnets, n) for n in PUBLIC)),
]


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
    if issubclass(value, Exception):
        return False
    return any(
        name not in ("self", "args", "kwargs")
        for name in inspect.signature(value).parameters
    )


def test_surface_is_this_and_nothing_else():
    assert dir(keras_nfnets) == sorted(PUBLIC) == sorted(keras_nfnets.__all__)


def test_rooms_list_their_names():
    """What a room's `__all__` lists is what its imports hand on."""
    rooms = [m for m in MODULES[1:] if hasattr(m, "__path__")]
    for room in rooms:
        own = {
            name
            for name, value in vars(room).items()
            if not name.startswith("_") and not inspect.ismodule(value)
        }
        assert set(room.__all__) == own, room.__name__


def test_unknown_name_gets_a_near_match():
    message = "no attribute 'NFNets'. Did you mean 'NFNet'"
    with pytest.raises(AttributeError, match=message):
        _ = keras_nfnets.NFNets


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


def annotated(value):
    """The functions of a public name that must say what they take."""
    if not inspect.isclass(value):
        return [value]
    own = [
        getattr(method, "__func__", getattr(method, "fget", method))
        for name, method in vars(value).items()
        if name == "__init__" or not name.startswith("_")
    ]
    return [method for method in own if inspect.isfunction(method)]


def missing_annotations(function):
    signature = inspect.signature(function)
    empty = inspect.Parameter.empty
    names = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.annotation is empty and name not in ("self", "cls")
    ]
    if signature.return_annotation is empty:
        names.append("return")
    return names


def without_annotations(names):
    return {
        function.__qualname__: missing
        for name in names
        for function in annotated(SURFACE[name])
        if (missing := missing_annotations(function))
    }


@pytest.mark.parametrize("name", SURFACE)
def test_public_names_are_annotated(name):
    assert not without_annotations([name])


def test_annotations_are_for_users():
    """Where `py.typed` is, a type checker reads the package's annotations."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        data = tomllib.load(file)["tool"]["setuptools"]["package-data"]
    assert data == {"keras_nfnets": ["py.typed"]}
    assert (ROOT / "keras_nfnets" / "py.typed").is_file()


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
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {keras_nfnets.__version__}\n" in citation


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("--help", 0),
        ("--version", 0),
        ("list", 0),
        ("train --help", 0),
        ("convert a.npz a.weights.h5 --variant nfnet_f00", 2),
        ("tpu-compile nfnet_f0 --topology v5e:9x9", 2),
        ("summary nfnet_f0", 0),
        ("train --out nowhere --precision half", 2),
        ("train --out nowhere --variant nfnet_f00", 2),
    ],
)
def test_command_line_answers_without_keras(command, status):
    program = [sys.executable, "-X", "importtime", "-m", "keras_nfnets"]
    result = subprocess.run(
        [*program, *command.split()], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == status
    imported = re.findall(r"\| +([\w.]+)$", result.stderr, re.M)
    assert "keras_nfnets.cli" in imported
    assert not {"keras", "tensorflow", "jax", "torch"} & set(imported)


def test_installed_command_is_recognized(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/keras-nfnets", "list"])
    assert keras_nfnets._is_command_line()
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert not keras_nfnets._is_command_line()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """What a process of its own finds that imports the package and no more."""
    path = tmp_path_factory.mktemp("fresh") / "model.keras"
    inputs = keras.Input((8, 8, 3))
    model = keras_nfnets.AGCModel(inputs, layers.WSConv2D(4, 3)(inputs))
    model.compile("sgd", "mse", agc=keras_nfnets.AGC(0.02))
    model.save(path)
    program = """
import json, sys, keras
before = set(sys.modules)
import keras_nfnets
imported = sorted(set(sys.modules) - before)
model = keras.models.load_model(sys.argv[1])
clips = model.optimizer.agc == keras_nfnets.AGC(0.02)
is_ours = isinstance(model, keras_nfnets.AGCModel)
print(json.dumps(dict(imported=imported, loads=clips and is_ours)))
"""
    result = subprocess.run(
        [sys.executable, "-c", program, path],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.long
def test_file_loads_where_only_the_package_was_imported(fresh):
    """Keras finds the classes though no public name was asked for."""
    assert fresh["loads"]


def test_classes_that_a_file_may_name_come_with_the_package(fresh):
    """Each module that registers one is there after the import alone."""
    package = ROOT / "keras_nfnets"
    registering = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in package.rglob("*.py")
        if "register_keras_serializable(" in path.read_text()
    }
    assert "keras_nfnets.layers.convolution" in registering
    # In files that the package hands to a process of its own, and no others.
    registering.remove("keras_nfnets.export.folding.native")
    assert registering <= set(fresh["imported"])


def test_import_is_light(fresh):
    """What only the command line and the data need is loaded by them."""
    heavy = {"matplotlib", "PIL", "sklearn"}
    assert not heavy & set(fresh["imported"])
