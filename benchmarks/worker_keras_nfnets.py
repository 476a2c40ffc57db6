"""keras_nfnets: NFNet-F0 with AGC, `compile` with its defaults."""

import importlib

import keras
import worker

import keras_nfnets

model = keras_nfnets.NFNet(
    "nfnet_f0",
    input_shape=(worker.SIZE, worker.SIZE, 3),
    classes=worker.CLASSES,
)
model.compile(
    keras_nfnets.optimizers.SGD(worker.LEARNING_RATE),
    "sparse_categorical_crossentropy",
)
images, labels = worker.data()

backend = keras.backend.backend()
worker.serve(
    # The share of clipped units comes second.
    lambda: model.train_on_batch(images, labels)[0],
    parameters=model.count_params(),
    versions={
        "keras": keras.__version__,
        backend: importlib.import_module(backend).__version__,
    },
    note="with AGC",
)
