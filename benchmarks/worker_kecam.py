"""keras_cv_attention_models: NFNetF0, `compile` with its defaults.

It has no AGC, so its step does less than ours.
"""

import keras_cv_attention_models
import tensorflow as tf
import tf_keras
import worker
from keras_cv_attention_models import nfnets

job = worker.job()
model = nfnets.NFNetF0(
    input_shape=(job.size, job.size, 3),
    num_classes=worker.CLASSES,
    pretrained=None,
)
model.compile(
    tf.keras.optimizers.SGD(worker.LEARNING_RATE, momentum=0.9, nesterov=True),
    "sparse_categorical_crossentropy",
)
images, labels = worker.data(job)

worker.serve(
    (lambda: model.train_on_batch(images, labels))
    if job.task == "train"
    else (lambda: model.predict_on_batch(images)),
    parameters=model.count_params(),
    versions={
        "keras_cv_attention_models": keras_cv_attention_models.__version__,
        "tf_keras": tf_keras.__version__,
        "tensorflow": tf.__version__,
    },
    note="has no AGC" if job.task == "train" else "",
)
