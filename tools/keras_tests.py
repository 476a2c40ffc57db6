"""Runs Keras's own tests with `AGCModel` in the place of `keras.Model`.

    pip download --no-deps --no-binary :all: keras==3.15.1 && tar xf keras-*
    KERAS_BACKEND=jax python tools/keras_tests.py keras-3.15.1

The folder is Keras's source distribution of the installed version. Each test
file runs as it is, and again with `Model`, `Functional` and `Sequential`
replaced in its namespace by classes of `AGCModel`. These compile with
`agc=None` by default, and then with `AGC(metric=False)`, since many of the
tests compare the names in the logs. The counts of the three runs are printed,
with the names of the tests that pass as they are and fail with ours.

Exit status: 0 if there are none, 1 if there are, 2 if the tests cannot run.
"""

import argparse
import collections
import contextlib
import functools
import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from xml.etree import ElementTree

import pytest

TOOLS = Path(__file__).resolve().parent
FILES = (
    "models/cloning_test.py",
    "models/functional_test.py",
    "models/model_test.py",
    "models/sequential_test.py",
    "models/variable_mapping_test.py",
    "saving/file_editor_test.py",
    "saving/object_registration_test.py",
    "saving/saving_api_test.py",
    "saving/saving_lib_test.py",
    "saving/serialization_lib_test.py",
    "legacy/saving/legacy_h5_format_test.py",
    "trainers/trainer_test.py",
    "backend/jax/trainer_test.py",
)
# What the environment tells the process that runs the tests, and of which
# default of `compile` it tells.
PLACE = "KERAS_NFNETS_TESTS"
DEFAULTS = ("agc=None", "AGC(metric=False)")


def main(argv=None):
    options = _arguments(argv)
    sources = options.sources.resolve() / "keras" / "src"
    names = options.files or [n for n in FILES if (sources / n).exists()]
    files = [str(sources / name) for name in names]
    if not files or not all(Path(file).exists() for file in files):
        print(f"error: {sources} lacks tests of Keras", file=sys.stderr)
        return 2
    plain = _run("", files)
    _print_counts("keras.Model", plain)
    broken = [
        f"{default}: {name}"
        for default in DEFAULTS
        for name in _broken(plain, default, files)
    ]
    print(*broken, sep="\n", end="\n" if broken else "")
    return 1 if broken else 0


def _broken(plain, default, files):
    placed = _run(default, files)
    _print_counts(default, placed)
    return [
        name
        for name, result in plain.items()
        if result == "passed" and placed.get(name) not in ("passed", "skipped")
    ]


def _print_counts(title, results):
    counts = collections.Counter(results.values())
    print(title, *(f"{n} {what}" for what, n in sorted(counts.items())))
    sys.stdout.flush()


def _arguments(argv):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sources", type=Path)
    parser.add_argument("--files", nargs="+", help="below keras/src")
    return parser.parse_args(argv)


def _run(place, files):
    """Runs test files in a process of their own; returns results by name."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "--tb=short", *files]
        options = ["-p", "keras_tests", "-p", "no:cacheprovider"]
        # Keras comes from the sources, where its tests are modules of it.
        root = next(p for p in Path(files[0]).parents if p.name == "keras")
        paths = [root.parent, TOOLS.parent, TOOLS]
        environment = {
            "TF_CPP_MIN_LOG_LEVEL": "2",
            **os.environ,
            PLACE: place,
            "PYTHONPATH": os.pathsep.join(str(path) for path in paths),
        }
        options += [f"--rootdir={root.parent}", f"--junitxml={report}"]
        subprocess.run(
            [*command, *options, "-c", os.devnull],
            env=environment,
            cwd=folder,
            stdout=sys.stderr,
            check=False,
        )
        cases = list(ElementTree.parse(report).iter("testcase"))
    return {f"{c.get('classname')}.{c.get('name')}": _result(c) for c in cases}


def _result(case):
    kinds = {child.tag for child in case}
    for kind in ("error", "failure", "skipped"):
        if kind in kinds:
            return {"error": "failed", "failure": "failed"}.get(kind, kind)
    return "passed"


# From here on: a plugin of pytest, in the process that runs the tests.


def pytest_configure(config):
    # A mark that Keras's own `conftest.py` knows, which is not distributed.
    config.addinivalue_line("markers", "requires_trainable_backend: train")


def pytest_pycollect_makemodule(module_path, parent):
    if os.environ.get(PLACE):
        return _Placed.from_parent(parent, path=module_path)


class _Placed(pytest.Module):
    """A test module that finds classes of `AGCModel` where Keras's stand."""

    def _getobj(self):
        classes = dict(_classes())
        if self.path.name == "sequential_test.py":
            # It asks of which class Keras makes what is inside.
            import keras

            del classes[_functional(keras.Model)]
        with _in_place(classes):  # for base classes of its classes
            module = super()._getobj()
        for name, value in list(vars(module).items()):
            if _is_of_keras(value) and not name.startswith("__"):
                setattr(module, name, _Proxy(value, classes))
        return module


@functools.cache
def _classes():
    """Returns the class that stands in the place of each of Keras's."""
    import keras

    import keras_nfnets
    from keras_nfnets.training import model as training_model

    base = keras_nfnets.AGCModel
    silent = keras_nfnets.AGC(metric=False)
    agc = None if os.environ[PLACE] == DEFAULTS[0] else silent
    # The default of `compile`, by which it also knows that none was given.
    base.compile.__kwdefaults__["agc"] = training_model._PAPER = agc
    # A class that can be pickled, and loaded without being named.
    global Sequential
    Sequential = type("Sequential", (base, keras.Sequential), {})
    keras.saving.register_keras_serializable("keras_tests")(Sequential)
    return {
        keras.Model: base,
        _functional(keras.Model): _functional(base),
        keras.Sequential: Sequential,
    }


def _functional(model):
    import keras

    inputs = keras.Input((1,))
    return type(model(inputs, inputs))


@contextlib.contextmanager
def _in_place(classes):
    """Puts classes into all modules of Keras while a test is imported."""
    changed = []
    for module in [m for m in sys.modules.values() if _is_of_keras(m)]:
        for name, value in list(vars(module).items()):
            if isinstance(value, type) and value in classes:
                changed.append((module, name, value))
                setattr(module, name, classes[value])
    try:
        yield
    finally:
        for module, name, value in changed:
            setattr(module, name, value)


class _Proxy(types.ModuleType):
    """A module of Keras for tests alone: Keras itself keeps its classes."""

    def __init__(self, module, classes):
        super().__init__(module.__name__)
        vars(self).update(_module=module, _classes=classes)

    def __getattr__(self, name):
        value = getattr(self._module, name)
        if isinstance(value, type):
            return self._classes.get(value, value)
        return _Proxy(value, self._classes) if _is_of_keras(value) else value

    # What a test patches, Keras itself has to see.
    def __setattr__(self, name, value):
        setattr(self._module, name, value)

    def __delattr__(self, name):
        delattr(self._module, name)


def _is_of_keras(value):
    is_module = isinstance(value, types.ModuleType)
    return is_module and value.__name__.partition(".")[0] == "keras"


if __name__ == "__main__":
    sys.exit(main())
