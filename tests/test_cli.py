import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_nfnets import cli
from keras_nfnets.callbacks import Checkpoint
from keras_nfnets.data import DATASETS, digits
from keras_nfnets.runs import Run
from keras_nfnets.variants import VARIANTS, Variant

for module in ("matplotlib", "PIL", "sklearn"):
    pytest.importorskip(module)

FILES = {
    "model.keras",
    "last.keras",
    "history.csv",
    "curves.png",
    "config.json",
}
TRAIN = ("train", "--variant", "tiny", "--batch-size", "32")
TINY = Variant(
    depths=(1,),
    widths=(16,),
    stem_widths=(8, 8, 8, 8),
    head_width=16,
    group_widths=(8,),
    # Keras saves no seed generators: a resumed run draws its own dropout.
    dropout=0.0,
)


def few_digits(size):
    data = digits(size)
    return dataclasses.replace(
        data,
        train_images=data.train_images[:96],
        train_labels=data.train_labels[:96],
        test_images=data.test_images[:40],
        test_labels=data.test_labels[:40],
    )


@contextlib.contextmanager
def small_table():
    """Has a network and a data set that train in a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VARIANTS, "tiny", TINY)
        patch.setitem(DATASETS, "digits", few_digits)
        yield patch


@pytest.fixture(autouse=True)
def patch():
    with small_table() as patch:
        yield patch


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two epochs that no test changes."""
    path = tmp_path_factory.mktemp("runs") / "finished"
    with small_table():
        assert cli.main([*TRAIN, "--epochs", "2", "--out", str(path)]) == 0
    return Run(path)


@pytest.fixture
def command(capfd):
    """Runs a command; returns its status and what it wrote."""

    def run(*arguments):
        capfd.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        return status, *capfd.readouterr()

    return run


@pytest.fixture
def refused(command):
    """Runs a command that must be refused in one line; returns the line."""

    def run(*arguments):
        status, _, errors = command(*arguments)
        assert status == cli.BAD_REQUEST
        assert errors.startswith("keras-nfnets: error: ")
        assert errors.count("\n") == 1
        return errors

    return run


@pytest.fixture
def digit(tmp_path):
    path = tmp_path / "digit.png"
    keras.utils.save_img(path, few_digits(32).test_images[0], scale=False)
    return path


def names(folder):
    return {path.name for path in folder.iterdir()}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def weights(path):
    return keras.models.load_model(path).get_weights()


def interrupt_at(patch, epoch):
    class Interrupting(Checkpoint):
        def on_epoch_begin(self, now, logs=None):
            if now == epoch:
                raise KeyboardInterrupt

    patch.setattr(cli, "Checkpoint", Interrupting)


def test_train_fills_the_run_folder(finished):
    assert names(finished.path) == FILES
    columns = {"epoch", "loss", "accuracy", "val_loss", "val_accuracy"}
    rows = finished.read_history()
    assert set(rows[0]) == columns | {"agc_clipped"}
    assert [row["epoch"] for row in rows] == [1, 2]
    settings = finished.read_config()["settings"]
    assert (settings.variant, settings.epochs) == ("tiny", 2)


def test_trained_model_clips_all_but_what_the_settings_exclude(finished):
    model = keras.models.load_model(finished.last)
    settings = finished.read_config()["settings"]
    agc = model._clipper.agc
    assert agc.clipping == settings.clipping
    assert agc.exclude == settings.agc_exclude
    assert int(model.optimizer.iterations) == 2 * 3


def test_evaluate_finds_the_accuracy_of_the_best_epoch(finished, command):
    status, output, _ = command("evaluate", finished.path)
    best = max(row["val_accuracy"] for row in finished.read_history())
    assert status == 0
    assert f"{best:.4f}" in output and " 40 " in output


