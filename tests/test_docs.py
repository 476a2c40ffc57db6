"""Python that the pages of docs/ show runs as it stands there."""

import pathlib
import re

import pytest
from helpers import BACKEND

DOCS = pathlib.Path(__file__).parents[1] / "docs"


@pytest.mark.long
@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="what they call is tested on all backends"
)
@pytest.mark.parametrize(
    "page, written",
    [
        ("CALLBACKS.md", ["signals.png"]),
        ("SURGERY.md", ["surgery.png"]),
    ],
)
def test_blocks_run_as_pasted(page, written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(
        r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL
    )
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), {})
    assert sorted(p.name for p in tmp_path.iterdir()) == written


@pytest.mark.parametrize("page", sorted(p.name for p in DOCS.glob("*.md")))
def test_links_and_pictures_are_there(page):
    text = (DOCS / page).read_text("utf-8")
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", text):
        assert (DOCS / target).exists(), target
