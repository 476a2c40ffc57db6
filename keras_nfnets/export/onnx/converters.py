"""Names the converter of each Keras layer that can be written as ONNX.

A converter is a function of the graph, the layer, and the layer's inputs: one
`Value`, or a list of them for a layer that merges. It adds nodes to the graph.
It returns the name of the output tensor, or a `Value` with a padding that the
next layer is to apply.

The keys of `CONVERTERS` are classes. A subclass is not known, since its `call`
may compute something else. All layers have `data_format="channels_last"`
(`walk.check_known`), while the tensors of the graph have their channels on axis
1. To support another layer, write a converter in the module of its subject and
add a row here.

Reference: [ONNX operators](https://onnx.ai/onnx/operators/)
"""

import keras

from keras_nfnets.export.onnx.convolutions import (
    convolution,
    dense,
    depthwise,
    transposed,
)
from keras_nfnets.export.onnx.elementwise import (
    activation,
    concatenate,
    elu,
    identity,
    leaky_relu,
    merge,
    relu,
    softmax,
)
from keras_nfnets.export.onnx.normalizations import (
    batch_normalization,
    normalization,
    rescaling,
)
from keras_nfnets.export.onnx.pooling import (
    global_pooling,
    pooling,
    zero_padding,
)
from keras_nfnets.export.onnx.reshaping import flatten, reshape

_K = keras.layers
CONVERTERS = {
    _K.Activation: activation,
    _K.Add: merge("Add"),
    _K.AveragePooling1D: pooling("AveragePool", None),
    _K.AveragePooling2D: pooling("AveragePool", None),
    _K.AveragePooling3D: pooling("AveragePool", None),
    _K.BatchNormalization: batch_normalization,
    _K.Concatenate: concatenate,
    _K.Conv1D: convolution,
    _K.Conv2D: convolution,
    _K.Conv3D: convolution,
    _K.Conv1DTranspose: transposed,
    _K.Conv2DTranspose: transposed,
    _K.Dense: dense,
    _K.DepthwiseConv2D: depthwise,
    _K.ELU: elu,
    _K.Flatten: flatten,
    _K.GlobalAveragePooling1D: global_pooling("GlobalAveragePool"),
    _K.GlobalAveragePooling2D: global_pooling("GlobalAveragePool"),
    _K.GlobalAveragePooling3D: global_pooling("GlobalAveragePool"),
    _K.GlobalMaxPooling1D: global_pooling("GlobalMaxPool"),
    _K.GlobalMaxPooling2D: global_pooling("GlobalMaxPool"),
    _K.GlobalMaxPooling3D: global_pooling("GlobalMaxPool"),
    _K.Identity: identity,
    _K.LeakyReLU: leaky_relu,
    _K.MaxPooling1D: pooling("MaxPool", float("-inf")),
    _K.MaxPooling2D: pooling("MaxPool", float("-inf")),
    _K.MaxPooling3D: pooling("MaxPool", float("-inf")),
    _K.Maximum: merge("Max"),
    _K.Minimum: merge("Min"),
    _K.Multiply: merge("Mul"),
    _K.Normalization: normalization,
    _K.ReLU: relu,
    _K.Rescaling: rescaling,
    _K.Reshape: reshape,
    _K.Softmax: softmax,
    _K.Subtract: merge("Sub"),
    _K.ZeroPadding1D: zero_padding,
    _K.ZeroPadding2D: zero_padding,
    _K.ZeroPadding3D: zero_padding,
}
