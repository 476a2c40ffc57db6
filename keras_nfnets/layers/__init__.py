"""Layers of normalizer-free networks, from one convolution to a block.

The modules build on each other, in this order:

- `device` names the backend and the device. `convolve` chooses the fast way to
  convolve there. `tensorflow_cpu` and `split_groups` are two such ways.
- `initializers` and `activations` hold functions without layers.
- `convolution`, `convolution_1d_3d` and `transposed_and_depthwise` define the
  convolutions with standardized weights.
- `activation`, `attention` and `residual` define the other small layers.
- `composite` makes such layers from shared settings. `stem`, `block` and `head`
  derive from it. `models.nfnet` connects those three to a network.
"""

from keras_nfnets.layers.activation import VPActivation as VPActivation
from keras_nfnets.layers.attention import (
    EfficientChannelAttention as EfficientChannelAttention,
)
from keras_nfnets.layers.attention import SqueezeExcite as SqueezeExcite
from keras_nfnets.layers.block import NFBlock as NFBlock
from keras_nfnets.layers.convolution import WSConv2D as WSConv2D
from keras_nfnets.layers.convolution_1d_3d import WSConv1D as WSConv1D
from keras_nfnets.layers.convolution_1d_3d import WSConv3D as WSConv3D
from keras_nfnets.layers.head import Head as Head
from keras_nfnets.layers.residual import SkipGain as SkipGain
from keras_nfnets.layers.residual import StochasticDepth as StochasticDepth
from keras_nfnets.layers.stem import Stem as Stem
from keras_nfnets.layers.transposed_and_depthwise import (
    WSConv2DTranspose as WSConv2DTranspose,
)
from keras_nfnets.layers.transposed_and_depthwise import (
    WSDepthwiseConv2D as WSDepthwiseConv2D,
)

__all__ = [
    "EfficientChannelAttention",
    "Head",
    "NFBlock",
    "SkipGain",
    "SqueezeExcite",
    "Stem",
    "StochasticDepth",
    "VPActivation",
    "WSConv1D",
    "WSConv2D",
    "WSConv2DTranspose",
    "WSConv3D",
    "WSDepthwiseConv2D",
]
