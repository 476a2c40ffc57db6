"""Draws classes with their bars, and a line of text, into a frame."""

WHITE, BAR, SHADE = (255, 255, 255), (80, 200, 120), 0.35
# The height of a line as a fraction of the frame's.
LINE = 1 / 16


def draw(frame, classes, text, cv2):
    """Returns a copy of a frame with a darkened panel of classes.

    Each class has a line with a bar, whose length is the probability.

    Args:
        frame: uint8 array `(height, width, 3)`, in any order of colours.
        classes: List of tuples `(name, probability)`, the first one on top.
        text: String, the line under the classes.
        cv2: The module `cv2`.

    Returns:
        A uint8 array of the same shape and order of colours.

    Example:

    >>> frame = np.zeros((240, 320, 3), "uint8")
    >>> draw(frame, [("cat", 0.97)], "30 fps", cv2).shape
    (240, 320, 3)
    """
    height, width, _ = frame.shape
    line = max(int(height * LINE), 12)
    picture = frame.copy()
    # White letters are readable on a darkened panel.
    panel = picture[: line * (len(classes) + 1) + line // 2, : width * 3 // 5]
    panel[:] = (panel * SHADE).astype("uint8")
    for row, (name, probability) in enumerate(classes):
        top = line * row + line // 4
        full = panel.shape[1] - line // 2
        right = line // 4 + max(int(full * min(probability, 1.0)), 1)
        corner = (right, top + line - 3)
        cv2.rectangle(picture, (line // 4, top), corner, BAR, cv2.FILLED)
        _write(picture, f"{probability:5.2f} {name}", top, line, cv2)
    top = line * len(classes) + line // 4
    _write(picture, text, top, line, cv2)
    return picture


def _write(picture, text, top, line, cv2):
    """Writes a line of text onto a picture, in place."""
    # OpenCV's fonts have the letters of ASCII only.
    text = text.encode("ascii", "replace").decode()
    cv2.putText(
        picture,
        text,
        (line // 3, top + line * 2 // 3),
        cv2.FONT_HERSHEY_SIMPLEX,
        max(line, 12) / 40,
        WHITE,
        max(line // 24, 1),
        cv2.LINE_AA,
    )
