"""Compiling a step for a TPU that is not there, and reporting on it."""
