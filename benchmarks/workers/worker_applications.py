"""keras.applications: the batch-normalized network beside one of ours."""

import worker

job = worker.job()
with worker.timed("import"):
    import keras

MODELS = {"nf_resnet50": keras.applications.ResNet50}
make = worker.named(MODELS, job)
with worker.timed("build"):
    model = make(
        weights=None,
        input_shape=(job.size, job.size, 3),
        classes=worker.CLASSES,
    )
if job.task == "train":
    model.compile(
        worker.plain_sgd(keras),
        "sparse_categorical_crossentropy",
    )

worker.serve(
    job,
    worker.keras_step(job, model),
    parameters=model.count_params(),
    versions=worker.keras_versions(),
    note="no AGC, SGD of Keras",
)
