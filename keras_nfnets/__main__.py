"""`python -m keras_nfnets`, the same as `keras-nfnets`."""

import sys

from keras_nfnets.cli import main

if __name__ == "__main__":
    sys.exit(main())
