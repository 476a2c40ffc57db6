"""Runs the command line by `python -m keras_nfnets`, as `keras-nfnets` does."""

import sys

from keras_nfnets.cli import main

if __name__ == "__main__":
    sys.exit(main())
