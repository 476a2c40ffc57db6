"""A GAN trains with two optimizers that clip, in one `fit`."""

import keras
import numpy as np
import pytest
from helpers import BACKEND, to_numpy

from keras_nfnets import AGC
from keras_nfnets.training.optimizers import with_agc

RATE, LATENT, BATCH = 0.5, 3, 8
CLIPPING = {"discriminator": 1e-3, "generator": 5e-3}


def part(name, inputs, outputs):
    return keras.Sequential(
        [
            keras.Input((inputs,)),
            keras.layers.Dense(6, "tanh", bias_initializer="ones"),
            keras.layers.Dense(outputs, bias_initializer="ones"),
        ],
        name=name,
    )


def loss_of(logits, real):
    labels = keras.ops.full_like(logits, float(real))
    loss = keras.losses.binary_crossentropy(labels, logits, from_logits=True)
    return keras.ops.mean(loss)


class GAN(keras.Model):
    """What the guide's class is on each backend."""

    def __init__(self, discriminator, generator):
        super().__init__()
        self.discriminator, self.generator = discriminator, generator
        self.d_loss = keras.metrics.Mean("d_loss")
        self.g_loss = keras.metrics.Mean("g_loss")
        self.seeds = keras.random.SeedGenerator(0)
        self.built = True

    def compile(self, d_optimizer, g_optimizer):
        # On JAX `fit` carries the state of one optimizer, and that of the
        # other among what is not trained.
        super().compile(optimizer=g_optimizer)
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer
        self.d_optimizer.build(self.discriminator.trainable_variables)
        self.g_optimizer.build(self.generator.trainable_variables)

    @property
    def metrics(self):
        return [self.d_loss, self.g_loss]

    def fake(self, count):
        noise = keras.random.normal((count, LATENT), seed=self.seeds)
        return self.generator(noise)

    def losses_of(self, real):
        """Returns functions of no argument: one loss of each part."""

        def discriminator():
            fake = keras.ops.stop_gradient(self.fake(BATCH))
            return loss_of(self.discriminator(real), True) + loss_of(
                self.discriminator(fake), False
            )

        def generator():
            return loss_of(self.discriminator(self.fake(BATCH)), True)

        return [
            (discriminator, self.discriminator, self.d_optimizer, self.d_loss),
            (generator, self.generator, self.g_optimizer, self.g_loss),
        ]

    def logs(self):
        return {m.name: m.result() for m in self.metrics}


class TensorFlowGAN(GAN):
    def train_step(self, real):
        import tensorflow as tf

        for loss_of_part, model, optimizer, metric in self.losses_of(real):
            with tf.GradientTape() as tape:
                loss = loss_of_part()
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
            metric.update_state(loss)
        return self.logs()


class TorchGAN(GAN):
    def train_step(self, real):
        import torch

        for loss_of_part, model, optimizer, metric in self.losses_of(real):
            self.zero_grad()
            loss = loss_of_part()
            loss.backward()
            variables = model.trainable_variables
            gradients = [v.value.grad for v in variables]
            with torch.no_grad():
                optimizer.apply(gradients, variables)
            metric.update_state(loss.detach())
        return self.logs()


class JaxGAN(GAN):
    @property
    def non_trainable_variables(self):
        return super().non_trainable_variables + self.d_optimizer.variables

    def train_step(self, state, real):
        lists = (
            self.trainable_variables,
            self.non_trainable_variables,
            self.optimizer.variables,
            self.metrics_variables,
        )
        variables = [v for each in lists for v in each]
        values = dict(
            zip(map(id, variables), sum(map(list, state), []), strict=True)
        )
        for i in range(2):
            self.update(values, variables, i, real)
        scope = keras.StatelessScope([(v, values[id(v)]) for v in variables])
        with scope:
            logs = self.logs()
        state = tuple([values[id(v)] for v in each] for each in lists)
        return logs, state

    def update(self, values, variables, i, real):
        """Updates one part: its weights, its optimizer and its metric."""
        import jax

        _, model, optimizer, metric = self.losses_of(real)[i]
        own = model.trainable_variables

        def run(weights):
            now = values | dict(zip(map(id, own), weights, strict=True))
            scope = keras.StatelessScope([(v, now[id(v)]) for v in variables])
            with scope:
                loss = self.losses_of(real)[i][0]()
                metric.update_state(loss)
            return loss, [scope.get_current_value(v) for v in variables]

        weights = [values[id(v)] for v in own]
        (_, after), gradients = jax.value_and_grad(run, has_aux=True)(weights)
        values.update(zip(map(id, variables), after, strict=True))
        weights, optimizer_values = optimizer.stateless_apply(
            [values[id(v)] for v in optimizer.variables], gradients, weights
        )
        values.update(zip(map(id, own), weights, strict=True))
        values.update(
            zip(map(id, optimizer.variables), optimizer_values, strict=True)
        )


KINDS = {"tensorflow": TensorFlowGAN, "jax": JaxGAN, "torch": TorchGAN}


def trained(epochs, batches):
    """Returns both parts, their weights before and the history."""
    keras.utils.set_random_seed(0)
    parts = part("discriminator", 4, 1), part("generator", LATENT, 4)
    before = [
        # PyTorch's arrays share the memory of the weights.
        [np.array(to_numpy(v)) for v in p.trainable_variables]
        for p in parts
    ]
    gan = KINDS[BACKEND](*parts)
    gan.compile(
        *(
            with_agc(
                keras.optimizers.SGD(RATE),
                AGC(CLIPPING[p.name], exclude=()),
                model=p,
            )
            for p in parts
        )
    )
    x = np.random.default_rng(0).normal(size=(batches * BATCH, 4))
    history = gan.fit(
        x.astype("float32"), batch_size=BATCH, epochs=epochs, verbose=0
    ).history
    return gan, parts, before, history


def moved(part, before):
    """How far each unit moved, over the norm of its weights and the rate."""
    ratios = []
    for variable, old in zip(part.trainable_variables, before, strict=True):
        change = np.square(to_numpy(variable) - old).sum(0)
        ratios.append(np.atleast_1d(np.sqrt(change / np.square(old).sum(0))))
    return np.concatenate(ratios) / RATE


def test_each_optimizer_clips_its_own_part():
    gan, parts, before, history = trained(epochs=1, batches=1)
    assert set(history) == {"d_loss", "g_loss"}
    shares = []
    for model, old, optimizer in zip(
        parts, before, (gan.d_optimizer, gan.g_optimizer), strict=True
    ):
        ratios, clipping = moved(model, old), CLIPPING[model.name]
        # A step of SGD: no unit goes further than its limit, in float32.
        assert ratios.max() < clipping * 1.001
        at_limit = (ratios > clipping * 0.999).mean()
        shares.append(optimizer.agc_report()["agc_clipped"])
        assert shares[-1] == pytest.approx(at_limit)
    assert min(shares) > 0


def test_it_goes_on_training():
    gan, parts, before, history = trained(epochs=2, batches=3)
    for optimizer in (gan.d_optimizer, gan.g_optimizer):
        assert int(to_numpy(optimizer.iterations)) == 6
        assert 0 < optimizer.agc_report()["agc_clipped"] <= 1
    assert np.isfinite(history["d_loss"] + history["g_loss"]).all()
    assert history["d_loss"][1] != history["d_loss"][0]
    # Six steps compound.
    assert moved(parts[0], before[0]).max() < 6.1 * CLIPPING["discriminator"]
