"""Draws the history of a run as a picture of several panels."""

from typing import Any

from keras_nfnets.annotations import FilePath
from keras_nfnets.extras import require
from keras_nfnets.files import replacing

TRAINING, HELD_OUT = "training", "held-out"
# For each panel, the columns of a history that it shows and their labels.
# Columns that a history lacks are skipped, and so are empty panels.
PANELS = {
    "loss": {"loss": TRAINING, "val_loss": HELD_OUT},
    "accuracy": {
        "accuracy": TRAINING,
        "val_accuracy": HELD_OUT,
        "val_top5_accuracy": f"{HELD_OUT}, top 5",
    },
    "fraction of clipped units": {
        "agc_clipped": "all",
        **{
            f"agc_clipped_{part}": part
            for part in ("stem", "stage1", "stage2", "stage3", "stage4", "head")
        },
    },
    "norms": {"gradient_norm": "gradients", "weight_norm": "weights"},
    "learning rate": {"learning_rate": "after the epoch"},
    "images per second": {"images_per_second": "without the first step"},
}
LOGARITHMIC = {"norms"}
COLUMNS = 3


def draw_curves(rows: list[dict[str, Any]], path: FilePath) -> None:
    """Draws loss, accuracy, AGC's clipping, norms and speed over epochs.

    Args:
        rows: List of dictionaries, one per epoch, with `epoch` and columns of
            `PANELS`. An empty list draws nothing.
        path: String or path of the picture.

    Raises:
        ImportError: If matplotlib is not installed.

    Example:

    >>> draw_curves(run.read_history(), "curves.png")
    """
    panels = {
        title: {c: label for c, label in lines.items() if c in rows[0]}
        for title, lines in (PANELS.items() if rows else ())
    }
    panels = {title: lines for title, lines in panels.items() if lines}
    if not panels:
        return
    height = -(-len(panels) // COLUMNS)
    figure = require("matplotlib.figure").Figure(
        figsize=(12, 3.5 * height), layout="constrained"
    )
    grid = figure.subplots(height, COLUMNS, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.axis("off")
    for axes, (title, lines) in zip(grid, panels.items(), strict=False):
        for column, label in lines.items():
            axes.plot(
                [row["epoch"] for row in rows],
                [row.get(column) for row in rows],
                marker=".",
                label=label,
            )
        scale = "log" if title in LOGARITHMIC else "linear"
        axes.set(xlabel="epoch", title=title, yscale=scale)
        axes.legend(fontsize="small")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
