"""Our network with batch normalization, trained as such networks are.

Its convolutions are ours without standardization and gain, followed by
`keras.layers.BatchNormalization`; everything else is the same.
"""

import sys
from pathlib import Path

import worker

# `batch_norm` stands where the study on digits finds it too.
sys.path.append(str(Path(__file__).resolve().parents[1]))

job = worker.job()
with worker.timed("import"):
    import batch_norm
    import keras

    import keras_nfnets

with worker.timed("build"), batch_norm.in_place():
    model = keras_nfnets.NFNet(
        job.model,
        input_shape=(job.size, job.size, 3),
        classes=worker.CLASSES,
    )
if job.task == "train":
    model.compile(
        worker.plain_sgd(keras),
        "sparse_categorical_crossentropy",
        agc=None,
    )

worker.serve(
    job,
    worker.keras_step(job, model),
    parameters=model.count_params(),
    versions=worker.keras_versions(),
    note="no AGC, SGD of Keras",
)
