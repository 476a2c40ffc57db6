"""keras_cv_attention_models: `compile` with its defaults.

It has no AGC, so its step does less than ours.
"""

import worker

job = worker.job()
with worker.timed("import"):
    import keras_cv_attention_models
    import tensorflow as tf
    import tf_keras
    from keras_cv_attention_models import nfnets

MODELS = {"nfnet_f0": nfnets.NFNetF0}
make = worker.named(MODELS, job)
with worker.timed("build"):
    model = make(
        input_shape=(job.size, job.size, 3),
        num_classes=worker.CLASSES,
        pretrained=None,
    )
if job.task == "train":
    model.compile(
        worker.plain_sgd(tf.keras),
        "sparse_categorical_crossentropy",
    )

worker.serve(
    job,
    worker.keras_step(job, model),
    parameters=model.count_params(),
    versions={
        "keras_cv_attention_models": keras_cv_attention_models.__version__,
        "tf_keras": tf_keras.__version__,
        "tensorflow": tf.__version__,
    },
    note="has no AGC",
)
