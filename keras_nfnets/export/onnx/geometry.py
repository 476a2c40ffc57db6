"""Computes the attributes that say where a window reads its pixels.

Keras says "same" or "causal"; ONNX says how many pixels are added before and
after each side. `"same"` depends on the size of the image if the stride is not
1. `auto_pad` leaves it to the runtime where that size is not known.
"""


def geometry(layer, size, x, dilation=(1, 1)):
    """Returns strides, dilations and padding of a convolution or pooling.

    Args:
        layer: A Keras layer with `strides` and `padding`.
        size: Tuple of integers, the window's sides in pixels.
        x: The `Value` that it reads. Its pending padding becomes `pads` if the
            layer's own padding is `"valid"`.
        dilation: Tuple of integers, the distance between the pixels that a
            window reads. Defaults to `(1, 1)`.

    Returns:
        A dictionary of ONNX attributes: `strides`, and as far as they are
        needed `dilations`, `pads` (all starts, then all ends) or `auto_pad`.

    Example:

    >>> layer = keras.layers.Conv2D(8, 3, strides=2, padding="same")
    >>> geometry(layer, (3, 3), Value("x", (None, 32, 32, 3)))
    {'strides': [2, 2], 'pads': [0, 0, 1, 1]}
    """
    strides = list(layer.strides)
    attributes = dict(strides=strides)
    if set(dilation) != {1}:
        attributes["dilations"] = list(dilation)
    if layer.padding in ("causal", "same"):
        return attributes | _implied(layer, size, x, dilation)
    if x.pads is not None:
        starts, ends = zip(*x.pads, strict=True)
        attributes["pads"] = [*starts, *ends]
    return attributes


def _implied(layer, size, x, dilation):
    """Returns the padding that `"causal"` or `"same"` stands for.

    Like TensorFlow, it adds the odd pixel of `"same"` at the end of a side.
    """
    spans = [
        rate * (side - 1) + 1 for side, rate in zip(size, dilation, strict=True)
    ]
    if layer.padding == "causal":
        return dict(pads=[spans[0] - 1, 0])
    sides = x.shape[1:-1]
    totals = [
        _total(side, span, stride)
        for side, span, stride in zip(sides, spans, layer.strides, strict=True)
    ]
    if None in totals:
        # The padding depends on a size that only the runtime knows.
        return dict(auto_pad="SAME_UPPER")
    starts = [total // 2 for total in totals]
    ends = [total - start for total, start in zip(totals, starts, strict=True)]
    return dict(pads=starts + ends) if any(totals) else {}


def _total(side, span, stride):
    """Returns how many pixels "same" adds to a side, or `None` if unknown.

    Args:
        side: Integer, the image's side in pixels, or `None`.
        span: Integer, the pixels from the window's first to its last one.
        stride: Integer, in pixels.

    Returns:
        Integer such that `ceil(side / stride)` windows fit, or `None` if the
        side is not known and the stride is not 1.
    """
    if stride == 1:
        return span - 1
    if side is None:
        return None
    return max((-(-side // stride) - 1) * stride + span - side, 0)
