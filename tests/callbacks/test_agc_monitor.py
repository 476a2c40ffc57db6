"""`AGCMonitor` records what a formula says of each layer, and only if asked."""

import csv

import keras
import numpy as np
import numpy_model
import pytest
from agc_loops import data, dense_model, step_of_ones_own
from helpers import BACKEND, to_numpy

import keras_nfnets
from keras_nfnets import AGC
from keras_nfnets.callbacks import AGCMonitor, draw_agc
from keras_nfnets.training.optimizers import with_agc

CLIPPING = 0.1  # clips some units of the tests' steps, not all
SETTINGS = AGC(CLIPPING)
RATE, BATCH, EPOCHS = 0.1, 8, 2
X, Y = data(24)  # three steps


def by_hand():
    """The rows of a training with SGD, in float64 NumPy."""
    parameters, rows = numpy_model.initial_parameters(), []
    for epoch in range(EPOCHS):
        steps = []
        for batch in numpy_model.batches(BATCH, X, Y):
            gradients = numpy_model.gradient(parameters, *batch)
            steps.append(row_of_step(gradients, parameters))
            parameters, _ = numpy_model.momentum_step(
                parameters,
                gradients,
                numpy_model.adaptive_clip(gradients, parameters, CLIPPING),
                RATE,
                momentum=0.0,
            )
        for layer, found in zip(
            ("hidden", "top"), np.mean(steps, axis=0), strict=True
        ):
            rows.append([epoch + 1, layer, *found])
    return rows


def row_of_step(gradients, parameters):
    """Returns the share of clipped units and the ratio, of both layers."""
    norms, weights = map(numpy_model.unit_norms, (gradients, parameters))
    rows = []
    # The kernel of the classifier is not clipped, and not reported.
    for layer in ((0, 1), (3,)):
        norm, weight = (
            np.concatenate([n[i].ravel() for i in layer])
            for n in (norms, weights)
        )
        share = (norm > CLIPPING * weight).mean()
        rows.append((share, np.linalg.norm(norm) / np.linalg.norm(weight)))
    return rows


def table(rows):
    return [list(row.values()) for row in rows]


def assert_rows(rows, expected):
    assert [row[:2] for row in rows] == [row[:2] for row in expected]
    # Six steps in float32; the shares are exact but for their division.
    np.testing.assert_allclose(
        [row[2:] for row in rows], [row[2:] for row in expected], rtol=1e-4
    )


def sgd():
    return keras.optimizers.SGD(RATE)


def scaled():
    # A scale at which nothing overflows, and that stays in so few steps.
    return keras.optimizers.LossScaleOptimizer(sgd(), initial_scale=8.0)


def plain_model(optimizer, **kwargs):
    model = dense_model()
    optimizer = with_agc(optimizer, SETTINGS, model)
    model.compile(optimizer, "mse", **kwargs)
    return model


def agc_model(optimizer, cls=keras_nfnets.AGCModel, **kwargs):
    model = dense_model(cls)
    model.compile(optimizer, "mse", agc=SETTINGS, **kwargs)
    return model


def own_step(optimizer):
    return agc_model(optimizer, step_of_ones_own(keras_nfnets.AGCModel))


def trained_before(optimizer):
    """A model whose step was traced without the monitor."""
    model = plain_model(optimizer)
    weights = model.get_weights()
    model.fit(X, Y, BATCH, verbose=0)
    model.set_weights(weights)
    return model


def fit(model, *callbacks, epochs=EPOCHS, **kwargs):
    return model.fit(
        X,
        Y,
        BATCH,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
        **kwargs,
    ).history


@pytest.mark.parametrize(
    ("make", "optimizer"),
    [
        (plain_model, sgd),
        (plain_model, scaled),
        (agc_model, sgd),
        (own_step, scaled),
        (trained_before, sgd),
    ],
)
def test_rows_are_what_numpy_counts(make, optimizer):
    expected = by_hand()
    assert 0 < expected[-2][2] < 1
    model = make(optimizer())
    monitor = AGCMonitor()
    history = fit(model, monitor, validation_data=(X, Y))
    assert_rows(table(monitor.rows), expected)
    # Nothing of it in the logs. The report of the whole is what it was: of
    # seven units of a layer and one of the other.
    reported = make in (agc_model, own_step)
    others = {"agc_clipped"} if reported else set()
    assert set(history) == {"loss", "val_loss"} | others
    if reported:
        share = (7 * expected[-2][2] + expected[-1][2]) / 8
        assert history["agc_clipped"][-1] == pytest.approx(share)


@pytest.mark.skipif(BACKEND == "torch", reason="Keras refuses it on PyTorch")
@pytest.mark.parametrize("make", [plain_model, agc_model])
def test_several_steps_in_one_execution(make):
    monitor = AGCMonitor()
    fit(make(sgd(), steps_per_execution=3), monitor)
    assert_rows(table(monitor.rows), by_hand())


def test_weights_are_the_same_with_and_without():
    with_it, without = plain_model(sgd()), plain_model(sgd())
    fit(with_it, AGCMonitor())
    fit(without)
    for a, b in zip(with_it.weights, without.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(a), to_numpy(b))
    # Unused it adds nothing, used it adds two variables and none to a file.
    count = len(without.optimizer.variables)
    assert len(with_it.optimizer.variables) == count + 2
    store = {}
    with_it.optimizer.save_own_variables(store)
    assert len(store) == count


