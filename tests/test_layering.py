"""Imports run one way, and the package needs no backend to be imported."""

import ast
import functools
import pathlib
import re
import sys
import tomllib

import pytest

import keras_nfnets

ROOT = pathlib.Path(keras_nfnets.__file__).parent

# From the ground up: a module imports what stands on lower lines, or beside it.
ROOMS = """
    annotations checks extras files graph image_size overriding private_names
    variants
    options
    layers
    training
    weights
    recipes data callbacks
    models
    registered
    surgery
    export
    runs
    demo tpu
    surface cli
    __main__ __init__
"""
LEVEL = {
    room: level
    for level, line in enumerate(ROOMS.split("\n"))
    for room in line.split()
}
BACKENDS = {"tensorflow", "jax", "torch"}
# Where a function may import one, since the function is about that backend.
KNOW_THEIR_BACKEND = {
    "training.agc_rules",
    "training.agc_step",
    "training.perturbed",
    "layers.convolve",
    "layers.device",
    "training.distribution",
    "export.saved_model",
    "training.optimizers",
    "layers.remat",
    "layers.several_devices",
    "layers.tensorflow_cpu",
    "tpu.compiling",
    "training.unitwise",
}
# And these run inside tf.data, on TensorFlow whatever Keras runs on.
KNOW_THEIR_BACKEND |= {"data.decoding"}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[-1] == "__init__" and len(parts) > 1:
        parts = parts[:-1]
    return ".".join(parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def imported(tree):
    """Yields the full name of everything that a tree imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            yield from (f"{start}.{alias.name}" for alias in node.names)


def own_module(name):
    """The module of this package that a full name stands in, or None."""
    if not (name == "keras_nfnets" or name.startswith("keras_nfnets.")):
        return None
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in MODULES:
        parts.pop()
    return ".".join(parts) or "__init__"


def at_import(tree):
    """The statements that run when the module is imported."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    pending, found = [tree], []
    while pending:
        node = pending.pop()
        found.append(node)
        pending += [
            child
            for child in ast.iter_child_nodes(node)
            if not isinstance(child, functions)
        ]
    return found


@functools.cache
def parse(name):
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def packages(nodes):
    """The top-level packages that these statements import."""
    return {
        name.split(".")[0]
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in imported(node)
    }


def level(name):
    return LEVEL[name.split(".")[0]]


def own_imports(name):
    """The modules of this package that one of them imports."""
    used = set(imported(parse(name)))
    relative = {other for other in used if other.startswith(".")}
    assert not relative, "the walk reads `from keras_nfnets.x import y`"
    own = {own_module(other) for other in used} - {None}
    if name == "cli":  # for the version
        own.remove("__init__")
    assert "__init__" not in own, "a module asks another one, not the surface"
    return own


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_downwards(name):
    above = {o for o in own_imports(name) if level(o) > level(name)}
    assert not above


def test_imports_have_no_circle():
    rows = {name: own_imports(name) for name in MODULES if name != "__init__"}
    while rows:
        free = [n for n, row in rows.items() if not row & set(rows)]
        assert free, f"these import each other: {sorted(rows)}"
        for name in free:
            del rows[name]


@pytest.mark.parametrize("name", MODULES)
def test_backends_are_imported_by_functions_that_know_them(name):
    if name not in KNOW_THEIR_BACKEND:
        assert not packages(ast.walk(parse(name))) & BACKENDS


def test_dependencies_are_what_import_needs():
    with open(ROOT.parent / "pyproject.toml", "rb") as file:
        lines = tomllib.load(file)["project"]["dependencies"]
    needed = set().union(*(packages(at_import(parse(n))) for n in MODULES))
    needed -= {"keras_nfnets", *sys.stdlib_module_names}
    assert needed == {re.match(r"[\w-]+", line)[0] for line in lines}
