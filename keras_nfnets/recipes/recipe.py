"""Defines a recipe: all settings that train one network."""

from dataclasses import dataclass, replace
from typing import Any

from keras_nfnets.checks import check_positive, check_positive_integer
from keras_nfnets.image_size import Size, checked_size, in_proportion
from keras_nfnets.recipes.rules import check
from keras_nfnets.training.agc import AGC
from keras_nfnets.training.losses import Crossentropy
from keras_nfnets.training.optimizers import SGD, WarmupCosine
from keras_nfnets.training.sam import SAM

# The paths of all variables but those of the head's classifier.
ALL_BUT_CLASSIFIER = r"^(?!head/classifier/)"


@dataclass(frozen=True)
class Recipe:
    """Describes how one network is trained on ImageNet, complete as data.

    The defaults are those of NFNet-F0. `model_args` returns the fields that
    `NFNet` takes, and `compile_args` makes optimizer, loss, AGC and SAM. The
    other fields are for the input pipeline: image sizes, RandAugment, MixUp and
    CutMix.

    `dataclasses.replace(recipe, clipping=0.02)` changes a field and leaves
    the others as they are. `scaled` also adapts the learning rate.

    Args:
        epochs: Integer. Defaults to `360`.
        batch_size: Integer, images per step on all devices together. Defaults
            to `4096`.
        learning_rate: Float, learning rate at the end of the warm-up. The
            papers use 0.1 per 256 images of a batch. Defaults to `1.6`.
        backbone_multiplier: Float in (0, 1], factor of the learning rate of
            all weights but the classifier's. Defaults to `1.0`.
        minimum_learning_rate: Float, learning rate at the end of the cosine.
            Defaults to `0.0`.
        warmup_epochs: Float, epochs in which the learning rate rises from 0.
            Defaults to `5.0`.
        momentum: Float in [0, 1). Defaults to `0.9`.
        nesterov: Boolean, whether momentum is Nesterov's. Defaults to `True`.
        l2: Float, the papers' weight decay. Defaults to `2e-5`.
        label_smoothing: Float in [0, 1). Defaults to `0.1`.
        dropout: Float in [0, 1), rate before the classifier. Defaults to `0.2`.
        stochastic_depth: Float in [0, 1), see `NFNet`. Defaults to `0.25`.
        clipping: Float, see `AGC`, or `None` for no clipping. Defaults to
            `0.01`.
        epsilon: Float, see `AGC`. Defaults to `1e-3`.
        agc_exclude: String or tuple of strings, which variables are not
            clipped, see `AGC`. Defaults to `"classifier"`.
        ema_decay: Float in [0, 1), decay of the moving average of the weights,
            which warms up as `min(ema_decay, (1 + t) / (10 + t))` at step t; or
            `None` for no average. Defaults to `0.99999`.
        train_size: Integer, side of a training image in pixels, or a tuple
            `(height, width)`. Defaults to `192`.
        test_size: Integer or tuple, the same of a test image. Defaults to
            `256`.
        test_margin: Integer, by how many pixels a test image is larger before
            its centre is cropped. Defaults to `32`.
        random_crop: Boolean, whether a training image is a random part of the
            file's image, stretched to a square. Defaults to `True`.
        crop_area: Float in (0, 1], the least fraction of the image's area that
            such a part has. Defaults to `0.08`.
        random_flip: Boolean, whether half of the training images are mirrored.
            Defaults to `True`.
        repeats: Integer, how many copies of each image a batch holds, each with
            a crop, flip and distortion of its own. Steps per epoch stay the
            same, so an epoch sees fewer images. Defaults to `1`.
        randaugment_layers: Integer, operations per image, `0` for no
            RandAugment. Defaults to `4`.
        randaugment_magnitude: Integer, not negative; the papers use 5 to 15.
            Defaults to `5`.
        randaugment_after_mixing: Boolean, whether RandAugment distorts the
            mixed images instead of the images to mix. Defaults to `True`.
        randaugment_corrected: Boolean, whether two mistakes of the papers' code
            are corrected, see `data.distort`. Defaults to `False`.
        mix_partners: String, `"pairs"` or `"batch"`. In pairs, as in the
            papers, an image is mixed with one that is read for this alone, so a
            batch takes twice as many images. In a batch, it is mixed with
            another image of the batch, which halves the decoding. Defaults to
            `"pairs"`.
        mixup_fraction: Float in [0, 1], fraction of a batch that MixUp mixes.
            Defaults to `0.5`.
        mixup_alpha: Float, both parameters of its beta distribution. Defaults
            to `0.2`.
        cutmix_fraction: Float in [0, 1], fraction of a batch that CutMix mixes.
            Defaults to `0.5`.
        cutmix_alpha: Float, both parameters of its beta distribution. Defaults
            to `1.0`, which is uniform.
        sam_rho: Float, see `SAM`, or `None` for plain gradients. Defaults to
            `None`.
        sam_fraction: Float, see `SAM`. Defaults to `0.2`.

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
    backbone_multiplier: float = 1.0
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
    train_size: Size = 192
    test_size: Size = 256
    test_margin: int = 32
    random_crop: bool = True
    crop_area: float = 0.08
    random_flip: bool = True
    repeats: int = 1
    randaugment_layers: int = 4
    randaugment_magnitude: int = 5
    randaugment_after_mixing: bool = True
    randaugment_corrected: bool = False
    mix_partners: str = "pairs"
    mixup_fraction: float = 0.5
    mixup_alpha: float = 0.2
    cutmix_fraction: float = 0.5
    cutmix_alpha: float = 1.0
    sam_rho: float | None = None
    sam_fraction: float = 0.2

    def __post_init__(self) -> None:
        for name in ("train_size", "test_size"):
            size = checked_size(**{name: getattr(self, name)})
            object.__setattr__(self, name, size)
        check(self)
        if not isinstance(self.agc_exclude, str):
            object.__setattr__(self, "agc_exclude", tuple(self.agc_exclude))

    def scaled(
        self,
        batch_size: int | None = None,
        epochs: int | None = None,
        train_size: Size | None = None,
    ) -> "Recipe":
        """Returns a copy for another batch, length or image size.

        The learning rates are proportional to the batch, and the test size to
        the training size, side by side. The warm-up takes at most half of the
        epochs. Other fields stay: the papers find that small batches need a
        larger `clipping`, but give no rule.

        Args:
            batch_size: Integer, images per step. Defaults to `None`, the same.
            epochs: Integer. Defaults to `None`, the same.
            train_size: Integer, side of a training image in pixels, or a tuple
                `(height, width)`. Defaults to `None`, the same.

        Returns:
            A `Recipe`.

        Raises:
            ValueError: If one of them is not positive.

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
        check_positive_integer(batch_size=batch_size, epochs=epochs)
        train_size = checked_size(train_size=train_size)
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
            test_size=in_proportion(
                self.test_size, train_size, self.train_size
            ),
        )

    @property
    def mixes(self) -> bool:
        """Whether MixUp or CutMix makes a part of the batch."""
        return self.mixup_fraction + self.cutmix_fraction > 0

    @property
    def images_per_step(self) -> int:
        """The number of images that are read for a step.

        Images that are mixed in pairs take twice the batch. With `repeats`,
        each image that is read stands for so many of the batch.
        """
        pairs = self.mixes and self.mix_partners == "pairs"
        return self.batch_size * (2 if pairs else 1) // self.repeats

    def model_args(self) -> dict[str, Any]:
        """Returns the arguments of `NFNet`: dropout and stochastic depth.

        The input shape is not among them: training and test images differ in
        size, and one model takes both.

        Returns:
            A dictionary.

        Example:

        >>> recipe = keras_nfnets.recipes.get("nfnet_pico")
        >>> model = keras_nfnets.NFNet("nfnet_pico", **recipe.model_args())
        """
        return dict(
            dropout=self.dropout, stochastic_depth=self.stochastic_depth
        )

    def compile_args(self, steps_per_epoch: float) -> dict[str, Any]:
        """Returns the arguments of `AGCModel.compile`.

        They use the fields for epochs, learning rates, warm-up, momentum, L2,
        the average of the weights, label smoothing, AGC and SAM. Labels are
        integers, or soft labels for mixed images, see `losses.Crossentropy`.
        The model has to return probabilities.

        With an average, `fit` ends with the averages as the model's weights. To
        validate and save with the averages during training, add
        `keras_nfnets.callbacks.AveragedWeights`.

        Args:
            steps_per_epoch: Float, batches in an epoch; need not be an integer.

        Returns:
            A dictionary. A part of it can be replaced:
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
        multipliers: dict[str, float] = {}
        if self.backbone_multiplier != 1:
            multipliers = {ALL_BUT_CLASSIFIER: self.backbone_multiplier}
        agc = None
        if self.clipping is not None:
            agc = AGC(self.clipping, self.epsilon, self.agc_exclude)
        sam = None
        if self.sam_rho is not None:
            sam = SAM(self.sam_rho, self.sam_fraction)
        return dict(
            optimizer=SGD(
                schedule,
                self.momentum,
                self.nesterov,
                self.l2,
                multipliers=multipliers,
                **ema,
            ),
            loss=Crossentropy(self.label_smoothing),
            # Unweighted ones would count the padding of `test_batches`.
            weighted_metrics=["accuracy"],
            agc=agc,
            sam=sam,
        )
