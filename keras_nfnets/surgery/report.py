"""Reports what surgery changed, as a table and a picture."""

import dataclasses
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from keras_nfnets.annotations import FilePath
from keras_nfnets.extras import require
from keras_nfnets.files import replacing


@dataclasses.dataclass(frozen=True)
class Row:
    """Says what became of one layer.

    Args:
        name: String, the layer's name.
        kind: String, the layer's class.
        change: String, what stands in its place, or why it was kept.
        changed: Boolean, whether anything else stands in its place.
        variance: Float, the planned variance of its outputs, averaged over
            channels. Defaults to `None`, where nothing is planned.
    """

    name: str
    kind: str
    change: str
    changed: bool
    variance: float | None = None


class Report:
    """Says for each layer of a model what surgery made of it.

    It holds one `Row` per layer, from the inputs to the outputs.

    Args:
        rows: List of `Row`.
        calibration: String, what the planned variances were measured on.
            Defaults to `None`, for a plan without data.

    Example:

    >>> resnet = keras.applications.ResNet50(weights=None)
    >>> model, report = keras_nfnets.surgery.normalizer_free(resnet)
    >>> report.print()
    >>> report.plot("surgery.png")
    >>> report.changed[0].change
    'WSConv2D'
    """

    def __init__(
        self, rows: Iterable[Row], calibration: str | None = None
    ) -> None:
        self.rows = list(rows)
        self.calibration = calibration

    @property
    def variances(self) -> dict[str, float]:
        """The planned variance of each layer's outputs, by its name."""
        return {r.name: r.variance for r in self.rows if r.variance is not None}

    @property
    def changed(self) -> list[Row]:
        """The rows of the layers that were changed."""
        return [row for row in self.rows if row.changed]

    @property
    def unchanged(self) -> list[Row]:
        """The rows of the layers that are unchanged."""
        return [row for row in self.rows if not row.changed]

    def print(self, changed_only: bool = False) -> None:
        """Prints the rows as a table, and how many layers were changed.

        Args:
            changed_only: Boolean, whether unchanged layers are left out.
                Defaults to `False`.
        """
        table = Table("layer", "was", "now", "planned variance")
        for row in self.changed if changed_only else self.rows:
            variance = "" if row.variance is None else f"{row.variance:.3g}"
            style = None if row.changed else "dim"
            table.add_row(row.name, row.kind, row.change, variance, style=style)
        console = Console()
        console.print(table)
        console.print(
            f"{len(self.changed)} changed, {len(self.unchanged)} unchanged"
        )
        if self.calibration:
            console.print(f"variances measured {self.calibration}")

    def plot(self, path: FilePath) -> None:
        """Draws the planned variance over depth and marks the changed layers.

        Args:
            path: String or path of the picture.

        Raises:
            ImportError: If matplotlib is not installed.
            ValueError: If nothing was planned, as by `standardize`.
        """
        rows = [row for row in self.rows if row.variance]
        if not rows:
            raise ValueError(
                "A report must have planned variances to be drawn; those of "
                f"`normalizer_free` have. Received: {len(self.rows)} rows "
                "without"
            )
        figure = require("matplotlib.figure").Figure(
            figsize=(10, 4), layout="constrained"
        )
        axes = figure.subplots()
        axes.plot([row.variance for row in rows], color="lightgray", zorder=0)
        for kind in dict.fromkeys(row.kind for row in rows if row.changed):
            points = [
                (i, row.variance)
                for i, row in enumerate(rows)
                if row.changed and row.kind == kind
            ]
            axes.scatter(*zip(*points, strict=True), s=14, label=kind)
        axes.set(xlabel="layer", ylabel="planned variance", yscale="log")
        axes.set_title("layers that surgery changed", fontsize="medium")
        axes.legend(fontsize="small")
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=110)
