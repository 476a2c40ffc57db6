"""Frames arrive in order, as RGB, all of a film and the newest of a stream."""

import threading
import time
import types

import numpy as np
import pytest

from keras_nfnets.demo import capture
from keras_nfnets.demo.capture import Capture, rgb

pytest.importorskip("tensorflow")
BGR = np.zeros((4, 6, 3), "uint8") + np.uint8([1, 2, 3])


class Device:
    """A camera of OpenCV's kind that plays a list of steps."""

    def __init__(self, steps):
        self.steps, self.released = iter(steps), False

    def isOpened(self):
        return self.steps is not None

    def get(self, name):
        return 30.0

    def read(self):
        step = next(self.steps, None)
        if callable(step):
            step = step()
        return step is not None, step

    def release(self):
        self.released = True


def fake(*devices):
    """A module of OpenCV's kind that opens these devices, one by one."""
    devices = iter(devices)

    def open_device(source):
        device = Device(next(devices, ()))
        return device

    return types.SimpleNamespace(VideoCapture=open_device, CAP_PROP_FPS=5)


def numbered(number):
    return np.full((4, 6, 3), number, "uint8")


@pytest.mark.parametrize(
    "frame",
    [
        BGR,
        np.concatenate([BGR, np.full((4, 6, 1), 9, "uint8")], -1),
        BGR.astype("uint16") * 256 + 7,
    ],
    ids=["bgr", "bgra", "16 bits"],
)
def test_frames_become_rgb(frame):
    np.testing.assert_array_equal(rgb(frame), BGR[..., ::-1])


def test_grey_and_empty_frames():
    grey = np.arange(12, dtype="uint8").reshape(3, 4)
    for frame in (grey, grey[..., None]):
        np.testing.assert_array_equal(rgb(frame), np.stack([grey] * 3, -1))
    assert rgb(None) is None and rgb(np.zeros((0, 4, 3), "uint8")) is None


def test_a_film_is_read_to_its_end_and_nothing_is_dropped(tmp_path):
    film = tmp_path / "film.mp4"
    film.touch()
    count = 3 * capture.AHEAD
    frames = Capture(film, fake([numbered(i) for i in range(count)]))
    # The reader has all the time to run ahead.
    time.sleep(0.05)
    found = [frame[0, 0, 0] for frame, _ in frames]
    assert found == list(range(count)) and frames.dropped == 0


def test_what_is_late_in_a_stream_is_dropped():
    shown = threading.Event()

    def last():
        shown.set()
        return numbered(9)

    def hold():
        time.sleep(60)

    steps = [numbered(i) for i in range(9)]
    frames = Capture("0", fake([*steps, last, hold]), stall=5.0)
    shown.wait(5.0)
    while frames.dropped < 9:
        time.sleep(0.001)
    frame, _ = next(iter(frames))
    assert frame[0, 0, 0] == 9 and frames.dropped == 9
    frames.close()


def test_a_stream_that_ends_or_stalls_is_opened_again(monkeypatch):
    monkeypatch.setattr(capture.time, "sleep", lambda seconds: None)
    hang = threading.Event()
    stalls = [numbered(2), hang.wait]
    opened = fake([numbered(1)], stalls, [numbered(3)])
    frames, found = Capture("rtsp://host/x", opened, stall=0.2), []
    with pytest.raises(OSError, match="opened 3 times again"):
        for frame, _ in frames:
            found.append(int(frame[0, 0, 0]))
    hang.set()
    assert found == [1, 2, 3]


def test_frames_without_pixels_are_passed_over(tmp_path):
    film = tmp_path / "film.mp4"
    film.touch()
    empty = np.zeros((0, 0, 3), "uint8")
    frames = Capture(film, fake([empty, numbered(1), empty, numbered(2)]))
    assert [int(frame[0, 0, 0]) for frame, _ in frames] == [1, 2]
    with pytest.raises(OSError, match="must have frames"):
        list(Capture(film, fake([empty] * 2 * capture.EMPTY)))


def test_bad_sources(tmp_path):
    cv2 = pytest.importorskip("cv2")
    with pytest.raises(FileNotFoundError, match="`source` must be the number"):
        Capture(tmp_path / "none.mp4", cv2)
    with pytest.raises(FileNotFoundError, match="a folder with images"):
        Capture(tmp_path, cv2)
    with pytest.raises(OSError, match="must be a camera or a stream"):
        Capture("99", cv2)
    text = tmp_path / "text.mp4"
    for content in (b"", b"not a film" * 100):
        text.write_bytes(content)
        with pytest.raises(OSError, match="must be a video"):
            Capture(text, cv2)


def test_images_are_read_in_order(tmp_path, capsys):
    image_module = pytest.importorskip("PIL.Image")
    for number in (2, 1):
        image = image_module.fromarray(numbered(number))
        image.save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"text")
    frames = Capture(tmp_path, fake())
    assert [int(frame[0, 0, 0]) for frame, _ in frames] == [1, 2]
    assert "3.png: not a PNG" in capsys.readouterr().err
    assert [f.shape for f, _ in Capture(tmp_path / "1.png", fake())] == [
        (4, 6, 3)
    ]