def test_predict_prints_class_and_probability(finished, command, digit):
    photo = digit.with_suffix(".jpg")
    keras.utils.save_img(photo, np.zeros((20, 30, 3)), scale=False)
    status, output, _ = command("predict", finished.path, digit, photo, digit)
    assert status == 0
    lines = [line.split("\t") for line in output.splitlines()]
    assert [line[0] for line in lines] == [str(digit), str(photo), str(digit)]
    config = finished.read_config()
    pixels = few_digits(32).test_images[:1]
    model = keras.models.load_model(finished.model)
    (row,) = model.predict((pixels - config["mean"]) / config["std"], verbose=0)
    # The file holds whole numbers, and the net is not sure of itself yet.
    for _, name, probability in (lines[0], lines[2]):
        assert float(probability) == pytest.approx(row.max(), abs=2e-3)
        assert row[int(name)] == pytest.approx(row.max(), abs=2e-3)


def test_predict_goes_on_after_bad_files(finished, command, digit, tmp_path):
    text, cut = tmp_path / "text.png", tmp_path / "cut.png"
    text.write_text("not an image")
    cut.write_bytes(digit.read_bytes()[:200])
    bad = [text, cut, tmp_path / "none.jpg", tmp_path]
    status, output, errors = command("predict", finished.path, *bad, digit)
    assert status == cli.SOME_FAILED
    assert output.startswith(f"{digit}\t") and output.count("\n") == 1
    errors = errors.splitlines()
    assert len(errors) == len(bad)
    for line, path in zip(errors, bad, strict=True):
        assert line.startswith(f"keras-nfnets: error: {path}: ")


def test_predict_with_bad_files_only(finished, command, tmp_path):
    status, output, errors = command("predict", finished.path, tmp_path / "no")
    assert (status, output) == (cli.SOME_FAILED, "")
    assert errors.count("\n") == 1


def test_export_writes_the_best_model(finished, command, patch):
    calls = []
    patch.setattr(cli, "export_saved_model", lambda *args: calls.append(args))
    status, output, _ = command("export", finished.path)
    ((model, path, mean, std),) = calls
    assert status == 0 and str(finished.saved_model) in output
    config = finished.read_config()
    assert (path, mean, std) == (
        finished.saved_model,
        config["mean"],
        config["std"],
    )
    for ours, theirs in zip(
        model.get_weights(), weights(finished.model), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_summary_shows_totals_and_stages(command):
    status, output, _ = command("summary", "nfnet_f0")
    assert status == 0
    assert "71,489,284" in output and "12,384,198,656" in output
    assert "16 x 16 x 1536" in output


def test_summary_at_another_size(command):
    options = ("--size", "64", "--classes", "10", "--channels", "1")
    _, output, _ = command("summary", "nfnet_pico", *options)
    assert "206,686" in output and "of 64 px" in output


def test_summary_bad_input(refused):
    assert "'nfnet_f0'" in refused("summary", "nfnet_f00")
    assert "at least 32 pixels" in refused("summary", "nfnet_f0", "--size", 31)


def test_existing_run_is_refused(finished, refused):
    before = contents(finished.path)
    line = refused(*TRAIN, "--out", finished.path)
    assert "--overwrite" in line and "--resume" in line
    assert str(finished.path) in line
    assert contents(finished.path) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--variant", "nfnet_f00"), "Did you mean 'nfnet_f0'"),
        (("--size", "31"), "at least 32 pixels"),
        (("--data", "mnist"), "`data` must be one of ['digits']"),
        (("--batch-size", "97"), "`batch_size` must be between 1 and"),
        (("--epochs", "0"), "`epochs` must be positive. Received: epochs=0"),
        (("--clipping", "-1"), "`clipping` must be positive"),
        (("--learning-rate", "nan"), "`learning_rate` must be positive"),
    ],
)
def test_bad_settings_touch_nothing(options, message, refused, tmp_path):
    config = tmp_path / "old" / "config.json"
    config.parent.mkdir()
    config.write_text("{}")
    out = (*options, "--out")
    assert message in refused(*TRAIN, *out, tmp_path / "new")
    assert message in refused(*TRAIN, *out, config.parent, "--overwrite")
    assert names(tmp_path) == {"old"} and config.exists()


