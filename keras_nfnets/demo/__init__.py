"""Shows what a network calls the frames of a camera, a film or images.

`run` is the command `keras-nfnets demo`. A `capture.Capture` reads frames in a
thread, and `loop` classifies the newest one, has `overlay` draw the classes
into it, and shows it by `screen`. OpenCV is needed and passed around as the
argument `cv2`, since importing this room must not import it.
"""

from keras_nfnets.demo.loop import run as run

__all__ = ["run"]
