"""Shows pictures in a window and writes them as a film."""

import errno
import os
import shutil
import sys
from pathlib import Path

from keras_nfnets.checks import complain

TITLE = "keras-nfnets"
# OpenCV's code of the codec for each suffix.
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
# The bytes that are left free for what a film gets when it is closed.
RESERVE = 2**20


class Window:
    """Shows pictures in a window, if there can be one.

    Without a display, or with an OpenCV that was built without windows, one
    line says why, and the other methods do nothing.

    Args:
        cv2: The module `cv2`.

    Example:

    >>> window = Window(cv2)
    >>> key = window.show(np.zeros((240, 320, 3), "uint8"))
    >>> window.close()
    """

    def __init__(self, cv2):
        self._cv2 = cv2
        try:
            if not has_display():
                raise RuntimeError("there is no display")
            cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL)
            self.there = True
        except (cv2.error, RuntimeError) as error:
            self.there = False
            reason = str(error).strip().splitlines()[0]
            complain(f"no window is shown: {reason}")

    def show(self, picture):
        """Shows a picture and reads the keyboard.

        Args:
            picture: uint8 array `(height, width, 3)`, RGB.

        Returns:
            String: the letter of the key that is pressed, `"q"` once the window
            was closed, or `""`.
        """
        if not self.there:
            return ""
        self._cv2.imshow(TITLE, picture[..., ::-1])
        key = self._cv2.waitKey(1)
        # Closing the window quits as well.
        visible = self._cv2.WND_PROP_VISIBLE
        if self._cv2.getWindowProperty(TITLE, visible) < 1:
            return "q"
        return chr(key & 255) if key >= 0 else ""

    def close(self):
        """Closes the window."""
        if self.there:
            self._cv2.destroyWindow(TITLE)


def has_display():
    """Returns whether a window may be opened.

    On Linux this is asked first: Qt, which OpenCV uses there, ends the process
    if there is no display.
    """
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


class Film:
    """Writes pictures as the frames of a film.

    The first picture decides on the size; others are resized to it.

    Args:
        path: `Path` of an `.mp4` or `.avi` file.
        fps: Float, frames per second.
        cv2: The module `cv2`.

    Example:

    >>> film = Film(Path("film.mp4"), 25.0, cv2)
    >>> film.write(np.zeros((240, 320, 3), "uint8"))
    >>> film.close()
    """

    def __init__(self, path, fps, cv2):
        self._path, self._fps, self._cv2 = path, fps, cv2
        self._writer = None

    def write(self, picture):
        """Writes a picture.

        Args:
            picture: uint8 array `(height, width, 3)`, RGB.

        Raises:
            OSError: If OpenCV cannot write such a film, or no space is left.
        """
        self._check_space(picture.nbytes)
        height, width, _ = picture.shape
        if self._writer is None:
            self._size = width, height
            self._writer = self._cv2.VideoWriter(
                str(self._path),
                self._cv2.VideoWriter.fourcc(
                    *CODECS[self._path.suffix.lower()]
                ),
                self._fps,
                self._size,
            )
            if not self._writer.isOpened():
                raise OSError(
                    f"OpenCV cannot write {self._path.name!r} with frames of "
                    f"{width} x {height} pixels"
                )
        if (width, height) != self._size:
            picture = self._cv2.resize(picture, self._size)
        self._writer.write(picture[..., ::-1].copy())

    def _check_space(self, count):
        """Raises an error if a frame of so many bytes may not fit the disk.

        OpenCV says nothing of frames that it could not write.
        """
        if shutil.disk_usage(self._path.parent).free < count + RESERVE:
            full = errno.ENOSPC
            raise OSError(full, os.strerror(full), str(self._path))

    def close(self):
        """Finishes the file."""
        if self._writer is not None:
            self._writer.release()


def check_film(path, overwrite):
    """Raises an error unless a film may be written to a path.

    Args:
        path: String or path.
        overwrite: Boolean, whether a file at the path may be replaced.

    Raises:
        FileExistsError: If there is a file at the path, and `overwrite` is
            false; or a folder.
        ValueError: If the path ends in no suffix of `CODECS`.
    """
    path = Path(path)
    if path.suffix.lower() not in CODECS:
        raise ValueError(
            f"`save` must end in one of {sorted(CODECS)}. "
            f"Received: save={str(path)!r}"
        )
    if path.is_dir():
        raise FileExistsError(
            f"`save` must be a file, not a folder. Received: save={str(path)!r}"
        )
    if path.exists() and not overwrite:
        raise FileExistsError(
            "`save` must be free, or --overwrite given. "
            f"Received: save={str(path)!r}, which exists"
        )
