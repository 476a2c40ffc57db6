"""Weights in files: reading, writing, fetching, and what belongs where."""