def test_labels_outside_the_classes(refused, patch, tmp_path):
    def wrong(size):
        data = few_digits(size)
        return dataclasses.replace(data, class_names=data.class_names[:9])

    patch.setitem(DATASETS, "digits", wrong)
    line = refused(*TRAIN, "--out", tmp_path / "run")
    assert "`labels` must be integers from 0 to 8. Received: [9]" in line


@pytest.mark.parametrize(
    "arguments", [("evaluate",), ("predict", "x.png"), ("export",)]
)
def test_folder_that_is_no_run(arguments, refused, tmp_path):
    line = refused(arguments[0], tmp_path, *arguments[1:])
    assert "must be a folder that `keras-nfnets train` wrote" in line


def test_resume_of_nothing(refused, tmp_path):
    line = refused(*TRAIN, "--out", tmp_path / "run", "--resume")
    assert "must be a folder that `keras-nfnets train` wrote" in line
    assert not (tmp_path / "run").exists()


def test_resume_with_other_settings(finished, refused):
    before = contents(finished.path)
    arguments = ("--out", finished.path, "--resume", "--epochs", "5")
    assert "`epochs` must be 2" in refused(*TRAIN, *arguments)
    assert contents(finished.path) == before


def test_overwrite_and_resume_exclude_each_other(command, tmp_path):
    with pytest.raises(SystemExit) as error:
        command(*TRAIN, "--out", tmp_path, "--resume", "--overwrite")
    assert error.value.code == cli.BAD_REQUEST


def test_resumed_run_equals_one_without_a_break(
    finished, command, patch, tmp_path
):
    run = Run(tmp_path / "run")
    arguments = (*TRAIN, "--epochs", "2", "--out", run.path)
    with small_table() as inner:
        interrupt_at(inner, epoch=1)
        status, _, errors = command(*arguments)
    assert status == cli.INTERRUPTED
    assert str(run.model) in errors and "--resume" in errors
    assert len(run.read_history()) == 1
    assert names(run.path) == FILES
    assert command("train", "--out", run.path, "--resume")[0] == 0
    for row, other in zip(
        run.read_history(), finished.read_history(), strict=True
    ):
        assert row == pytest.approx(other, rel=1e-5)
    for ours, theirs in zip(
        weights(run.last), weights(finished.last), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_overwrite_starts_again(finished, command, tmp_path, patch):
    run = Run(tmp_path / "run")
    run.claim()
    for name, content in contents(finished.path).items():
        (run.path / name).write_bytes(content)
    interrupt_at(patch, epoch=0)
    arguments = ("--out", run.path, "--seed", "3", "--overwrite")
    assert command(*TRAIN, *arguments)[0] == cli.INTERRUPTED
    assert run.read_config()["settings"].seed == 3
    assert names(run.path) == {"model.keras", "last.keras", "config.json"}
    assert int(keras.models.load_model(run.last).optimizer.iterations) == 0


def test_missing_extra_is_named(refused, patch, tmp_path):
    patch.setitem(sys.modules, "matplotlib.figure", None)
    line = refused(*TRAIN, "--out", tmp_path / "run")
    assert "pip install 'keras-nfnets[data]'" in line
    assert not (tmp_path / "run").exists()


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="signals know no backend"
)
def test_ctrl_c_leaves_a_model_that_loads(tmp_path):
    """A signal, as the terminal sends it, to a process of its own."""
    run = Run(tmp_path / "run")
    program = (
        "import sys; from test_cli import cli, small_table\n"
        "with small_table(): sys.exit(cli.main(sys.argv[1:]))"
    )
    here = Path(__file__).parent
    arguments = (*TRAIN, "--epochs", "100000", "--out", str(run.path))
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": f"{here.parent}:{here}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: len(run.read_history()) > 1, process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == cli.INTERRUPTED
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("keras-nfnets: interrupted; ")
    assert names(run.path) == FILES
    assert len(weights(run.model)) == len(weights(run.last)) > 0
