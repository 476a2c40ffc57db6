"""The command line trains, evaluates, predicts and exports."""

import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers import BACKEND, to_numpy, without_speed
from small_runs import FILES, finished_run, small_table

from keras_nfnets import cli
from keras_nfnets.cli import commands
from keras_nfnets.data import Crop, digits
from keras_nfnets.export import Description
from keras_nfnets.models.imagenet import resize_and_crop
from keras_nfnets.runs import runner
from keras_nfnets.runs.callbacks import Checkpoint
from keras_nfnets.runs.folder import Run

for module in ("matplotlib", "PIL", "sklearn", "tensorflow"):
    pytest.importorskip(module)

TRAIN = ("train", "--recipe", "tiny")


@pytest.fixture(autouse=True)
def patch():
    with small_table() as patch:
        yield patch


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two epochs that no test changes."""
    return finished_run(tmp_path_factory)


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
    keras.utils.save_img(path, digits(32).test_images[0], scale=False)
    return path


def names(folder):
    return {path.name for path in folder.iterdir()}


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


def weights(path):
    return keras.models.load_model(path).get_weights()


def last(run):
    model, _ = run.checkpoints.load()
    return model


def interrupt_at(patch, epoch):
    class Interrupting(Checkpoint):
        def on_epoch_begin(self, now, logs=None):
            if now == epoch:
                raise KeyboardInterrupt

    patch.setattr(runner, "Checkpoint", Interrupting)


def test_train_fills_the_run_folder(finished):
    assert names(finished.path) == FILES
    measured = {"loss", "accuracy", "top5_accuracy"}
    validated = {f"val_{name}" for name in measured}
    rows = finished.read_history()
    assert measured | validated | {"epoch", "agc_clipped"} <= set(rows[0])
    assert [row["epoch"] for row in rows] == [1, 2]
    settings = finished.read_config()["settings"]
    assert (settings.variant, settings.recipe.epochs) == ("tiny", 2)


def test_tensorboard_finds_what_the_history_has(finished):
    from tensorboard.backend.event_processing import event_accumulator

    found = set()
    for part in ("train", "validation"):
        events = event_accumulator.EventAccumulator(str(finished.logs / part))
        events.Reload()
        found |= set(events.Tags()["tensors"])
    tags = {"epoch_loss", "epoch_accuracy", "epoch_top5_accuracy"}
    tags |= {"epoch_learning_rate", "epoch_images_per_second"}
    tags |= {"epoch_agc_clipped_stem", "epoch_agc_clipped_stage1"}
    tags |= {"epoch_gradient_norm", "epoch_weight_norm"}
    assert tags <= found


def test_trained_model_clips_all_but_what_the_settings_exclude(finished):
    model = last(finished)
    recipe = finished.read_config()["settings"].recipe
    agc = model.optimizer.agc
    assert agc.clipping == recipe.clipping
    assert agc.exclude == recipe.agc_exclude
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
    pixels = to_numpy(resize_and_crop(digits(32).test_images[:1], (32, 32), 32))
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
    (tmp_path / "empty").mkdir()
    bad = [text, cut, tmp_path / "none.jpg", tmp_path / "empty"]
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
    patch.setattr(commands, "write", lambda *args: calls.append(args))
    status, output, _ = command("export", finished.path)
    ((model, path, *others),) = calls
    assert status == 0 and str(finished.saved_model) in output
    assert path == finished.saved_model
    config = finished.read_config()
    assert others == [
        *("saved_model", "float32", 32, None, False),
        *(config["mean"], config["std"]),
        Description(config["class_names"], Crop(32, 32), 1),
    ]
    for ours, theirs in zip(
        model.get_weights(), weights(finished.model), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("part", [(), ("--test",)])
def test_data_draws_what_a_network_will_see(part, command, tmp_path):
    image = tmp_path / "seen.png"
    arguments = ("digits", "--recipe", "tiny", "--show", image)
    status, output, _ = command("data", *arguments, *part)
    assert status == 0 and f"wrote {image}" in output
    assert " 96 " in output and " 40 " in output
    assert image.read_bytes().startswith(b"\x89PNG")
    assert names(tmp_path) == {"seen.png"}


def test_data_bad_input(refused, tmp_path):
    line = refused("data", "digits", "--show", tmp_path / "seen.txt")
    assert "`path` must end in one of" in line
    line = refused("data", "folder:x", "--show", tmp_path / "seen.png")
    assert "folder:x" in line
    assert names(tmp_path) == set()


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
        (("--recipe", "nfnet_f00"), "Did you mean 'nfnet_f0'"),
        (("--image-size", "31"), "at least 32 pixels"),
        (("--data", "mnist"), "`data` must be"),
        (("--data", "folder:no/such"), "no/such"),
        (("--batch-size", "98"), "`batch_size` must not be above"),
        (("--epochs", "0"), "`epochs` must be a positive integer"),
        (("--precision", "half"), "`precision` must be one of"),
        (("--clipping", "-1"), "`clipping` must be positive"),
        (("--learning-rate", "inf"), "`learning_rate` must be positive"),
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


@pytest.mark.parametrize("by", ["ours", "tensorflow"])
def test_run_that_fails_at_once_leaves_nothing(by, refused, tmp_path, patch):
    def fail(*args, **kwargs):
        if by == "ours":
            raise ValueError("too bad")
        errors = pytest.importorskip("tensorflow").errors
        raise errors.ResourceExhaustedError(None, None, "too bad")

    patch.setattr("keras_nfnets.runs.runner.train_batches", fail)
    assert "error: too bad" in refused(*TRAIN, "--out", tmp_path / "run")
    assert names(tmp_path) == set()


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
    line = refused(*TRAIN, *arguments)
    assert "started with: epochs=2. Received: epochs=5" in line
    assert contents(finished.path) == before


def test_overwrite_and_resume_exclude_each_other(command, tmp_path):
    with pytest.raises(SystemExit) as error:
        command(*TRAIN, "--out", tmp_path, "--resume", "--overwrite")
    assert error.value.code == cli.BAD_REQUEST


@pytest.mark.long
@pytest.mark.skipif(
    BACKEND != "jax",
    reason="runs/test_resume.py does it on TensorFlow, with processes; on "
    "PyTorch dropout draws from its own generator",
)
def test_resumed_run_equals_one_without_a_break(
    finished, command, patch, tmp_path
):
    run = Run(tmp_path / "run")
    arguments = (*TRAIN, "--out", run.path)
    with small_table() as inner:
        interrupt_at(inner, epoch=1)
        status, _, errors = command(*arguments)
    assert status == cli.INTERRUPTED
    assert str(run.model) in errors and "--resume" in errors
    assert len(run.read_history()) == 1
    assert names(run.path) == FILES
    assert command("train", "--out", run.path, "--resume")[0] == 0
    rows, others = run.read_history(), finished.read_history()
    assert without_speed(rows) == without_speed(others)
    for ours, theirs in zip(
        last(run).get_weights(), last(finished).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.long
def test_overwrite_starts_again(finished, command, tmp_path, patch):
    run = Run(tmp_path / "run")
    run.claim()
    shutil.copytree(finished.path, run.path, dirs_exist_ok=True)
    interrupt_at(patch, epoch=0)
    arguments = ("--out", run.path, "--seed", "3", "--overwrite")
    assert command(*TRAIN, *arguments)[0] == cli.INTERRUPTED
    assert run.read_config()["settings"].seed == 3
    assert not run.history.exists()
    assert int(last(run).optimizer.iterations) == 0


def test_missing_extra_is_named(refused, patch, tmp_path):
    patch.setitem(sys.modules, "matplotlib.figure", None)
    line = refused(*TRAIN, "--out", tmp_path / "run")
    assert "pip install 'keras-nfnets[data]'" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("by", ["rich", "print"])
def test_reader_that_leaves_ends_it_quietly(by):
    script = "import sys; from keras_nfnets import cli; "
    if by == "print":
        script += "from keras_nfnets.cli import tables; "
        script += "tables.list_networks = lambda **options: print('one'); "
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", script + "sys.exit(cli.main(['list']))"],
        stdout=writer,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (cli.SOME_FAILED, b"")
