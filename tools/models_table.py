"""Writes the table of `docs/models.md` from the table of variants.

    python tools/models_table.py

Sizes are counted; top-1 on ImageNet is a fact from the papers and from timm,
at the test size.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "models.md"
sys.path.insert(0, str(ROOT))

from keras_nfnets import VARIANTS  # noqa: E402 (the backend comes first)
from keras_nfnets.variants.complexity import complexity  # noqa: E402
from keras_nfnets.variants.published import (  # noqa: E402
    TOP_1,
    published_by,
)

BEGIN, END = "<!-- models: begin -->\n", "<!-- models: end -->"


def table():
    """Returns the table in Markdown."""
    lines = [
        "| variant | parameters | multiply-adds | train / test px | top-1 "
        "| weights |",
        "|---|---:|---:|---|---:|---|",
    ]
    for name, variant in VARIANTS.items():
        parts = complexity(name)
        lines.append(
            f"| `{name}` "
            f"| {sum(p.parameters for p in parts) / 1e6:.2f} M "
            f"| {_giga(sum(p.multiply_adds for p in parts))} "
            f"| {variant.train_size} / {variant.test_size} "
            f"| {TOP_1.get(name, '')} | {published_by(name) or ''} |"
        )
    return "\n".join(lines) + "\n"


def _giga(count):
    return f"{count / 1e9:.2f} G" if count > 1e8 else f"{count / 1e6:.1f} M"


def updated(text):
    """Returns the page's text with the table as it is now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text("utf-8")), "utf-8")
