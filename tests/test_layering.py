"""Imports run one way, and the package needs no backend to be imported."""

import ast
import pathlib
import re
import sys
import tomllib

import pytest

import keras_nfnets

ROOT = pathlib.Path(keras_nfnets.__file__).parent

# What each module may import of this package. A new module gets a row here;
# DESIGN.md gives the directions.
_SINGLE_LAYERS = (
    "layers.activation layers.attention layers.convolution "
    "layers.other_convolutions layers.residual"
)
MAY_IMPORT = {
    "activations": "",
    "agc": "agc_report checks",
    "agc_report": "",
    "ascent": "hooks sam",
    "checks": "",
    "convolve": "device",
    "device": "",
    "losses": "checks",
    "optimizers": "checks",
    "recipe": "agc checks losses optimizers plan sam",
    "recipes": "checks recipe variants",
    "remat": "device",
    "rounding": "",
    "sam": "agc checks",
    "initializers": "",
    "standardization": "device",
    "variants": "rounding",
    "layers.activation": "activations",
    "layers.attention": "checks initializers",
    "layers.convolution": "convolve layers.standardized",
    "layers.standardized": "checks initializers standardization",
    "layers.other_convolutions": "layers.standardized",
    "layers.residual": "checks",
    "layers.composite": "activations layers.activation layers.convolution",
    "layers.stem": "layers.composite remat",
    "layers.block": (
        "layers.attention layers.composite layers.residual remat rounding"
    ),
    "layers.head": "checks layers.composite",
    "layers": f"{_SINGLE_LAYERS} layers.block layers.head layers.stem",
    "hooks": "",
    "units": "agc",
    "training": "agc agc_report ascent hooks sam units",
    "plan": "checks variants",
    "imagenet": "checks plan",
    "models": (
        "checks layers.block layers.head layers.stem plan published training "
        "weight_files"
    ),
    "files": "",
    "haiku_files": "files",
    "keras_files": "",
    "weights": "",
    "weight_files": (
        "complexity files haiku_files keras_files variants weights"
    ),
    "published": "weight_files",
    "complexity": "checks layers.attention plan rounding",
    "extras": "",
    "data.arrays": "checks data.runtime data.sources extras",
    "data.augmentation": "data.in_graph data.randaugment",
    "data.corrupt": "data.order data.runtime data.sources",
    "data.decoding": "",
    "data.folder": "data.runtime data.sources",
    "data.grid": "checks extras files",
    "data.images": "extras",
    "data.in_graph": "",
    "data.opening": ("checks data.arrays data.folder data.records data.tfds"),
    "data.order": "data.runtime",
    "data.pipeline": (
        "checks data.augmentation data.corrupt data.decoding data.order "
        "data.runtime data.sources"
    ),
    "data.randaugment": "data.in_graph",
    "data.records": "data.arrays data.order data.runtime data.sources files",
    "data.runtime": "extras",
    "data.skipped": "",
    "data.sources": "variants",
    "data.tfds": "checks data.order data.runtime data.sources extras",
    "data": (
        "data.arrays data.augmentation data.folder data.grid data.images "
        "data.opening data.pipeline data.records data.skipped data.sources "
        "data.tfds"
    ),
    "settings": "checks recipe recipes",
    "checkpoints": "files",
    "curves": "extras files",
    "runs": "checkpoints curves files settings",
    "callbacks": "checkpoints distribution files",
    "distribution": "",
    "monitors": "agc_report",
    "runner": ("callbacks data distribution extras models monitors settings"),
    "folding.scaled": "",
    "folding.single": "activations convolve folding.scaled layers",
    "folding.composite": "folding.scaled folding.single layers",
    "folding.known": "folding.composite folding.single",
    "folding.graph": (
        "folding.composite folding.known folding.scaled folding.single"
    ),
    "folding": "folding.graph folding.known",
    "export": "extras files folding",
    "inference": "data imagenet models published runs weight_files",
    "cli": "*",
    "__main__": "cli",
    "__init__": "*",
}

BACKENDS = {"tensorflow", "jax", "torch"}
# Where a function may import one, since the function is about that backend.
KNOW_THEIR_BACKEND = {
    "ascent",
    "convolve",
    "device",
    "distribution",
    "export",
    "hooks",
    "optimizers",
    "remat",
    "standardization",
}
# And these run inside tf.data, on TensorFlow whatever Keras runs on.
KNOW_THEIR_BACKEND |= {
    f"data.{name}" for name in ("augmentation", "decoding", "randaugment")
}


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


def test_every_module_has_a_row():
    assert sorted(MODULES) == sorted(MAY_IMPORT)


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_one_way(name):
    allowed = MAY_IMPORT[name].split()
    used = set(imported(parse(name)))
    relative = {other for other in used if other.startswith(".")}
    assert not relative, "the walk reads `from keras_nfnets.x import y`"
    own = {own_module(other) for other in used} - {None}
    assert "__init__" not in own, "a module asks another one, not the surface"
    if allowed != ["*"]:
        assert own <= set(allowed)


def test_table_has_no_circle():
    rows = {name: row.split() for name, row in MAY_IMPORT.items() if row != "*"}
    while rows:
        free = [n for n, row in rows.items() if not set(row) & set(rows)]
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
