"""Classifies the frames of a source one by one and shows them."""

import contextlib
import dataclasses
import time
from pathlib import Path

import numpy as np

from keras_nfnets.annotations import FilePath
from keras_nfnets.checks import check_positive_integer, complain
from keras_nfnets.demo.capture import Capture, SourceLost
from keras_nfnets.demo.overlay import draw
from keras_nfnets.demo.screen import Film, Window, check_film
from keras_nfnets.extras import require
from keras_nfnets.files import placing, replacing
from keras_nfnets.runs import Classifier

# The number of classes that are drawn.
TOP = 5
# The weight of the newest frame in the moving averages.
SMOOTHING = 0.1
# Frames per second of a film whose source has no rate of its own.
IMAGES_FPS, CAMERA_FPS = 2.0, 25.0


@dataclasses.dataclass
class Speed:
    """Measures how fast frames are shown.

    `fps` and `latency` are moving averages, in which the newest frame has the
    weight `SMOOTHING`.

    Args:
        frames: Integer, the number of frames that were shown. Defaults to `0`.
        dropped: Integer, the number of frames that were not. Defaults to `0`.
        fps: Float, frames per second. Defaults to `0.0`.
        latency: Float, seconds from reading a frame to its classes. Defaults to
            `0.0`.

    Example:

    >>> speed = Speed()
    >>> speed.add(interval=0.5, latency=0.1)
    >>> speed.fps
    2.0
    """

    frames: int = 0
    dropped: int = 0
    fps: float = 0.0
    latency: float = 0.0

    def add(self, interval: float, latency: float) -> None:
        """Counts a frame.

        Args:
            interval: Float, seconds since the previous frame was classified.
            latency: Float, seconds since this frame was read.
        """
        weight = SMOOTHING if self.frames else 1.0
        rate = 1 / max(interval, 1e-6)
        self.fps += weight * (rate - self.fps)
        self.latency += weight * (latency - self.latency)
        self.frames += 1


def run(
    classifier: Classifier,
    source: FilePath,
    save: FilePath | None = None,
    window: bool = True,
    max_frames: int | None = None,
    overwrite: bool = False,
) -> Speed:
    """Shows what a classifier calls the frames of a source.

    In the window the key `q` quits and `s` saves a frame as `frame-N.png`.
    Ctrl-C quits as well. A film then holds the frames so far, and also if a
    camera or stream is lost.

    Args:
        classifier: `Classifier`.
        source: String or path: the number of a camera, an address such as
            `"rtsp://..."`, a video file, an image file or a folder of images.
        save: String or path of a film to write, `.mp4` or `.avi`. Defaults to
            `None`, no film.
        window: Boolean, whether a window is opened. Without a display there is
            none, and a line says so. Defaults to `True`.
        max_frames: Integer, the number of frames after which it ends. Defaults
            to `None`, no limit.
        overwrite: Boolean, whether a film at `save` is replaced. Defaults to
            `False`.

    Returns:
        A `Speed`.

    Raises:
        ImportError: If OpenCV is not installed.
        OSError: If the source cannot be read, or a stream has stalled.
        FileExistsError: If there is a film at `save`, and `overwrite` is false.
        ValueError: If `save` ends in neither suffix, or `max_frames` is not a
            positive integer.

    Example:

    >>> run(keras_nfnets.Classifier("runs/pets"), "0")
    """
    if max_frames is not None:
        check_positive_integer(max_frames=max_frames)
    if save is not None:
        check_film(save, overwrite)
    cv2 = require("cv2", extra="webcam")
    # The network is compiled now, so that no frame waits for it.
    classifier.classify(np.zeros((64, 64, 3), "uint8"))
    capture = Capture(source, cv2)
    speed, lost = Speed(), None
    with contextlib.ExitStack() as stack:
        stack.callback(capture.close)
        film = None
        if save is not None:
            film = Film(stack.enter_context(placing(save)), _fps(capture), cv2)
            stack.callback(film.close)
        screen = Window(cv2) if window else None
        if screen is not None:
            stack.callback(screen.close)
        try:
            _show(classifier, capture, speed, film, screen, max_frames, cv2)
        except KeyboardInterrupt:
            pass
        except SourceLost as error:
            if film is None or not speed.frames:
                raise
            lost = error  # The film is finished first.
    if lost is not None:
        raise SourceLost(f"{lost}; {save} has the frames before")
    speed.dropped = capture.dropped
    return speed


def _fps(capture):
    """Returns the frames per second of a film: the source's or a usual rate."""
    return capture.fps or (CAMERA_FPS if capture.live else IMAGES_FPS)


def _show(classifier, capture, speed, film, screen, max_frames, cv2):
    """Classifies, draws and shows frame after frame.

    It returns when the source ends, after `max_frames`, or when `q` is pressed.
    """
    last = time.perf_counter()
    for frame, read_at in capture:
        try:
            (classes,) = classifier.classify(frame, TOP)
        except ValueError as error:
            complain(f"error: {error}")  # A frame is too narrow for the crop.
            continue
        now = time.perf_counter()
        speed.add(now - last, now - read_at)
        last = now
        text = f"{speed.fps:.1f} fps {speed.latency * 1000:.0f} ms"
        picture = draw(frame, classes, text, cv2)
        if film is not None:
            film.write(picture)
        key = "" if screen is None else screen.show(picture)
        if key == "s":
            _save(picture, speed.frames, cv2)
        if key == "q" or speed.frames == max_frames:
            return


def _save(picture, number, cv2):
    """Writes a picture as `frame-N.png` into the working directory."""
    _, content = cv2.imencode(".png", picture[..., ::-1].copy())
    with replacing(Path(f"frame-{number}.png")) as temporary:
        temporary.write_bytes(content.tobytes())
