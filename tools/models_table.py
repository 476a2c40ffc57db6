"""Writes the README's table of models from the table of variants.

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
sys.path.insert(0, str(ROOT))

from keras_nfnets import VARIANTS  # noqa: E402 (the backend comes first)
from keras_nfnets.variants.complexity import complexity  # noqa: E402
from keras_nfnets.weights.published import SOURCES  # noqa: E402

BEGIN, END = "<!-- models: begin -->\n", "<!-- models: end -->"

TOP_1 = {
    "nfnet_f0": "83.6",
    "nfnet_f1": "84.7",
    "nfnet_f2": "85.1",
    "nfnet_f3": "85.7",
    "nfnet_f4": "85.9",
    "nfnet_f5": "86.0",
    "nfnet_f6": "86.5 (with SAM)",
    "dm_nfnet_f0": "83.468",
    "dm_nfnet_f1": "84.700",
    "dm_nfnet_f2": "85.184",
    "dm_nfnet_f3": "85.676",
    "dm_nfnet_f4": "85.838",
    "dm_nfnet_f5": "86.102",
    "dm_nfnet_f6": "86.364",
    "nfnet_l0": "82.766",
    "eca_nfnet_l0": "82.590",
    "eca_nfnet_l1": "84.062",
    "eca_nfnet_l2": "84.710",
    "nf_resnet50_timm": "80.658",
    "nf_regnet_b1_timm": "79.368",
    "test_nfnet": "47.634",
}


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
            f"| {TOP_1.get(name, '')} | {_weights(name)} |"
        )
    return "\n".join(lines) + "\n"


def _giga(count):
    return f"{count / 1e9:.2f} G" if count > 1e8 else f"{count / 1e6:.1f} M"


def _weights(name):
    if name not in SOURCES:
        return ""
    return "papers" if SOURCES[name].file.endswith(".npz") else "timm"


def updated(text):
    """Returns the README's text with the table as it is now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(updated(readme.read_text("utf-8")), "utf-8")
