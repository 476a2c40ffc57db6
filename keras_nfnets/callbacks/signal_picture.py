"""Draws what `signal_propagation` measured, and makes inputs for it."""

import numpy as np

from keras_nfnets.extras import require
from keras_nfnets.files import replacing

# The papers' names of the three curves, and what a picture calls them.
CURVES = {
    "avg_sq_mean": "average squared channel mean",
    "avg_var": "average channel variance",
    "res_avg_var": "residual branch: average channel variance",
}
IMAGES, SIDE = 16, 64
SMALLEST_MEAN = 1e-5


def standard_normal(model, images=IMAGES):
    """Returns a standard-normal batch of a model's input shape.

    The numbers are the same at each call. A side of unknown length gets 64
    pixels.

    Args:
        model: A functional `keras.Model` with one input.
        images: Integer, size of the batch. Defaults to `16`.

    Returns:
        A float32 array of shape `(images, *input_shape)`.

    Raises:
        ValueError: If the model has several inputs.

    Example:

    >>> standard_normal(keras_nfnets.NFNet("nfnet_f0"), 2).shape
    (2, 64, 64, 3)
    """
    if len(model.inputs) != 1:
        raise ValueError(
            "`x` must be given for a model of several inputs. Received: "
            f"x=None, model with {len(model.inputs)} inputs"
        )
    shape = [side or SIDE for side in model.inputs[0].shape[1:]]
    generator = np.random.default_rng(0)
    return generator.standard_normal((images, *shape)).astype("float32")


def draw_signals(curves, path):
    """Draws what `signal_propagation` returned, one panel per curve.

    Args:
        curves: Dictionary from a label to what `signal_propagation` returned:
            a list of dictionaries, one per block.
        path: String or path of the picture.

    Raises:
        ImportError: If matplotlib is not installed.

    Example:

    >>> draw_signals({"before": rows, "after": other_rows}, "spp.png")
    """
    figure = require("matplotlib.figure").Figure(
        figsize=(12, 3.6), layout="constrained"
    )
    panels = figure.subplots(1, len(CURVES))
    for axes, (name, title) in zip(panels, CURVES.items(), strict=True):
        for label, rows in curves.items():
            points = [
                (i, row[name])
                for i, row in enumerate(rows)
                if row[name] is not None
            ]
            if points:
                axes.plot(*zip(*points, strict=True), marker=".", label=label)
        axes.set(xlabel="block (0 is the stem)", yscale="log")
        axes.set_title(title, fontsize="medium")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    # Behind a normalization the mean is nothing but rounding errors. They must
    # not stretch the axis.
    bottom, top = panels[0].get_ylim()
    panels[0].set_ylim(bottom=max(bottom, top * SMALLEST_MEAN))
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=len(curves),
        fontsize="small",
    )
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
