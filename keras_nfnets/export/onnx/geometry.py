"""Which pixels a convolution or a pooling reads, as ONNX's attributes."""


def geometry(layer, size, x, dilation=(1, 1)):
    """Returns the attributes of a layer that moves a window over pixels.

    Args:
        layer: A Keras layer with `strides` and `padding`.
        size: Tuple of integers, the window's sides.
        x: The `Value` that it reads.
        dilation: Tuple of integers. Defaults to `(1, 1)`.

    Returns:
        A dictionary.
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
    """Returns the padding that follows from the layer and the image's size."""
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
        # The runtime finds out, as TensorFlow does.
        return dict(auto_pad="SAME_UPPER")
    starts = [total // 2 for total in totals]
    ends = [total - start for total, start in zip(totals, starts, strict=True)]
    return dict(pads=starts + ends) if any(totals) else {}


def _total(side, span, stride):
    """Returns how many pixels "same" adds to a side, `None` if it depends."""
    if stride == 1:
        return span - 1
    if side is None:
        return None
    return max((-(-side // stride) - 1) * stride + span - side, 0)