def test_accumulated_gradients_count_where_they_update():
    optimizer = keras.optimizers.SGD(RATE, gradient_accumulation_steps=3)
    monitor = AGCMonitor()
    fit(plain_model(optimizer), monitor, epochs=1)
    whole = AGCMonitor()
    model = plain_model(sgd())
    model.fit(X, Y, 24, verbose=0, callbacks=[whole])
    assert_rows(table(monitor.rows), table(whole.rows))


def test_model_of_a_monitored_training_is_saved_and_goes_on(tmp_path):
    model = agc_model(keras.optimizers.Adam(0.01))
    fit(model, AGCMonitor())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    monitors = AGCMonitor(), AGCMonitor()
    for each, monitor in zip((model, loaded), monitors, strict=True):
        fit(each, monitor, epochs=1)
    assert table(monitors[0].rows) == table(monitors[1].rows)
    store = {}
    loaded.optimizer.save_own_variables(store)
    model.optimizer.load_own_variables(store)  # while it is monitored


def test_rows_go_on_with_the_epochs(tmp_path):
    model, monitor = plain_model(sgd()), AGCMonitor(csv=tmp_path / "agc.csv")
    fit(model, monitor, epochs=3)
    fit(model, monitor, initial_epoch=1, epochs=2)
    assert [row["epoch"] for row in monitor.rows] == [1, 1, 2, 2]


def test_files(tmp_path):
    from tensorboard.backend.event_processing import event_accumulator

    paths = {n: tmp_path / n for n in ("agc.csv", "agc.png", "logs")}
    monitor = AGCMonitor(*paths.values())
    model = plain_model(sgd())
    # At zero, as biases start, a unit does not count: no step has a share.
    model.layers[-1].bias.assign(np.zeros(3))
    fit(model, monitor, epochs=1)
    share, ratio = (monitor.rows[1][n] for n in ("agc_clipped", "agc_ratio"))
    assert share is None and ratio > 0
    with open(paths["agc.csv"], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {n: "" if v is None else str(v) for n, v in row.items()}
        for row in monitor.rows
    ]
    events = event_accumulator.EventAccumulator(str(paths["logs"]))
    events.Reload()
    found = {
        tag: event.tensor_proto.float_val[0]
        for tag in events.Tags()["tensors"]
        for event in events.Tensors(tag)
    }
    assert found == pytest.approx(
        {
            f"{name}/{row['layer']}": row[name]
            for row in monitor.rows
            for name in ("agc_clipped", "agc_ratio")
            if row[name] is not None
        }
    )
    assert paths["agc.png"].read_bytes().startswith(b"\x89PNG")
    # Nothing unfinished is left beside them.
    assert sorted(tmp_path.iterdir()) == sorted(paths.values())


def test_nothing_is_drawn_of_no_rows(tmp_path):
    draw_agc([], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_one_optimizer_of_a_model_that_has_several():
    model, part = dense_model(), keras.layers.Dense(3, name="part")
    model.compile("sgd", "mse")  # has no AGC
    part.build((2,))
    norm = np.linalg.norm(to_numpy(part.kernel))
    optimizer = with_agc(sgd(), SETTINGS)
    monitor = AGCMonitor(optimizer=optimizer)
    monitor.set_model(model)
    monitor.on_epoch_begin(0)
    gradients = [keras.ops.ones(v.shape) for v in part.trainable_variables]
    optimizer.apply(gradients, part.trainable_variables)
    monitor.on_epoch_end(0)
    ((epoch, layer, share, ratio),) = table(monitor.rows)
    assert (epoch, layer, share) == (1, "part", 1)
    assert ratio == pytest.approx(np.sqrt(2 * 3 + 3) / norm)  # bias at zero


def test_model_without_agc_is_refused():
    model = dense_model()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="must train with AGC"):
        fit(model, AGCMonitor())


def test_a_loss_scale_around_agc_is_saved(tmp_path):
    """Of Keras's own class, it would save what no loaded one has."""
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    inner = keras_nfnets.optimizers.with_agc(keras.optimizers.Adam(0.01))
    optimizer = keras.optimizers.LossScaleOptimizer(
        inner, initial_scale=1024.0, dynamic_growth_steps=3
    )
    model.compile(optimizer, "mse")
    x, y = np.ones((32, 6), "float32"), np.ones((32, 3), "float32")
    model.fit(x, y, 8, epochs=2, callbacks=[AGCMonitor()], verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    scales = [float(m.optimizer.dynamic_scale) for m in (model, loaded)]
    assert scales == [4096.0, 4096.0]


def test_a_built_optimizer_keeps_its_units_inside_of_a_loss_scale():
    """Found anew without the model, they would be those of the ranks."""
    model = keras.Sequential(
        [
            keras.Input((8, 2)),
            keras.layers.Conv1D(3, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    inner = with_agc(keras.optimizers.Adam(0.01), AGC(), model)
    model.compile(keras.optimizers.LossScaleOptimizer(inner), "mse")
    x, y = np.ones((8, 8, 2), "float32"), np.ones((8, 2), "float32")
    model.fit(x, y, verbose=0)
    before = list(inner.rules.units)
    assert before == [(0, 1), (0,), None, (0,)]
    model.fit(x, y, callbacks=[AGCMonitor()], verbose=0)
    assert inner.rules.units == before
