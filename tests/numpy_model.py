"""The training that tests of AGC and SAM compare with, in float64 NumPy.

The network has two dense layers with `tanh` between them, its loss is the mean
squared error. `parameters` and gradients are lists in the order of
`model.weights`: kernel and bias of the hidden layer, then of the top.
`agc_models.dense_model` is the same network in Keras.
"""

import numpy as np

SHAPES = [(8, 6), (6,), (6, 3), (3,)]
# The axes of a unit's weights: a column of a kernel feeds one neuron, and a
# vector is one unit. The paper leaves the last layer's kernel unclipped
# (arXiv 2102.06171, Section 4.1).
UNIT_AXES = [(0,), (0,), None, (0,)]


def initial_parameters():
    """Values that float32 holds exactly, as the weights of a model do."""
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=shape) for shape in SHAPES]
    return [a.astype("float32").astype("float64") for a in arrays]


def batches(size, *arrays):
    """Cuts arrays of samples into the batches of one epoch."""
    arrays = [a.astype("float64") for a in arrays]
    starts = range(0, len(arrays[0]), size)
    return [tuple(a[i : i + size] for a in arrays) for i in starts]


def forward(parameters, x):
    """Returns the outputs, and the hidden layer's."""
    w, b, v, c = parameters
    hidden = np.tanh(x @ w + b)
    return hidden @ v + c, hidden


def loss(parameters, x, y, sample_weights=1.0):
    squares = (forward(parameters, x)[0] - y) ** 2
    return np.mean(squares * np.reshape(sample_weights, (-1, 1)))


def gradient(parameters, x, y, sample_weights=1.0):
    """Returns d `loss` / d parameters, by the chain rule."""
    outputs, hidden = forward(parameters, x)
    weights = np.reshape(sample_weights, (-1, 1))
    d_outputs = 2 * (outputs - y) * weights / y.size
    d_hidden = d_outputs @ parameters[2].T
    d_sums = d_hidden * (1 - hidden**2)
    return [
        x.T @ d_sums,
        d_sums.sum(0),
        hidden.T @ d_outputs,
        d_outputs.sum(0),
    ]


def unit_norms(arrays, axes=UNIT_AXES):
    """Returns the norm of each unit, `None` where there are no units."""
    return [
        None if a is None else np.sqrt((x**2).sum(a, keepdims=True))
        for x, a in zip(arrays, axes, strict=True)
    ]


def adaptive_clip(
    gradients, parameters, clipping, epsilon=1e-3, axes=UNIT_AXES
):
    """Equation 3 of arXiv 2102.06171, for each unit.

    A gradient G of weights W becomes `clipping` * max(|W|, `epsilon`) / |G| * G
    where |G| / max(|W|, `epsilon`) is above `clipping`.
    """
    norms = unit_norms(gradients, axes), unit_norms(parameters, axes)
    clipped = []
    for g, norm, weight in zip(gradients, *norms, strict=True):
        if norm is not None:
            limit = clipping * np.maximum(weight, epsilon)
            over = norm > limit
            g = g * np.where(over, limit / np.where(over, norm, 1), 1)
        clipped.append(g)
    return clipped


def momentum_step(parameters, velocity, gradients, rate, momentum):
    """Nesterov's momentum (SGD where it is 0): parameters and velocity."""
    velocity = [
        momentum * v + g for v, g in zip(velocity, gradients, strict=True)
    ]
    steps = [g + momentum * v for v, g in zip(velocity, gradients, strict=True)]
    moved = [p - rate * s for p, s in zip(parameters, steps, strict=True)]
    return moved, velocity


def perturbed(parameters, gradients, rho):
    """Equation 2 of SAM (arXiv 2010.01412): a step of length `rho` uphill."""
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    pairs = zip(parameters, gradients, strict=True)
    return [p + rho * g / norm for p, g in pairs]


def sam_gradient(parameters, batch, rho, fraction=1.0):
    """The gradient of a batch where the gradient of its first part leads to."""
    count = max(1, round(fraction * len(batch[0])))
    first = gradient(parameters, *(a[:count] for a in batch))
    return gradient(perturbed(parameters, first, rho), *batch)


def train(steps, rate, clipping, epsilon=1e-3):
    """Returns the parameters after SGD with AGC, a step for each batch."""
    parameters = initial_parameters()
    for batch in steps:
        gradients = gradient(parameters, *batch)
        gradients = adaptive_clip(gradients, parameters, clipping, epsilon)
        parameters, _ = momentum_step(
            parameters, gradients, gradients, rate, momentum=0.0
        )
    return parameters
