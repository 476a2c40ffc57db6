"""Notebooks are committed whole, and become pages that need no network."""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tools" / "site")]

import nbformat  # noqa: E402 (the path comes first)
from generated_pages import for_site  # noqa: E402

from notebooks import NAMES, without_paths  # noqa: E402

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


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_small_and_has_the_outputs_of_a_whole_run(name):
    path = ROOT / "notebooks" / f"{name}.ipynb"
    assert path.stat().st_size < 300_000
    cells = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(
        range(1, len(cells) + 1)
    )
    assert any("QUICK = False" in cell.source for cell in cells)
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs
    assert not [o for o in outputs if o.output_type == "error"]
    # An object's address differs from run to run, a path between machines.
    shown = json.dumps(outputs)
    assert not re.search(r"object at 0x|/(work|tmp|home|root)/", shown)


def test_outputs_lose_the_paths_of_this_machine():
    text = (
        f"{ROOT}/keras_nfnets/a.py:1: UserWarning\n"
        "/x/lib/python3/site-packages/keras/b.py:2: UserWarning\n"
        "/tmp/ipykernel_1/23.py:3: UserWarning"
    )
    output = nbformat.v4.new_output("stream", name="stderr", text=text)
    cell = nbformat.v4.new_code_cell("", outputs=[output])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    [cell] = without_paths(notebook).cells
    assert cell.outputs[0].text == (
        "keras_nfnets/a.py:1: UserWarning\nkeras/b.py:2: UserWarning\n"
        "ipykernel_1/23.py:3: UserWarning"
    )
