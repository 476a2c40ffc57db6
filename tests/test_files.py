"""What has its final name is whole."""

import errno
import os

import pytest

from keras_nfnets.files import placing, replacing


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        assert temporary.suffix == ".txt"
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["file.txt"]


def test_a_folder(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("old")
    with replacing(path) as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("new")
    assert names(path) == ["new"]
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_leaves_nothing_half_written(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_clears_what_a_killed_process_left(tmp_path):
    path = tmp_path / "folder"
    with pytest.raises(OSError), replacing(path) as temporary:
        raise OSError
    temporary.mkdir()
    (temporary / "half").write_text("half")
    with replacing(path) as temporary:
        temporary.mkdir()
    assert names(tmp_path) == ["folder"] and names(path) == []


def test_a_file_does_not_replace_a_folder(tmp_path):
    path = tmp_path / "folder.keras"
    path.mkdir()
    (path / "mine").write_text("mine")
    with pytest.raises(IsADirectoryError), replacing(path) as temporary:
        temporary.write_text("new")
    assert names(path) == ["mine"]
    assert names(tmp_path) == ["folder.keras"]


def test_full_disk_names_the_file(tmp_path):
    path = tmp_path / "model.keras"
    with pytest.raises(OSError, match="No space left.*model.keras"):
        with replacing(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_missing_folder_is_named_by_the_path_of_the_user(tmp_path):
    path = tmp_path / "none" / "model.xml"
    for write in (replacing, placing):
        with pytest.raises(FileNotFoundError) as error, write(path) as made:
            made.write_text("new")
        assert error.value.filename == str(path)
        assert ".partial" not in str(error.value)


def test_a_folder_beside_the_path_is_not_replaced(tmp_path):
    path = tmp_path / "model.xml"
    (tmp_path / "model.bin").mkdir()
    (tmp_path / "model.bin" / "mine").write_text("mine")
    with pytest.raises(IsADirectoryError, match="model.bin'$"):
        with placing(path) as temporary:
            temporary.write_text("new")
            temporary.with_suffix(".bin").write_text("weights")
    assert names(tmp_path) == ["model.bin"]
    assert names(tmp_path / "model.bin") == ["mine"]


def test_files_that_belong_together(tmp_path):
    path = tmp_path / "model.xml"
    path.write_text("old")
    with placing(path) as temporary:
        assert temporary.name == "model.xml"
        temporary.write_text("new")
        temporary.with_suffix(".bin").write_text("weights")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["model.bin", "model.xml"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_files_that_belong_together_stay_away_together(tmp_path, error):
    path = tmp_path / "model.xml"
    with pytest.raises(error), placing(path) as temporary:
        temporary.write_text("new")
        raise error
    assert names(tmp_path) == []


@pytest.mark.parametrize("makes", ["write_text", "mkdir"])
def test_a_folder_and_a_file_take_each_others_place(tmp_path, makes):
    path = tmp_path / "model"
    if makes == "mkdir":
        path.write_text("old")
    else:
        path.mkdir()
    with placing(path) as temporary:
        if makes == "mkdir":
            temporary.mkdir()
        else:
            temporary.write_text("new")
    assert path.is_dir() == (makes == "mkdir")
    assert names(tmp_path) == ["model"]
