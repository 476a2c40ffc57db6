"""keras_nfnets: NFNet-F0 with AGC, `compile` with its defaults."""

import importlib

import keras
import worker

import keras_nfnets

job = worker.job()
model = keras_nfnets.NFNet(
    "nfnet_f0",
    input_shape=(job.size, job.size, 3),
    classes=worker.CLASSES,
)
images, labels = worker.data(job)
if job.folded:
    model = keras_nfnets.export.fold(model)
if job.task == "train":
    model.compile(
        keras_nfnets.optimizers.SGD(worker.LEARNING_RATE),
        "sparse_categorical_crossentropy",
    )

backend = keras.backend.backend()
worker.serve(
    (lambda: model.train_on_batch(images, labels))
    if job.task == "train"
    else (lambda: model.predict_on_batch(images)),
    parameters=model.count_params(),
    versions={
        "keras": keras.__version__,
        backend: importlib.import_module(backend).__version__,
    },
    note="with AGC" if job.task == "train" else "",
)
