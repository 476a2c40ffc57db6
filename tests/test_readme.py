"""The code of README and documentation runs, and lists are up to date."""

import os
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers import BACKEND, evaluate, least_variant

import keras_nfnets

ROOT = pathlib.Path(__file__).parents[1]
README = ROOT / "README.md"


def _code(page, heading):
    """The first Python block under a heading of a page."""
    section = (ROOT / page).read_text("utf-8").split(f"## {heading}\n")[1]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


BLOCKS = re.findall(
    r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL
)


def test_readme_is_short():
    assert len(README.read_text("utf-8").splitlines()) <= 200


@pytest.mark.long
@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="a block chooses its backend by itself"
)
@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_block_runs_as_pasted(block, tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", block],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        },
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def execute(page, heading):
        names = {}
        exec(compile(_code(page, heading), page, "exec"), names)
        return names

    return execute


@pytest.fixture
def small_pico(monkeypatch):
    """The least network by the name of the one that the code trains."""
    monkeypatch.setitem(keras_nfnets.VARIANTS, "nfnet_pico", least_variant())


@pytest.mark.skipif(
    BACKEND == "jax", reason="it compiles for a while: two backends are enough"
)
def test_ten_lines_work(run, small_pico):
    names = run("README.md", "Ten lines that work")
    model = keras.saving.load_model("model.keras")
    for ours, theirs in zip(
        names["model"].get_weights(), model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_own_network_works(run):
    model = run("docs/training.md", "A network of your own")["model"]
    assert isinstance(model, keras_nfnets.AGCModel)
    code = _code("docs/training.md", "A network of your own")
    assert len(code.splitlines()) <= 25
    x = np.random.default_rng(0).normal(size=(4, 64, 64, 3))
    probabilities = evaluate(model, x.astype("float32"))
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, rtol=1e-5)


@pytest.mark.skipif(
    BACKEND != "torch", reason="elsewhere compiling it takes a minute"
)
def test_fine_tuning_works(run):
    names = run("docs/training.md", "Fine-tuning")
    data, model = names["data"], names["model"]
    images = names["normalize"](data.test_images, data.mean, data.std)
    seen = data.test_labels >= 5
    found = model.predict(images[seen], verbose=0).argmax(axis=-1)
    # Of five classes; it was 0.95 and more. Frozen for good it stays below 0.9.
    assert (found == data.test_labels[seen] - 5).mean() > 0.9
    assert names["base"].trainable


@pytest.mark.long
@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="it takes a minute: one backend is enough"
)
def test_feature_pyramid_finds_squares(run):
    # A seventh of a mask is square; all background would be an IoU of 0.43.
    names = run("docs/training.md", "Detection and segmentation")
    assert names["iou"].result() > 0.7


@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="it takes a while: one backend is enough"
)
def test_recipe_and_data_work_together(run, small_pico):
    names = run("docs/data.md", "From a source to batches")
    steps = 2 * (1437 // 64)
    assert int(names["model"].optimizer.iterations) == steps
    assert set(names["model"].history.history) >= {"accuracy", "val_accuracy"}


def test_table_of_models_is_up_to_date():
    # Else: python tools/models_table.py
    sys.path.insert(0, str(README.parent / "tools"))
    try:
        from models_table import PAGE, table, updated
    finally:
        sys.path.pop(0)
    text = PAGE.read_text("utf-8")
    assert updated(text) == text
    assert table().count("\n") == len(keras_nfnets.VARIANTS) + 2


def test_list_of_public_names_is_up_to_date():
    # Else: python tools/public_names.py
    sys.path.insert(0, str(README.parent / "tools"))
    try:
        from public_names import LIST, listing
    finally:
        sys.path.pop(0)
    assert LIST.read_text("utf-8") == listing()
    lines = set(listing().splitlines())
    assert {f"- `{n}`" for n in keras_nfnets.runs.__all__} <= {
        line.partition(":")[0] for line in lines
    }
