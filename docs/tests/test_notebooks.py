"""Notebooks become pages that need no network."""

import json
import sys
from pathlib import Path

import pytest

sys.path[:0] = [
    str(Path(__file__).parents[2] / "tools"),
    str(Path(__file__).parents[2] / "tools" / "site"),
]

from generated_pages import for_site  # noqa: E402 (the path comes first)

COLAB = "https://colab.research.google.com"


@pytest.mark.parametrize(
    "shown, page",
    [
        (
            f"[![Open in Colab]({COLAB}/badge.svg)]({COLAB}/x)",
            f"[Open in Colab]({COLAB}/x)",
        ),
        (
            f'<a href="{COLAB}/x"><img src="{COLAB}/b.svg" alt="Open"/></a>',
            f'<a href="{COLAB}/x">Open</a>',
        ),
        ("![curves](curves.png)", "![curves](curves.png)"),
        (
            "see [AGC](../docs/AGC.md#skip-gains)",
            "see [AGC](../AGC.md#skip-gains)",
        ),
    ],
)
def test_images_from_elsewhere_become_words(shown, page):
    notebook = json.dumps({"cells": [{"source": [shown]}]})
    assert json.loads(for_site(notebook))["cells"][0]["source"] == [page]
