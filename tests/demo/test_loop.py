"""The demo shows what a classifier says of a film, and writes it."""

import types

import keras
import numpy as np
import pytest
from helpers import BACKEND
from photo_runs import make_run

from keras_nfnets import Classifier, cli
from keras_nfnets.demo import loop, screen
from keras_nfnets.demo.overlay import BAR, draw

pytest.importorskip("tensorflow")
pytest.importorskip("PIL")
cv2 = pytest.importorskip("cv2")
pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="frames and keys: one backend is enough"
)
COUNT, SIZE = 12, (96, 128)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A film that goes from red to blue."""
    path = tmp_path_factory.mktemp("film") / "film.avi"
    film = screen.Film(path, 25.0, cv2)
    for number in range(COUNT):
        share = number / (COUNT - 1)
        colour = np.array([220 * (1 - share), 30, 220 * share])
        film.write(np.full((*SIZE, 3), colour, "uint8"))
    film.close()
    return path


@pytest.fixture
def shown(monkeypatch):
    """A window of a list, and keys that are pressed in it."""
    pictures, keys = [], {}

    class Window:
        def __init__(self, cv2):
            pass

        def show(self, picture):
            pictures.append(picture)
            return keys.get(len(pictures), "")

        def close(self):
            pass

    monkeypatch.setattr(loop, "Window", Window)
    return types.SimpleNamespace(pictures=pictures, keys=keys)


def frames(path):
    device, found = cv2.VideoCapture(str(path)), []
    while True:
        there, frame = device.read()
        if not there:
            return found
        found.append(frame[..., ::-1])


def test_every_frame_is_classified_and_saved(run, film, tmp_path, capfd):
    out = tmp_path / "out.mp4"
    arguments = ("--model", run.path, "--source", film, "--save", out)
    arguments = map(str, ("demo", *arguments, "--no-window"))
    assert cli.main(list(arguments)) == 0
    assert f"{COUNT} frames, 0 dropped" in capfd.readouterr().out
    pictures = frames(out)
    assert len(pictures) == COUNT
    # Under the overlay the colours are those of the film, not swapped.
    for picture, red in ((pictures[0], 0), (pictures[-1], 2)):
        assert picture.shape == (*SIZE, 3)
        corner = picture[-20:, -20:].mean((0, 1))
        assert corner.argmax() == red and corner.max() > 150
    # A bar of the most probable class is there.
    green = np.abs(pictures[0].astype(int) - BAR).max(-1) < 60
    assert green.sum() > 20


def test_the_classifier_sees_the_frame_as_rgb(run, film, shown, monkeypatch):
    classifier, seen = Classifier(run.path), []
    classify = classifier.classify
    monkeypatch.setattr(
        classifier, "classify", lambda x, *top: seen.append(x) or classify(x)
    )
    speed = loop.run(classifier, film, max_frames=3)
    # The first one warms up.
    assert speed.frames == 3 and len(seen) == 4
    assert seen[1].mean((0, 1)).argmax() == 0
    assert speed.fps > 0 and speed.latency > 0


def test_q_quits_and_s_saves(run, film, shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown.keys.update({2: "s", 4: "q"})
    speed = loop.run(Classifier(run.path), film)
    assert speed.frames == 4
    saved = cv2.imread(str(tmp_path / "frame-2.png"))[..., ::-1]
    np.testing.assert_array_equal(saved, shown.pictures[1])
    assert [path.name for path in tmp_path.iterdir()] == ["frame-2.png"]


def test_no_display_is_said_once(run, film, monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(screen.sys, "platform", "linux")
    assert loop.run(Classifier(run.path), film, max_frames=3).frames == 3
    errors = capsys.readouterr().err
    assert errors == "keras-nfnets: no window is shown: there is no display\n"


def test_headless_opencv_shows_no_window(monkeypatch, capsys):
    def refuse(*args):
        raise cv2.error("The function is not implemented")

    monkeypatch.setattr(screen, "has_display", lambda: True)
    headless = types.SimpleNamespace(
        namedWindow=refuse, WINDOW_NORMAL=0, error=cv2.error
    )
    window = screen.Window(headless)
    assert window.show(np.zeros((2, 2, 3), "uint8")) == ""
    window.close()
    assert "is not implemented" in capsys.readouterr().err


def test_smoothed_speed():
    speed = loop.Speed()
    for interval in (0.1, 0.05):
        speed.add(interval, 2 * interval)
    assert speed.fps == pytest.approx(0.9 * 10 + 0.1 * 20)
    assert speed.latency == pytest.approx(0.9 * 0.2 + 0.1 * 0.1)


def test_bars_are_as_long_as_probabilities():
    frame = np.full((160, 400, 3), 255, "uint8")
    picture = draw(frame, [("a", 0.8), ("b", 0.4)], "", cv2)
    assert (frame == 255).all() and picture.shape == frame.shape
    # Under the letters of each line.
    lengths = [(picture[y] == BAR).all(-1).sum() for y in (12, 24)]
    assert lengths[0] == pytest.approx(2 * lengths[1], abs=3)


def test_full_disk_leaves_no_film(run, film, tmp_path, monkeypatch):
    out = tmp_path / "out.mp4"
    # Room for the first frame, not for the second.
    free = iter([10**9, 10**6])
    monkeypatch.setattr(
        screen.shutil,
        "disk_usage",
        lambda folder: types.SimpleNamespace(free=next(free)),
    )
    with pytest.raises(OSError, match="No space left.*out.mp4"):
        loop.run(Classifier(run.path), film, save=out, window=False)
    assert next(free, None) is None and not any(tmp_path.iterdir())


def test_a_lost_stream_leaves_the_film_so_far(run, tmp_path, monkeypatch):
    class Lost:
        live, fps, dropped = True, 25.0, 0

        def __init__(self, source, cv2):
            pass

        def __iter__(self):
            yield np.zeros((*SIZE, 3), "uint8"), 0.0
            yield np.zeros((*SIZE, 3), "uint8"), 0.0
            raise loop.SourceLost("rtsp://host/x gave no frame")

        def close(self):
            pass

    monkeypatch.setattr(loop, "Capture", Lost)
    out = tmp_path / "out.mp4"
    with pytest.raises(OSError, match="no frame; .*out.mp4 has the frames"):
        loop.run(Classifier(run.path), "rtsp://host/x", out, window=False)
    assert len(frames(out)) == 2


def test_a_frame_that_cannot_be_classified_is_passed_over(
    run, film, monkeypatch, capsys
):
    classifier = Classifier(run.path)
    classify, seen = classifier.classify, []

    def refuse_one(image, *top):
        seen.append(image)
        if len(seen) == 3:  # the second frame; the first call warms up
            raise ValueError("image: too narrow")
        return classify(image, *top)

    monkeypatch.setattr(classifier, "classify", refuse_one)
    speed = loop.run(classifier, film, window=False, max_frames=3)
    assert speed.frames == 3 and len(seen) == 5
    assert capsys.readouterr().err == "keras-nfnets: error: image: too narrow\n"


def test_frames_that_no_film_has_are_told(run, tmp_path):
    keras.utils.save_img(tmp_path / "pixel.png", np.zeros((1, 1, 3)))
    arguments = (tmp_path / "pixel.png", tmp_path / "out.mp4", False)
    with pytest.raises(OSError, match="'out.mp4' with frames of 1 x 1 pixels"):
        loop.run(Classifier(run.path), *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["pixel.png"]


def test_bad_requests(run, film, tmp_path, monkeypatch):
    classifier = Classifier(run.path)
    with pytest.raises(ValueError, match="`save` must end in one of"):
        loop.run(classifier, film, save=tmp_path / "out.gif")
    (tmp_path / "out.mp4").touch()
    with pytest.raises(FileExistsError, match="--overwrite"):
        loop.run(classifier, film, save=tmp_path / "out.mp4")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(FileExistsError, match="a file, not a folder"):
        loop.run(classifier, film, tmp_path / "folder.mp4", overwrite=True)
    with pytest.raises(ValueError, match="`max_frames` must be a positive"):
        loop.run(classifier, film, max_frames=0)
    monkeypatch.setitem(loop.require.__globals__, "importlib", _Missing())
    with pytest.raises(ImportError, match=r"'keras-nfnets\[webcam\]'"):
        loop.run(classifier, film)


class _Missing:
    @staticmethod
    def import_module(name):
        raise ImportError(f"No module named {name!r}")
