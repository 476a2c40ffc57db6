"""Defines a recipe: all settings that train one network."""

from dataclasses import dataclass, replace
from typing import Any

from keras_nfnets.checks import (
    MAX_PIXELS,
    check_not_negative,
    check_positive,
    check_rate,
    check_whole,
)
from keras_nfnets.training.agc import AGC
from keras_nfnets.training.losses import Crossentropy
from keras_nfnets.training.optimizers import SGD, WarmupCosine
from keras_nfnets.training.sam import SAM
from keras_nfnets.variants.plan import MIN_SIZE


@dataclass(frozen=True)
class Recipe:
    """How one network is trained on ImageNet, complete as data.

    The defaults are those of NFNet-F0. `model_args` and `compile_args` hand
    on what model and training can honour. The rest is for the input pipeline
    (image sizes, RandAugment, MixUp, CutMix).

    `dataclasses.replace(recipe, clipping=0.02)` changes a field and leaves
    the others as they are; `scaled` lets the learning rate follow.

    Args:
        epochs: Integer. Defaults to `360`.
        batch_size: Integer, images per step on all devices together. Defaults
            to `4096`.
        learning_rate: Float, at the end of the warm-up: 0.1 per 256 images of
            a batch. Defaults to `1.6`.
        minimum_learning_rate: Float, at the end of the cosine. Defaults to
            `0.0`.
        warmup_epochs: Float, in which the learning rate rises from 0.
            Defaults to `5.0`.
        momentum: Float in [0, 1). Defaults to `0.9`.
        nesterov: Boolean. Defaults to `True`.
        l2: Float, the papers' weight decay. Defaults to `2e-5`.
        label_smoothing: Float in [0, 1). Defaults to `0.1`.
        dropout: Float in [0, 1), before the classifier. Defaults to `0.2`.
        stochastic_depth: Float in [0, 1), see `NFNet`. Defaults to `0.25`.
        clipping: Float, see `AGC`, or `None` for no clipping. Defaults to
            `0.01`.
        epsilon: Float, see `AGC`. Defaults to `1e-3`.
        agc_exclude: What is not clipped, see `AGC`. Defaults to
            `"classifier"`.
        ema_decay: Float in [0, 1), of the average of the weights, which warms
            up as `min(ema_decay, (1 + t) / (10 + t))` at step t; or `None`
            for no average. Defaults to `0.99999`.
        train_size: Integer, side of a training image in pixels. Defaults to
            `192`.
        test_size: Integer, side of a test image in pixels. Defaults to `256`.
        test_margin: Integer, by how many pixels a test image is larger before
            its centre is cropped. Defaults to `32`.
        random_crop: Boolean, whether a training image is a random part of
            what the file shows, stretched to a square. Defaults to `True`.
        random_flip: Boolean, whether half of the training images are
            mirrored. Defaults to `True`.
        randaugment_layers: Integer, operations per image, `0` for no
            RandAugment. Defaults to `4`.
        randaugment_magnitude: Integer, from 0 to 10 and beyond. Defaults to
            `5`.
        randaugment_after_mixing: Boolean, whether RandAugment sees mixed
            images. Defaults to `True`.
        mixup_share: Float, share of a batch that MixUp makes. Defaults to
            `0.5`.
        mixup_alpha: Float, both parameters of its beta distribution. Defaults
            to `0.2`.
        cutmix_share: Float, share of a batch that CutMix makes. Defaults to
            `0.5`.
        cutmix_alpha: Float, both parameters of its beta distribution. Defaults
            to `1.0`, which is uniform.
        sam_rho: Float, see `SAM`, or `None` for plain gradients. Defaults to
            `None`.
        sam_share: Float, see `SAM`. Defaults to `0.2`.

    Raises:
        ValueError: If a field is outside its range.

    Example:

    >>> recipe = keras_nfnets.recipes.Recipe(batch_size=1024, learning_rate=0.4)

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Section 4 and Appendix A
    """

    epochs: int = 360
    batch_size: int = 4096
    learning_rate: float = 1.6
    minimum_learning_rate: float = 0.0
    warmup_epochs: float = 5.0
    momentum: float = 0.9
    nesterov: bool = True
    l2: float = 2e-5
    label_smoothing: float = 0.1
    dropout: float = 0.2
    stochastic_depth: float = 0.25
    clipping: float | None = 0.01
    epsilon: float = 1e-3
    agc_exclude: str | tuple[str, ...] = "classifier"
    ema_decay: float | None = 0.99999
    train_size: int = 192
    test_size: int = 256
    test_margin: int = 32
    random_crop: bool = True
    random_flip: bool = True
    randaugment_layers: int = 4
    randaugment_magnitude: int = 5
    randaugment_after_mixing: bool = True
    mixup_share: float = 0.5
    mixup_alpha: float = 0.2
    cutmix_share: float = 0.5
    cutmix_alpha: float = 1.0
    sam_rho: float | None = None
    sam_share: float = 0.2

    def __post_init__(self) -> None:
        check_whole(**self._fields("epochs batch_size train_size test_size"))
        check_positive(
            **self._fields(
                "learning_rate clipping epsilon mixup_alpha cutmix_alpha "
                "sam_rho sam_share"
            )
        )
        check_rate(
            **self._fields(
                "momentum label_smoothing dropout stochastic_depth ema_decay"
            )
        )
        check_not_negative(
            **self._fields(
                "minimum_learning_rate warmup_epochs l2 test_margin "
                "randaugment_layers randaugment_magnitude mixup_share "
                "cutmix_share"
            )
        )
        self._check_bounds()
        if not isinstance(self.agc_exclude, str):
            object.__setattr__(self, "agc_exclude", tuple(self.agc_exclude))

    def scaled(
        self,
        batch_size: int | None = None,
        epochs: int | None = None,
        train_size: int | None = None,
    ) -> "Recipe":
        """Returns a copy for another batch, length or image size.

        The learning rates follow the batch by the linear rule, the test size
        follows the training size in proportion, and the warm-up takes half of
        the epochs at most. All else stays: the papers find that smaller
        batches take a larger `clipping`, and state no rule.

        Args:
            batch_size: Integer, images per step. Defaults to `None`, the
                same.
            epochs: Integer. Defaults to `None`, the same.
            train_size: Integer, side of a training image in pixels. Defaults
                to `None`, the same.

        Raises:
            ValueError: If one of them is not a positive integer.

        Example:

        >>> recipe = keras_nfnets.recipes.get("nfnet_f0")
        >>> recipe.scaled(batch_size=256, epochs=90).learning_rate
        0.1

        Reference: [Goyal et al., 2017](https://arxiv.org/abs/1706.02677),
        Section 2.1
        """
        batch_size = self.batch_size if batch_size is None else batch_size
        epochs = self.epochs if epochs is None else epochs
        train_size = self.train_size if train_size is None else train_size
        check_whole(batch_size=batch_size, epochs=epochs, train_size=train_size)
        return replace(
            self,
            batch_size=batch_size,
            learning_rate=self.learning_rate * batch_size / self.batch_size,
            minimum_learning_rate=(
                self.minimum_learning_rate * batch_size / self.batch_size
            ),
            epochs=epochs,
            warmup_epochs=min(self.warmup_epochs, epochs / 2),
            train_size=train_size,
            test_size=max(
                1, round(self.test_size * train_size / self.train_size)
            ),
        )

    def model_args(self) -> dict[str, Any]:
        """Returns the arguments of `NFNet`: dropout and stochastic depth.

        The input shape is not among them, as training and test images differ
        in size and one model takes both.

        Returns:
            A dictionary.

        Example:

        >>> recipe = keras_nfnets.recipes.get("nfnet_f1")
        >>> model = keras_nfnets.NFNet("nfnet_f1", **recipe.model_args())
        """
        return dict(
            dropout=self.dropout, stochastic_depth=self.stochastic_depth
        )

    def compile_args(self, steps_per_epoch: float) -> dict[str, Any]:
        """Returns the arguments of `AGCModel.compile`.

        They take in the epochs, the learning rates, the warm-up, momentum,
        L2, the average of the weights, label smoothing, AGC and SAM; no other
        field. Labels are integers or, of mixed images, rows of shares, see
        `losses.Crossentropy`; the model returns probabilities.

        With an average, the weights that `fit` leaves behind are the averages;
        `keras.callbacks.SwapEMAWeights` validates and saves them on the way.

        Args:
            steps_per_epoch: Number of batches in an epoch; need not be whole.

        Returns:
            A dictionary. A part of it that does not suit can be replaced:
            `compile_args(steps) | dict(agc=None)`.

        Raises:
            ValueError: If `steps_per_epoch` is not positive, or there is no
                step between warm-up and end.

        Example:

        >>> recipe = keras_nfnets.recipes.get("nfnet_f1")
        >>> model.compile(**recipe.compile_args(1281167 / recipe.batch_size))
        """
        check_positive(steps_per_epoch=steps_per_epoch)
        schedule = WarmupCosine(
            self.learning_rate,
            self.warmup_epochs * steps_per_epoch,
            int(self.epochs * steps_per_epoch),
            self.minimum_learning_rate,
        )
        ema: dict[str, Any] = {}
        if self.ema_decay is not None:
            ema = dict(use_ema=True, ema_momentum=self.ema_decay)
        agc = None
        if self.clipping is not None:
            agc = AGC(self.clipping, self.epsilon, self.agc_exclude)
        sam = None
        if self.sam_rho is not None:
            sam = SAM(self.sam_rho, self.sam_share)
        return dict(
            optimizer=SGD(
                schedule, self.momentum, self.nesterov, self.l2, **ema
            ),
            loss=Crossentropy(self.label_smoothing),
            metrics=["accuracy"],
            agc=agc,
            sam=sam,
        )

    def _fields(self, names):
        """Returns these fields by name, without those that are None."""
        values = {name: getattr(self, name) for name in names.split()}
        return {n: value for n, value in values.items() if value is not None}

    def _check_bounds(self):
        if not self.minimum_learning_rate <= self.learning_rate:
            raise ValueError(
                "`minimum_learning_rate` must not be above `learning_rate`. "
                f"Received: {self.minimum_learning_rate} and "
                f"{self.learning_rate}"
            )
        if min(self.train_size, self.test_size) < MIN_SIZE:
            raise ValueError(
                f"`train_size` and `test_size` must be at least {MIN_SIZE} "
                f"pixels. Received: {self.train_size} and {self.test_size}"
            )
        largest = max(self.train_size, self.test_size + self.test_margin)
        if largest**2 > MAX_PIXELS:
            raise ValueError(
                "`train_size`, and `test_size` with `test_margin`, must make "
                f"images of {MAX_PIXELS} pixels at most. "
                f"Received: {largest} x {largest}"
            )
        if not self.warmup_epochs < self.epochs:
            raise ValueError(
                "`warmup_epochs` must be below `epochs`. "
                f"Received: {self.warmup_epochs} and {self.epochs}"
            )
        if not self.mixup_share + self.cutmix_share <= 1:
            raise ValueError(
                "`mixup_share` and `cutmix_share` must not be above 1 "
                f"together. Received: {self.mixup_share} and "
                f"{self.cutmix_share}"
            )
        if not self.sam_share <= 1:
            raise ValueError(
                "`sam_share` must not be above 1. "
                f"Received: sam_share={self.sam_share}"
            )
