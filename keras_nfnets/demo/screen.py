"""Shows pictures in a window, and writes them as a film."""

import os
import sys
from pathlib import Path

from keras_nfnets.checks import complain

TITLE = "keras-nfnets"
# How OpenCV calls the kind of film, by suffix.
KINDS = {".mp4": "mp4v", ".avi": "MJPG"}


class Window:
    """A window, if there can be one; that there is none is said once.

    Args:
        cv2: The module.
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
        """Shows an RGB picture; returns the letter of a key, or `""`."""
        if not self.there:
            return ""
        self._cv2.imshow(TITLE, picture[..., ::-1])
        key = self._cv2.waitKey(1)
        # Whoever closes the window wants to quit as well.
        visible = self._cv2.WND_PROP_VISIBLE
        if self._cv2.getWindowProperty(TITLE, visible) < 1:
            return "q"
        return chr(key & 255) if key >= 0 else ""

    def close(self):
        """Closes the window."""
        if self.there:
            self._cv2.destroyWindow(TITLE)


def has_display():
    """Whether a window may be opened; Qt ends the process where it fails."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


class Film:
    """Writes RGB pictures, all of the first one's size.

    Args:
        path: Path of an `.mp4` or `.avi` file.
        fps: Float, frames per second.
        cv2: The module.
    """

    def __init__(self, path, fps, cv2):
        self._path, self._fps, self._cv2 = path, fps, cv2
        self._writer = None

    def write(self, picture):
        """Writes a picture.

        Raises:
            OSError: If OpenCV cannot write such a film.
        """
        height, width, _ = picture.shape
        if self._writer is None:
            self._size = width, height
            self._writer = self._cv2.VideoWriter(
                str(self._path),
                self._cv2.VideoWriter.fourcc(*KINDS[self._path.suffix.lower()]),
                self._fps,
                self._size,
            )
            if not self._writer.isOpened():
                raise OSError(f"OpenCV cannot write {str(self._path)!r}")
        if (width, height) != self._size:
            picture = self._cv2.resize(picture, self._size)
        self._writer.write(picture[..., ::-1].copy())

    def close(self):
        """Finishes the file."""
        if self._writer is not None:
            self._writer.release()


def check_film(path, overwrite):
    """Raises an error unless a film may be written to a path."""
    path = Path(path)
    if path.suffix.lower() not in KINDS:
        raise ValueError(
            f"`save` must end in one of {sorted(KINDS)}. "
            f"Received: save={str(path)!r}"
        )
    if path.exists() and not overwrite:
        raise FileExistsError(
            "`save` must be free, or --overwrite given. "
            f"Received: save={str(path)!r}, which exists"
        )
