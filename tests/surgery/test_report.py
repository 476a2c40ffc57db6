"""The report shows every layer, as a table and as a picture."""

import keras
import pytest
from keras import layers

from keras_nfnets import surgery


@pytest.fixture
def reports():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    model = keras.Model(inputs, layers.Softmax(name="own")(x))
    return surgery.normalizer_free(model)[1], surgery.standardize(model)[1]


def test_table(reports, capsys):
    report, _ = reports
    report.print()
    shown = capsys.readouterr().out
    for row in report.rows:
        assert row.name in shown
    assert "2 changed, 1 unchanged" in shown
    assert "unknown" in report.unchanged[0].change
    report.print(changed_only=True)
    assert "own" not in capsys.readouterr().out
    assert set(report.variances) == {"conv", "norm", "own"}


def test_picture(reports, tmp_path):
    report, plain = reports
    report.plot(tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="3 rows"):
        plain.plot(tmp_path / "none.png")
