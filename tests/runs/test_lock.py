"""One process at a time writes a run folder, and a killed one is none."""

import os
import signal
import subprocess
import sys

import pytest
from helpers import ROOT

from keras_nfnets.runs.folder import Run
from keras_nfnets.runs.lock import locked

pytest.importorskip("fcntl")
HOLD = """
import sys, pathlib, importlib.util
spec = importlib.util.spec_from_file_location("lock", sys.argv[1])
lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lock)
with lock.locked(pathlib.Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".lock"


@pytest.fixture
def holder(path):
    """Another process that holds the lock."""
    module = ROOT / "keras_nfnets" / "runs" / "lock.py"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(module), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_nothing_is_left(path):
    with locked(path):
        assert path.exists()
    assert not path.exists()
    with locked(path):
        pass


def test_second_process_is_refused_and_told_which_is_first(path, holder):
    with pytest.raises(BlockingIOError, match=f"process {holder.pid} on "):
        with locked(path):
            pytest.fail("both hold it")
    assert path.exists()
    holder.communicate("")
    with locked(path):
        assert path.read_text().startswith(f"{os.getpid()} on ")


def test_killed_process_holds_nothing(path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert path.exists()
    with locked(path):
        pass


def test_lock_that_went_meanwhile_is_taken_anew(path, monkeypatch):
    """Its holder removes it, and ends, after it was opened here."""
    opened, before = [], os.open

    def open_late(name, *args, **kwargs):
        file = before(name, *args, **kwargs)
        opened.append(file)
        if len(opened) == 1:
            os.unlink(name)
        return file

    monkeypatch.setattr(os, "open", open_late)
    with locked(path):
        assert len(opened) == 2 and path.exists()


def test_file_system_without_locks(path, monkeypatch):
    import fcntl

    def refuse(*args):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(path):
        assert path.exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_run_that_is_written_cannot_be_claimed(tmp_path, overwrite):
    run = Run(tmp_path / "run")
    run.claim()
    with run.lock():
        run.config.write_text("{}")
        error = BlockingIOError if overwrite else FileExistsError
        with pytest.raises(error, match="The run"):
            Run(run.path).claim(overwrite)
        assert run.config.read_text() == "{}"


def test_what_a_killed_process_left_is_no_run(tmp_path):
    run = Run(tmp_path)
    run.lock_file.write_text("1 on nowhere")
    run.check_free()
    run.claim()
    assert list(tmp_path.iterdir()) == []
