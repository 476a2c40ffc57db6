"""Draws what AGC clipped in each layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_nfnets.annotations import FilePath
from keras_nfnets.extras import require
from keras_nfnets.files import replacing

PANELS = {
    "agc_clipped": "fraction of clipped units",
    "agc_ratio": "norm of gradient / norm of weights",
}
MOST_LABELS = 60


def draw_agc(rows: Sequence[Mapping[str, Any]], path: FilePath) -> None:
    """Draws what AGC clipped as two heat maps of layers over epochs.

    The left one shows the fraction of clipped units, the right one the norm of
    the gradient over that of the weights, on a logarithmic colour scale. Cells
    without a number stay blank. Of many layers only some are labelled.

    Args:
        rows: List of dictionaries, `AGCMonitor.rows`. An empty list draws
            nothing.
        path: String or path of the picture.

    Raises:
        ImportError: If matplotlib is not installed.

    Example:

    >>> monitor = keras_nfnets.callbacks.AGCMonitor()
    >>> model.fit(x, y, epochs=2, callbacks=[monitor])
    >>> keras_nfnets.callbacks.draw_agc(monitor.rows, "agc.png")
    """
    if not rows:
        return
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    epochs = sorted({row["epoch"] for row in rows})
    step = -(-len(layers) // MOST_LABELS)
    lines = len(layers[::step])
    figure = require("matplotlib.figure").Figure(
        figsize=(11, 1.5 + 0.2 * lines), layout="constrained"
    )
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (name, title) in zip(panels, PANELS.items(), strict=True):
        values = _table(rows, name, layers, epochs)
        _draw(axes, values, epochs, name == "agc_ratio")
        axes.set(xlabel="epoch", title=title)
    panels[0].set_yticks(range(0, len(layers), step), layers[::step])
    panels[0].tick_params(axis="y", labelsize="small")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _table(rows, name, layers, epochs):
    """Returns one number as an array `(layers, epochs)`, NaN for none."""
    table = np.full((len(layers), len(epochs)), np.nan)
    for row in rows:
        if row[name] is not None:
            place = layers.index(row["layer"]), epochs.index(row["epoch"])
            table[place] = row[name]
    return table


def _draw(axes, values, epochs, is_ratio):
    """Draws one heat map, with a bar for its colours."""
    colors = require("matplotlib.colors")
    scale = colors.Normalize(0, 1)
    if is_ratio:
        values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
        known = values[~np.isnan(values)]
        low, high = (known.min(), known.max()) if known.size else (1, 1)
        # A single value would give a colour scale of zero width.
        scale = colors.LogNorm(low, max(high, 1.01 * low))
    image = axes.imshow(
        values, aspect="auto", interpolation="nearest", norm=scale
    )
    axes.figure.colorbar(image, ax=axes)
    step = -(-len(epochs) // 10)
    axes.set_xticks(range(0, len(epochs), step), epochs[::step])
