"""The schedule and the optimizer follow what the papers' code computed."""

import keras
import numpy as np
import pytest
from helpers import Reference, to_numpy

from keras_nfnets.training import agc
from keras_nfnets.training.optimizers import SGD, WarmupCosine

OPTIM = Reference("optim")
SCHEDULES = Reference("schedules")


@pytest.mark.parametrize("name", ["published_nfnet", "small"])
def test_schedule_is_the_papers(name):
    key = f"WarmupCosineDecay_{name}"
    kwargs = SCHEDULES.meta["schedules"][key]["kwargs"]
    schedule = WarmupCosine(
        kwargs["max_val"],
        kwargs["warmup_steps"],
        kwargs["num_steps"],
        kwargs["min_val"],
    )
    steps, values = SCHEDULES[f"{key}/steps"], SCHEDULES[f"{key}/values"]
    inside = steps <= kwargs["num_steps"]
    found = [float(schedule(int(step))) for step in steps]
    # float32 keeps seven digits of a cosine near its zero.
    bound = 3e-7 * kwargs["max_val"]
    np.testing.assert_allclose(
        np.array(found)[inside], values[inside], rtol=1e-5, atol=bound
    )
    # There the papers' cosine rises again; ours ends.
    after = np.array(found)[~inside]
    np.testing.assert_allclose(after, kwargs["min_val"], atol=bound)
    assert len(after)


def _sgd(run, **changes):
    meta = OPTIM.meta["runs"][run]
    opt, sched = meta["opt"], meta["sched"]
    peak = meta["lr"] * meta["train_batch_size"] / 256
    if not meta.get("lr_scale_by_bs", True):
        peak = meta["lr"]
    schedule = WarmupCosine(
        peak, sched["warmup_steps"], sched["num_steps"], sched["min_val"]
    )
    return SGD(
        schedule,
        momentum=opt["momentum"],
        nesterov=bool(opt["nesterov"]),
        l2=opt["weight_decay"] or 0.0,
        **changes,
    )


def _variable(name, value):
    # The rules for L2 go by our names, which end in the papers' last part.
    last = {"w": "kernel", "b": "bias"}.get(name.split("::")[1])
    path = name.split("::")[1] if last is None else last
    return keras.Variable(value, name=path)


# Each run with one average; what it is of does not depend on the run.
@pytest.mark.parametrize(
    "run, ema",
    list(zip(sorted(OPTIM.meta["runs"]), [0.99999, 0.9], strict=True)),
)
def test_trajectory_is_the_papers(run, ema):
    names = sorted(OPTIM.under("init/"))
    groups = OPTIM.meta["groups"][run]
    variables = [_variable(n, OPTIM[f"init/{n}"]) for n in names]
    clips = [groups[n]["clipping"] is not None for n in names]
    optimizer = _sgd(run, use_ema=True, ema_momentum=ema)
    optimizer.build(variables)
    assert [bool(groups[n]["weight_decay"]) for n in names] == [
        bool(d and optimizer.l2) for d in optimizer._decays
    ]
    opt = OPTIM.meta["runs"][run]["opt"]
    steps = len(OPTIM[f"grads/{names[0]}"])
    for step in range(steps):
        gradients = [
            keras.ops.convert_to_tensor(OPTIM[f"grads/{n}"][step])
            for n in names
        ]
        clipped = agc.adaptive_clip(
            gradients, variables, opt["clipping"], opt["eps"]
        )
        chosen = [
            c if clip else g
            for g, c, clip in zip(gradients, clipped, clips, strict=True)
        ]
        optimizer.apply(chosen, variables)
        _check(f"{run}/step{step + 1:02d}", names, variables, optimizer, ema)


