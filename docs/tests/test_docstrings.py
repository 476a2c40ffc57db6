"""Docstrings keep their words when they are made ready for Sphinx."""

import sys
from pathlib import Path

from keras_nfnets.layers import WSConv2D

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "site"))

from docstrings import rewritten, signature  # noqa: E402 (the path comes first)


def test_links_are_those_of_sphinx():
    text = "See [Brock et\nal., 2021](https://arxiv.org/abs/1), Section 3"
    link = "`Brock et al., 2021 <https://arxiv.org/abs/1>`__"
    assert rewritten(text) == f"See {link}, Section 3"


def test_an_interval_is_no_link():
    text = "Float in [0, 1).\n\nReference: [A](https://b.org)"
    assert rewritten(text) == (
        "Float in [0, 1).\n\n**Reference:** `A <https://b.org>`__"
    )


def test_examples_get_a_heading():
    text = "Sums.\n\nExample:\n\n>>> 1 + 1\n2"
    assert rewritten(text) == "Sums.\n\n.. rubric:: Example\n\n>>> 1 + 1\n2"


def test_a_layer_shows_its_own_arguments():
    arguments, returns = signature(
        None, "class", "WSConv2D", WSConv2D, None, "(*args, **kwargs)", None
    )
    assert arguments.startswith("(filters, kernel_size, strides=")
    assert returns is None
