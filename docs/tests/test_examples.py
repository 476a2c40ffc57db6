"""The examples of public names run as the site shows them.

Each needs no more than the code of `before_examples.py`, which the API's page
shows, in a folder with images and, where it reads one, a run. An example
without an output may print what it likes. Skipped is what needs the network, a
prepared ImageNet, or a signal from outside.
"""

import doctest
import inspect
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keras_nfnets

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tools"))

from public_names import names  # noqa: E402 (the path comes first)

BEFORE = compile(
    (HERE / "before_examples.py").read_text("utf-8"),
    "before_examples.py",
    "exec",
)


def examples():
    """Returns the examples of each public name, and of its own methods."""
    finder = doctest.DocTestFinder()
    found = {}
    for heading, _, values in names():
        for name, value in values.items():
            if not (inspect.isclass(value) or inspect.isfunction(value)):
                continue
            for test in finder.find(value, f"{heading}.{name}", globs={}):
                if test.examples:
                    # What has two names is tried once.
                    found.setdefault((test.filename, test.lineno), test)
    return list(found.values())


class Checker(doctest.OutputChecker):
    """Lets an example print what it likes where it shows no output.

    A shape is one by any class: TensorFlow has its own.
    """

    def check_output(self, want, got, optionflags):
        want, got = (
            re.sub(r"TensorShape\(\[(.*?)\]\)", r"(\1)", text)
            for text in (want, got)
        )
        return not want or super().check_output(want, got, optionflags)


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run of six steps on the digits."""
    run = keras_nfnets.runs.Run(tmp_path_factory.mktemp("runs") / "digits")
    settings = keras_nfnets.runs.from_options(epochs=1, batch_size=256)
    keras_nfnets.runs.train(run, settings)
    return run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder that an example runs in."""
    random = np.random.default_rng(0)
    for name in ("cat.png", "photos/cat/0.jpg", "photos/dog/0.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (48, 64, 3)).astype("uint8")
        Image.fromarray(pixels).save(path)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "seven.png")
    for kind in ("cat", "dog"):
        first = tmp_path / "photos" / kind / "0.jpg"
        for i in range(1, 6):
            shutil.copy(first, first.with_name(f"{i}.jpg"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name)
def test_example_runs(test, folder, request):
    if "runs/digits" in test.docstring:
        run = request.getfixturevalue("run")
        shutil.copytree(run.path, folder / "runs" / "digits")
    exec(BEFORE, test.globs)
    flags = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    runner = doctest.DebugRunner(Checker(), verbose=False, optionflags=flags)
    try:
        runner.run(test)
    except doctest.DocTestFailure as failure:
        source, got = failure.example.source, failure.got
        pytest.fail(f"{source}gave {got!r}", pytrace=False)
    except doctest.UnexpectedException as failure:
        source, error = failure.example.source, failure.exc_info[1]
        pytest.fail(f"{source}raised {error!r}", pytrace=False)