def _check(prefix, names, variables, optimizer, ema):
    averages = optimizer._model_variables_moving_average
    for i, name in enumerate(names):
        if f"{prefix}/params/{name}" not in OPTIM.arrays:
            return
        # 2e-6 after 30 steps of float32, and ten times that for an average.
        np.testing.assert_allclose(
            to_numpy(variables[i]), OPTIM[f"{prefix}/params/{name}"], atol=2e-6
        )
        np.testing.assert_allclose(
            to_numpy(optimizer.momentums[i]),
            OPTIM[f"{prefix}/momentum/{name}"],
            atol=2e-6,
        )
        np.testing.assert_allclose(
            to_numpy(averages[i]),
            OPTIM[f"{prefix}/tf1_ema_{ema}/{name}"],
            atol=1e-5,
        )


def test_schedule_without_warm_up_begins_at_its_peak():
    schedule = WarmupCosine(0.5, 0, 100)
    assert to_numpy(schedule(0)) == 0.5
    # One step of a hundred into the cosine.
    expected = 0.25 * (1 + np.cos(np.pi / 100))
    assert abs(to_numpy(schedule(1)) - expected) < 1e-6


def test_warm_up_may_start_above_zero():
    schedule = WarmupCosine(0.5, 4, 100, start=0.1)
    found = [float(to_numpy(schedule(step))) for step in range(5)]
    # float32 leaves 1e-7.
    np.testing.assert_allclose(found, [0.1, 0.2, 0.3, 0.4, 0.5], rtol=1e-6)
    copy = WarmupCosine.from_config(schedule.get_config())
    assert copy.get_config() == schedule.get_config()


def test_l2_rule_can_be_changed():
    kernel = keras.Variable([1.0], name="kernel")
    bias = keras.Variable([1.0], name="bias")
    for exclude, moved in (((), [1, 1]), (["kernel"], [0, 1]), ([""], [0, 0])):
        optimizer = SGD(0.1, l2=0.1, l2_exclude=exclude)
        optimizer.build([kernel, bias])
        assert [int(d) for d in optimizer._decays] == moved


def test_config_round_trip():
    optimizer = SGD(
        WarmupCosine(0.4, 2.5, 10, 0.01), 0.8, False, 1e-3, ["x"], use_ema=True
    )
    config = keras.optimizers.serialize(optimizer)
    copy = keras.optimizers.deserialize(config)
    assert copy.get_config() == optimizer.get_config()
    assert isinstance(copy, SGD)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: SGD(momentum=1.0), r"`momentum` must be in \[0, 1\)"),
        (lambda: SGD(l2=-1e-5), "`l2` must not be negative"),
        (lambda: SGD(weight_decay=1e-4), "`weight_decay` must be None"),
        (lambda: WarmupCosine(0.1, 10, 10), "`warmup_steps` must be"),
        (lambda: WarmupCosine(0.1, -1, 10), "`warmup_steps` must be"),
        (lambda: WarmupCosine(float("nan"), 0, 10), "`peak` must not be neg"),
        (lambda: WarmupCosine("0.1", 0, 10), "`peak` must not be negative"),
        (lambda: WarmupCosine(0.1, 0, 10, -1.0), "`minimum` must not be"),
        (lambda: WarmupCosine(0.1, 1, 10, 0.0, -1.0), "`start` must not be"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_multipliers_scale_the_rate_of_the_first_match():
    gradients = np.float32([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    names = ("stem", "head_kernel", "head_bias")
    given = {"^head_kernel$": 0.25, "^head_": 0.5}
    variables = [keras.Variable(np.zeros(2), name=name) for name in names]
    optimizer = SGD(0.5, l2=0.0, multipliers=given)
    optimizer.build(variables)
    for _ in range(2):
        optimizer.apply(list(keras.ops.convert_to_tensor(gradients)))
    # Nesterov's two steps from zero: g + 0.9 g, then g + 0.9 (g + 0.9 g).
    moved = -0.5 * (1.9 + 1 + 0.9 * 1.9) * gradients
    for variable, row, factor in zip(
        variables, moved, (1.0, 0.25, 0.5), strict=True
    ):
        np.testing.assert_allclose(to_numpy(variable), factor * row, rtol=1e-6)
    copy = SGD.from_config(optimizer.get_config())
    assert copy.multipliers == given
    with pytest.raises(ValueError, match="must not be negative.*-1"):
        SGD(multipliers={"head": -1.0})
