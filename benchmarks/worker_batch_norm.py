"""Our network with batch normalization, trained as such networks are.

Its convolutions are ours without standardization and gain, followed by
`keras.layers.BatchNormalization`; everything else is the same.
"""

import worker

job = worker.job()
with worker.timed("import"):
    import keras

    import keras_nfnets
    from keras_nfnets.layers import composite


class BatchNormConv2D(keras_nfnets.layers.WSConv2D):
    """Runs as `WSConv2D` does, but normalizes what comes out."""

    def __init__(self, *args, gain_initializer, **kwargs):
        super().__init__(*args, use_gain=False, use_bias=False, **kwargs)
        self.normalization = keras.layers.BatchNormalization(
            gamma_initializer=gain_initializer, dtype=self.dtype_policy
        )

    def build(self, input_shape):
        super().build(input_shape)
        self.normalization.build(self.compute_output_shape(input_shape))

    def standardize(self, kernel):
        return keras.ops.convert_to_tensor(kernel)

    def call(self, inputs, training=None):
        return self.normalization(super().call(inputs), training=training)


# Where stem, blocks and head take their convolutions from.
composite.WSConv2D = BatchNormConv2D

with worker.timed("build"):
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
