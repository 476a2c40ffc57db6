"""A missing library is named with the extra that brings it."""

import sys

import pytest

from keras_nfnets.extras import require


def test_require_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'keras-nfnets\[data\]"):
        require("sklearn.datasets")
