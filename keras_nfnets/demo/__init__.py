"""A camera, a film or images, with what a network calls them drawn in."""

from keras_nfnets.demo.loop import run as run

__all__ = ["run"]
