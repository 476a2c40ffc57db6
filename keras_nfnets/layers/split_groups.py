"""Runs grouped convolutions as dense ones, where groups are slow.

XLA's grouped convolution is slow on a CPU, with JAX as with TensorFlow.
`convolve` calls this module in both cases.
"""

import numpy as np
from keras import ops

# Narrow groups are joined into dense convolutions of up to 32 channels.
DENSE_WIDTH = 32


def split_conv(inputs, kernel, groups, dense):
    """Convolves groups as several dense convolutions.

    A dense convolution with few channels is slow. So `split_conv` joins narrow
    groups to a dense convolution of about `DENSE_WIDTH` channels, whose kernel
    is zero between the groups.

    Args:
        inputs: Tensor `(batch, height, width, channels)`.
        kernel: Tensor `(height, width, channels // groups, filters)`.
        groups: Integer, above 1.
        dense: Function of inputs and kernel, a convolution without groups.

    Returns:
        A tensor `(batch, new_height, new_width, filters)`.
    """
    parts = dense_parts(inputs, kernel, groups)
    return ops.concatenate([dense(x, w) for x, w in parts], axis=-1)


def dense_parts(inputs, kernel, groups):
    """Returns the inputs and the kernel of each dense convolution.

    Args:
        inputs: Tensor, as in `split_conv`.
        kernel: Tensor, as in `split_conv`.
        groups: Integer.

    Returns:
        A list of pairs of tensors, in the order of the channels.
    """
    width, filters = kernel.shape[-2:]
    together = max(1, DENSE_WIDTH // width)
    counts = [min(together, groups - i) for i in range(0, groups, together)]
    ends = np.cumsum(counts[:-1]).tolist()
    if not ends:
        return [(inputs, _block_diagonal(kernel, groups))]
    kernels = ops.split(
        kernel, [end * (filters // groups) for end in ends], axis=-1
    )
    return list(
        zip(
            ops.split(inputs, [end * width for end in ends], axis=-1),
            map(_block_diagonal, kernels, counts),
            strict=True,
        )
    )


def _block_diagonal(kernel, groups):
    """Returns a grouped kernel as a dense one, with zeros between the groups.

    The result is `(height, width, groups * width, filters)`.
    """
    if groups == 1:
        return kernel
    *size, width, filters = kernel.shape
    # One where a filter belongs to the group, `(groups, filters)`.
    belongs = np.repeat(np.eye(groups), filters // groups, axis=1)
    mask = ops.convert_to_tensor(belongs[:, None], kernel.dtype)
    wide = ops.expand_dims(kernel, 2) * mask
    return ops.reshape(wide, (*size, groups * width, filters))
