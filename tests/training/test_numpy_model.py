"""The NumPy model that others compare with follows from its definitions."""

import numpy as np
import numpy_model
import pytest

RNG = np.random.default_rng(0)
BATCH = RNG.normal(size=(5, 8)), RNG.normal(size=(5, 3)), RNG.uniform(size=5)
PARAMETERS = numpy_model.initial_parameters()
GRADIENTS = numpy_model.gradient(PARAMETERS, *BATCH)


def test_gradient_is_the_slope_of_the_loss():
    step = 1e-6
    for i, array in enumerate(PARAMETERS):
        for index in np.ndindex(array.shape):
            values = []
            for sign in (1, -1):
                moved = [p.copy() for p in PARAMETERS]
                moved[i][index] += sign * step
                values.append(numpy_model.loss(moved, *BATCH))
            slope = (values[0] - values[1]) / (2 * step)
            # A central difference of 1e-6 in float64 leaves 1e-9 or so.
            assert slope == pytest.approx(GRADIENTS[i][index], abs=1e-7)


def test_clipped_units_are_at_their_limit_and_the_others_as_they_were():
    clipped = numpy_model.adaptive_clip(GRADIENTS, PARAMETERS, 0.1)
    marks = []
    for i, axes in enumerate(numpy_model.UNIT_AXES):
        if axes is None:
            assert clipped[i] is GRADIENTS[i]
            continue
        before, after, weight = (
            np.linalg.norm(a[i], axis=0)
            for a in (GRADIENTS, clipped, PARAMETERS)
        )
        # No unit of the model is below epsilon.
        np.testing.assert_allclose(after, np.minimum(before, 0.1 * weight))
        marks += list(np.atleast_1d(after < before))
    assert 0 < np.mean(marks) < 1


def test_zeros_are_clipped_at_epsilon():
    (clipped,) = numpy_model.adaptive_clip(
        [np.array([3.0, 4.0])], [np.zeros(2)], 0.1, 1e-2, [(0,)]
    )
    np.testing.assert_allclose(clipped, [6e-4, 8e-4])


def test_perturbation_goes_up_by_rho():
    moved = numpy_model.perturbed(PARAMETERS, GRADIENTS, 0.01)
    step = np.concatenate(
        [(m - p).ravel() for m, p in zip(moved, PARAMETERS, strict=True)]
    )
    assert np.linalg.norm(step) == pytest.approx(0.01)
    slope = np.concatenate([g.ravel() for g in GRADIENTS])
    assert step @ slope == pytest.approx(0.01 * np.linalg.norm(slope))


def test_momentum_adds_up_a_constant_gradient():
    ones = [np.ones(2)]
    parameters, velocity = [np.zeros(2)], [np.zeros(2)]
    for _ in range(2):
        parameters, velocity = numpy_model.momentum_step(
            parameters, velocity, ones, rate=0.1, momentum=0.5
        )
    # Velocities 1 and 1.5; steps 1 + 0.5 * 1 and 1 + 0.5 * 1.5.
    np.testing.assert_allclose(velocity, [[1.5, 1.5]])
    np.testing.assert_allclose(parameters, [[-0.325, -0.325]])
