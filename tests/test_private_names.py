"""What other packages keep private is used from one table only."""

import ast
import importlib
import inspect
import pathlib
import pkgutil
import re
import subprocess
import sys
import tomllib
import types

import keras
import pytest
from helpers import BACKEND
from test_layering import MODULES, ROOT, imported, parse

from keras_nfnets import private_names
from keras_nfnets.private_names import PRIVATE_NAMES

CODE = [name for name in MODULES if name != "private_names"]
# Where other packages say that what stands there is private.
PRIVATE_PLACES = re.compile(
    r"keras\.src\b|tensorflow\.(python|compiler)\b|(\w+\.)*_"
)
# What Python and its packages say of every object, class or module.
PYTHONS = {
    "__all__",
    "__dict__",
    "__version__",
    *dir(type),
    *dir(list),
    *dir(Exception),
    *dir(types.FunctionType),
    *vars(types.ModuleType("empty")),
}


def is_private(name):
    return name.startswith("_") and name != "_" and name not in PYTHONS


def defined(tree):
    """The private names that a module's code defines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(
            node.ctx, ast.Store
        ):
            if of_own_object(node):
                yield node.attr


def of_own_object(node):
    """Whether an attribute is written as one of `self` or `cls`."""
    value = node.value
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def of_super(node):
    """Whether an attribute is one of `super()`."""
    called = getattr(node.value, "func", None)
    return isinstance(called, ast.Name) and called.id == "super"


def foreign_bases(cls):
    """The classes of other packages that a class of ours derives from."""
    return [
        base
        for base in cls.__mro__[:-1]
        if base.__module__.split(".")[0] not in ("keras_nfnets", "builtins")
    ]


def names_of(cls):
    """What a class and the code of its methods name."""
    found = set(vars(cls))
    for value in vars(cls).values():
        code = getattr(inspect.unwrap(value), "__code__", None)
        found |= set(code.co_names if code else ())
    return found


def classes():
    """Every class of the package, by its module."""
    for module in CODE:
        if module in ("__main__", "__init__"):
            continue
        loaded = importlib.import_module(f"keras_nfnets.{module}")
        for value in vars(loaded).values():
            if inspect.isclass(value) and value.__module__ == loaded.__name__:
                yield module, value


def inherited():
    """Pairs of a module and a name of ours that a foreign base has, too.

    Python's own bases (`dict`, `tuple`, `enum.Enum`) have theirs for classes
    that derive from them.
    """
    own = {name: set(defined(parse(name))) for name in CODE}
    for module, cls in classes():
        bases = [
            base
            for base in foreign_bases(cls)
            if base.__module__.split(".")[0] not in sys.stdlib_module_names
        ]
        for name in set().union(*map(names_of, bases)) & own[module]:
            if is_private(name):
                yield module, name


def used():
    """Pairs of a module and a private name in it that is not ours.

    On `self` and `cls` a name is ours if any of our modules defines it; on
    another object, if this module does. On `super()` it is not: a class that
    stands before one of another package's calls that one. A name that a base
    class of another package has is not ours, whatever the object.
    """
    ours = {name: set(defined(parse(name))) for name in CODE}
    anywhere = set().union(*ours.values())
    for module in CODE:
        for node in ast.walk(parse(module)):
            if isinstance(node, ast.Attribute) and is_private(node.attr):
                known = anywhere if of_own_object(node) else ours[module]
                if node.attr not in known or of_super(node):
                    yield module, node.attr
        for path in imported(parse(module)):
            ours_too = path.split(".")[0] == "keras_nfnets"
            if not ours_too and PRIVATE_PLACES.match(path):
                yield module, path
    yield from inherited()


def identifiers(module):
    """Every name that a module's code has, those in strings too."""
    for node in ast.walk(parse(module)):
        for field in ("id", "attr", "name", "value"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield value


def is_row(row, module, name):
    parts = row.path.split(".")
    return module in row.modules and (
        name in parts or f"{row.path}.".startswith(f"{name}.")
    )


@pytest.fixture(scope="module")
def found():
    return sorted(set(used()))


def test_walk_finds_what_is_known_to_be_there(found):
    assert len(found) > 15
    assert ("layers.convolution_1d_3d", "_compute_causal_padding") in found
    assert ("callbacks.averages", "_tf_swap_variables") in found
    assert ("layers.convolution", "_cast_kernel") not in found


def test_private_names_stand_in_the_table(found):
    outside = [
        use for use in found if not any(is_row(r, *use) for r in PRIVATE_NAMES)
    ]
    assert not outside


@pytest.mark.parametrize("row", PRIVATE_NAMES, ids=lambda row: row.path)
def test_rows_are_used(row, found):
    for module in row.modules:
        assert row.name in set(identifiers(module)), module
        assert any(m == module and is_row(row, m, n) for m, n in found)


@pytest.mark.parametrize("row", PRIVATE_NAMES, ids=lambda row: row.path)
def test_names_are_there(row):
    if row.package == "keras":
        if row.backend not in ("", BACKEND):
            pytest.skip("used on another backend only")
        assert row.is_in(keras), f"Keras {keras.__version__}"
    else:
        pytest.importorskip(row.package, reason="it is not installed")
        # `attrgetter`, as TensorFlow's `__internal__` is loaded lazily.
        path = row.path.rpartition(".")[0]
        if "__internal__" in path:
            assert row.is_in(importlib.import_module(row.package))
        elif row.made_in:
            maker = pkgutil.resolve_name(row.made_in)
            assert row.name in maker.__code__.co_names
        else:
            assert hasattr(pkgutil.resolve_name(path), row.name)


def pins(name):
    text = (ROOT.parent / f"constraints{name}.txt").read_text("utf-8")
    return dict(re.findall(r"^(.*)==(.*)$", text, re.M))


def test_tested_versions_are_the_pinned_ones():
    names = "", "-torch", "-oldest", "-colab"
    assert {pins(name)["keras"] for name in names} == set(private_names.TESTED)
    assert {"tensorflow", "tensorflow_cpu"}.isdisjoint(pins("-colab"))


@pytest.mark.parametrize("package", ["keras", "tensorflow", "jax"])
def test_declared_versions_are_the_oldest_pinned_ones(package):
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    declared = [*project["project"]["dependencies"], *sum(extras, [])]
    found = [d for d in declared if re.match(rf"{package}\b(?!-)", d)]
    oldest = pins("-oldest")[package].removesuffix(".0")
    assert found and set(found) == {f"{package}>={oldest}"}


def test_missing_name_is_one_error(monkeypatch):
    monkeypatch.delattr(keras.layers.Layer, "_flatten_layers")
    rule = (
        rf"Keras {re.escape(keras.__version__)} has no "
        r"keras\.layers\.Layer\._flatten_layers\. Tested with Keras 3\.10\.0, "
    )
    with pytest.raises(RuntimeError, match=rule):
        private_names.check()


def test_missing_attribute_of_objects_is_found(monkeypatch):
    monkeypatch.setattr(keras.Operation, "__init__", lambda self: None)
    with pytest.raises(RuntimeError, match="has no keras.Operation._inbound"):
        private_names.check()


@pytest.mark.skipif(BACKEND != "jax", reason="one backend is enough")
def test_import_fails_with_that_sentence():
    program = (
        "import keras\n"
        "del keras.src.models.functional.Functional\n"
        "import keras_nfnets"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=pathlib.Path(__file__).parents[1],
    )
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("RuntimeError: Keras must have the private names")
    assert "no keras.src.models.functional.Functional." in last


@pytest.mark.skipif(BACKEND != "jax", reason="the backend that is in use")
def test_check_imports_no_other_backend():
    program = (
        "import sys, keras; before = set(sys.modules)\n"
        "from keras_nfnets import private_names; private_names.check()\n"
        "print(sorted({m.split('.')[0] for m in set(sys.modules) - before}"
        " & {'tensorflow', 'torch'}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=pathlib.Path(__file__).parents[1],
    )
    assert result.stdout.strip() == "[]"
