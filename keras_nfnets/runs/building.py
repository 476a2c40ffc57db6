"""Makes the network of a run and compiles it, new or for its second part."""

import dataclasses

import keras

from keras_nfnets.models.nfnet import NFNet
from keras_nfnets.runs import finetuning


def new_model(settings, source, steps_per_epoch):
    """Returns the compiled network of a new run, with its optimizer built.

    Args:
        settings: `Settings`.
        source: `Source`, for the channels and the number of classes.
        steps_per_epoch: Integer, batches in an epoch.

    Raises:
        FileNotFoundError: If there are no weights where the settings say.
        ValueError: If the weights are damaged or of another network.
    """
    # Training and test images differ in size.
    model = NFNet(
        settings.variant,
        input_shape=(None, None, source.channels),
        classes=len(source.class_names),
        **settings.recipe.model_args(),
    )
    if settings.weights is not None:
        finetuning.load(model, settings)
    if settings.freeze_epochs:
        finetuning.freeze(model)
    compile_model(model, settings, steps_per_epoch)
    return model


def compile_model(model, settings, steps_per_epoch):
    """Compiles a model for its part of a run, and builds its optimizer.

    The part is that of the classifier alone if the rest is frozen. A checkpoint
    before the part's first step has to contain the momentum.

    Args:
        model: The Keras model.
        settings: `Settings`.
        steps_per_epoch: Integer, batches in an epoch.
    """
    frozen = finetuning.is_frozen(model)
    recipe = finetuning.recipe_of_part(settings, frozen)
    arguments = recipe.compile_args(steps_per_epoch)
    arguments["weighted_metrics"].append(
        keras.metrics.TopKCategoricalAccuracy(5, name="top5_accuracy")
    )
    if arguments["agc"]:
        arguments["agc"] = dataclasses.replace(arguments["agc"], detailed=True)
    model.compile(**arguments)
    model.optimizer.build(model.trainable_variables)
