"""A grid of images shows what a network sees, under the right labels."""

import types

import numpy as np
import pytest
from helpers import BACKEND

from keras_nfnets.data.grid import draw_grid

pytest.importorskip("matplotlib")
figures = pytest.importorskip("matplotlib.figure")
read = pytest.importorskip("matplotlib.image").imread
pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="matplotlib draws on every backend"
)

COLOURS = np.float32([[200, 30, 90], [10, 240, 60], [70, 80, 250]])
MEAN = (120.0, 110.0, 100.0)
STD = (60.0, 50.0, 40.0)


def source(mean=MEAN, std=STD):
    names = ("cat", "dog", "a bird with a long name")
    return types.SimpleNamespace(class_names=names, mean=mean, std=std)


def batch(shares=None):
    """An image of each colour, normalized, and rows of shares."""
    images = (COLOURS - np.float32(MEAN)) / np.float32(STD)
    images = np.broadcast_to(images[:, None, None], (3, 16, 16, 3))
    return images, np.eye(3, dtype="float32") if shares is None else shares


@pytest.fixture
def titles(monkeypatch):
    """What is written above the images of the next picture."""
    found = []
    savefig = figures.Figure.savefig

    def record(figure, *args, **kwargs):
        found[:] = [axes.get_title() for axes in figure.axes]
        savefig(figure, *args, **kwargs)

    monkeypatch.setattr(figures.Figure, "savefig", record)
    return found


def seen(path):
    """The colours that fill the middle of the picture, from left to right."""
    pixels = np.rint(read(path)[..., :3] * 255).astype(int)
    middle = pixels[pixels.shape[0] * 6 // 10]
    starts = np.flatnonzero(np.abs(np.diff(middle, axis=0)).sum(axis=1))
    runs = np.split(middle, starts + 1)
    runs = [run[0].tolist() for run in runs if len(run) > 50]
    return [run for run in runs if run != [255, 255, 255]]


def test_images_are_as_before_normalization(tmp_path):
    path = tmp_path / "seen.png"
    draw_grid([batch()], source(), path, rows=1, columns=3)
    assert seen(path) == COLOURS.astype(int).tolist()
    assert list(tmp_path.iterdir()) == [path]


def test_one_channel(tmp_path):
    path = tmp_path / "seen.png"
    images = np.float32([0, 0.5, 2]).reshape(3, 1, 1, 1)
    images = np.broadcast_to(images, (3, 16, 16, 1))
    draw_grid([(images, np.eye(3))], source((50.0,), (100.0,)), path, 1, 3)
    assert seen(path) == [[50] * 3, [100] * 3, [250] * 3]


def test_values_beyond_the_range_are_black_and_white(tmp_path):
    path = tmp_path / "seen.png"
    images = np.float32([-9, 9]).reshape(2, 1, 1, 1)
    images = np.broadcast_to(images, (2, 16, 16, 1))
    given = [(images, np.eye(2))]
    draw_grid(given, source((50.0,), (100.0,)), path, rows=1, columns=2)
    assert seen(path) == [[0, 0, 0]]


def test_labels(tmp_path, titles):
    shares = np.float32([[0.7, 0.3, 0], [0.002, 0.998, 0], [0.3, 0.25, 0.45]])
    draw_grid([batch(shares)], source(), tmp_path / "a.png", 1, 3)
    titles[2] = titles[2].replace("\n", " ")
    assert titles == [
        "cat 0.7, dog 0.3",
        "dog",
        "a bird with a long name 0.45, cat 0.3, dog 0.25",
    ]


def test_labels_are_broken_into_lines(tmp_path, titles):
    shares = np.float32([[0.3, 0, 0.7]] * 3)
    draw_grid([batch(shares)], source(), tmp_path / "a.png", 1, 3)
    assert all(len(line) <= 24 for line in titles[0].split("\n"))


def test_takes_the_first_images_and_no_more_batches(tmp_path, titles):
    def batches():
        yield batch()
        yield batch()
        raise AssertionError("two batches are enough")

    draw_grid(batches(), source(), tmp_path / "a.png", rows=2, columns=2)
    assert titles == ["cat", "dog", "a bird with a long name", "cat"]


def test_fewer_images_than_places(tmp_path, titles):
    path = tmp_path / "a.png"
    draw_grid([batch()], source(), path, rows=1, columns=5)
    assert titles == ["cat", "dog", "a bird with a long name", "", ""]
    assert seen(path) == COLOURS.astype(int).tolist()


def test_images_of_weight_0_are_left_out(tmp_path, titles):
    given = [(*batch(), np.float32([0, 1.5, 1.5]))]
    draw_grid(given, source(), tmp_path / "a.png", rows=1, columns=3)
    assert titles == ["dog", "a bird with a long name", ""]


@pytest.mark.parametrize("name", ["a.txt", "a"])
def test_a_format_that_cannot_be_written(tmp_path, name):
    with pytest.raises(ValueError, match="`path` must end in .*png.*Received"):
        draw_grid([batch()], source(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_no_images(tmp_path):
    with pytest.raises(ValueError, match="`batches` must hold an image"):
        draw_grid([], source(), tmp_path / "a.png")


@pytest.mark.parametrize("sizes", [dict(rows=0), dict(columns=1.5)])
def test_sizes_are_whole(tmp_path, sizes):
    (name,) = sizes
    with pytest.raises(ValueError, match=f"`{name}` must be a positive int"):
        draw_grid([batch()], source(), tmp_path / "a.png", **sizes)


def test_a_picture_that_was_there_survives_a_failure(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_text("old")

    def fail(figure, to, **kwargs):
        to.write_text("half")
        raise OSError("no space left")

    monkeypatch.setattr(figures.Figure, "savefig", fail)
    with pytest.raises(OSError, match="no space left"):
        draw_grid([batch()], source(), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="`path` must be in a folder"):
        draw_grid([], source(), tmp_path / "none" / "a.png")
