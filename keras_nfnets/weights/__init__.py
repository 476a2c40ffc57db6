"""Reads, writes and fetches weight files, and maps their names to ours.

`load` takes a file of any known kind: Keras's own (`keras`, `hdf5`, `own`), the
papers' (`haiku`, `haiku_arrays`, `pickle_machine`) or timm's (`safetensors`).
`names` translates names and axes of the papers and timm; `fetch` downloads what
they published, and `hub` what is on the Hugging Face Hub. No reader runs code
that a file names, and a file that is refused leaves the model unchanged.
"""

from keras_nfnets.weights.files import load as load
from keras_nfnets.weights.files import read as read
from keras_nfnets.weights.files import write as write
from keras_nfnets.weights.files import write_arrays as write_arrays
from keras_nfnets.weights.names import assign as assign
from keras_nfnets.weights.names import collect as collect
from keras_nfnets.weights.names import haiku_targets as haiku_targets
from keras_nfnets.weights.names import timm_targets as timm_targets
from keras_nfnets.weights.published import fetch as fetch

__all__ = [
    "assign",
    "collect",
    "fetch",
    "haiku_targets",
    "load",
    "read",
    "timm_targets",
    "write",
    "write_arrays",
]
