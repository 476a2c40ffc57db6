"""keras_nfnets: with AGC, `compile` with its defaults."""

import worker

job = worker.job()
with worker.timed("import"):
    import keras_nfnets

with worker.timed("build"):
    model = keras_nfnets.NFNet(
        job.model,
        input_shape=(job.size, job.size, 3),
        classes=worker.CLASSES,
        remat=job.remat,
    )
if job.folded:
    model = keras_nfnets.export.fold(model)
if job.task == "train":
    model.compile(
        keras_nfnets.optimizers.SGD(worker.LEARNING_RATE),
        "sparse_categorical_crossentropy",
    )

worker.serve(
    job,
    worker.keras_step(job, model),
    parameters=model.count_params(),
    versions=worker.keras_versions(),
    note="with AGC",
)
