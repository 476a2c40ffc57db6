"""Reads frames of a camera, a stream, a film or images in a thread.

A live source, a camera or stream, gives its newest frame: reading never waits
for the network, and a frame is dropped if the next one comes before it is
taken. Its buffer holds one frame. A file gives every frame, and its thread
waits while `AHEAD` frames are in the buffer. Images are decoded as
`keras_nfnets.data` does it, without OpenCV.
"""

import threading
import time
from collections import deque
from pathlib import Path

import numpy as np

from keras_nfnets.checks import MAX_PIXELS, complain, printable
from keras_nfnets.data.folder import SUFFIXES
from keras_nfnets.data.images import decode_file

# The most frames of a file that are read ahead.
AHEAD = 8
# The seconds without a frame after which a camera or stream counts as stalled.
# A camera may need that long to start.
STALL = 10.0
# The number of times in a row that a camera or stream is opened again.
RECONNECTS = 3
# The number of frames in a row without a pixel that end a source.
EMPTY = 100


class SourceLost(OSError):
    """Says that a camera or stream gives no more frames."""


class Capture:
    """Iterates over frames and the times at which they were read.

    A live source that stalls or ends is opened again, `RECONNECTS` times in a
    row at most.

    Args:
        source: String or path: the number of a camera, an address with `"://"`,
            a video file, an image file or a folder of images.
        cv2: The module `cv2`, OpenCV 4 or 5.
        stall: Float, seconds to wait for a frame of a live source. Defaults to
            `STALL`, 10 seconds.

    Yields:
        Tuples of an RGB frame, a uint8 array `(height, width, 3)`, and the
        `time.perf_counter()` at which it was read.

    Raises:
        FileNotFoundError: If there is no file or folder.
        OSError: If there is no camera, or it, the stream or the film cannot be
            read.
        SourceLost: While frames are read, if a live source gives no more.

    Example:

    >>> for frame, read_at in Capture("film.mp4", cv2):
    ...     print(frame.shape, time.perf_counter() - read_at)
    """

    def __init__(self, source, cv2, stall=STALL):
        self._source, self._cv2, self._stall = str(source), cv2, stall
        self.live = self._source.isdigit() or "://" in self._source
        self.dropped = 0
        self.fps = 0.0
        self._files = None if self.live else _images(self._source)
        if not self._files:
            self._device = self._open()
        self._start()

    def _open(self):
        """Opens the camera, film or stream."""
        source = int(self._source) if self._source.isdigit() else self._source
        device = self._cv2.VideoCapture(source)
        if not device.isOpened():
            device.release()
            what = "a camera or a stream" if self.live else "a video"
            raise OSError(
                f"`source` must be {what} that OpenCV can read. "
                f"Received: source={self._source!r}"
            )
        rate = device.get(self._cv2.CAP_PROP_FPS)
        self.fps = float(rate) if 0 < rate < 1000 else 0.0
        return device

    def _start(self):
        """Starts the thread that reads frames.

        Each start has a buffer and a state of its own. A thread of an earlier
        start that still hangs in a read cannot put a frame in the new buffer.
        """
        self._buffer = deque(maxlen=1) if self.live else deque()
        self._change = threading.Condition()
        self._state = {"ended": False, "error": None, "stop": False}
        if self._files:
            frames = _decoded(self._files)
        else:
            frames = _frames(self._device)
        threading.Thread(
            target=self._read,
            args=(frames, self._buffer, self._change, self._state),
            daemon=True,
        ).start()

    def _read(self, frames, buffer, change, state):
        """Fills a buffer with frames, in the thread.

        An error is kept in `state` and raised by the iteration.
        """
        try:
            for frame in frames:
                with change:
                    while not self.live and len(buffer) >= AHEAD:
                        change.wait()
                        if state["stop"]:
                            return
                    if state["stop"]:
                        return
                    self.dropped += self.live and len(buffer)
                    buffer.append((frame, time.perf_counter()))
                    change.notify_all()
        except Exception as error:
            state["error"] = error
        finally:
            with change:
                state["ended"] = True
                change.notify_all()

    def __iter__(self):
        """Yields frames until the source ends, see the class."""
        count, tries = 0, 0
        while True:
            found = self._take()
            if found is not None:
                count, tries = count + 1, 0
                yield found
                continue
            if self._state["error"] is not None:
                raise self._state["error"]
            if not self.live:
                if not count:
                    raise OSError(
                        "`source` must have frames. "
                        f"Received: source={self._source!r}, with none"
                    )
                return
            if tries == RECONNECTS:
                raise SourceLost(
                    f"{printable(self._source)} gave no frame, and was opened "
                    f"{RECONNECTS} times again"
                )
            tries += 1
            self._reconnect()

    def _take(self):
        """Returns a frame and its time, or None after the end or a stall."""
        with self._change:
            self._change.wait_for(
                lambda: self._buffer or self._state["ended"],
                self._stall if self.live else None,
            )
            if not self._buffer:
                return None
            found = self._buffer.popleft()
            self._change.notify_all()
            return found

    def _reconnect(self):
        """Opens a live source again, after a pause of at most a second."""
        self.close()
        time.sleep(min(self._stall, 1.0))
        try:
            self._device = self._open()
        except OSError:
            return  # It counts as one of the tries.
        self._start()

    def close(self):
        """Tells the thread to stop after the frame that it is reading."""
        with self._change:
            self._state["stop"] = True
            self._change.notify_all()


def rgb(frame):
    """Converts a frame of OpenCV to RGB.

    Args:
        frame: Array `(height, width)` or `(height, width, channels)`: grey, BGR
            or BGRA, of 8 or 16 bits; or `None`.

    Returns:
        A uint8 array `(height, width, 3)`, or `None` if the frame has no pixel.
        Of 16 bits the upper 8 are kept; alpha is dropped.

    Example:

    >>> rgb(np.uint8([[[1, 2, 3]]]))
    array([[[3, 2, 1]]], dtype=uint8)
    """
    if frame is None or not frame.size:
        return None
    if frame.dtype == np.uint16:
        frame = (frame >> 8).astype("uint8")
    if frame.ndim == 2:
        frame = frame[..., None]
    if frame.shape[-1] == 1:
        return np.repeat(frame, 3, -1)
    return np.ascontiguousarray(frame[..., 2::-1])


def _frames(device):
    """Yields the frames of a device as RGB, and releases it at the end."""
    empty = 0
    try:
        while empty < EMPTY:
            there, frame = device.read()
            if not there:
                return
            frame = rgb(frame)
            empty = empty + 1 if frame is None else 0
            if frame is not None:
                yield frame
    finally:
        device.release()


def _images(source):
    """Returns the image files that a path stands for, or `None` for a film.

    Raises:
        FileNotFoundError: If nothing is at the path, or a folder has no image.
    """
    path = Path(source)
    if path.is_dir():
        files = sorted(
            file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES
        )
        if not files:
            raise FileNotFoundError(
                f"`source` must be a folder with images. Received: {source!r}"
            )
        return files
    if not path.exists():
        raise FileNotFoundError(
            "`source` must be the number of a camera, an address, or an "
            f"existing file or folder. Received: source={source!r}"
        )
    return [path] if path.suffix.lower() in SUFFIXES else None


def _decoded(files):
    """Yields the pixels of image files; one that cannot be read is reported."""
    for file in files:
        try:
            pixels = decode_file(file, 3, MAX_PIXELS)
        except ValueError as error:
            complain(f"error: {error}")
        else:
            yield pixels
