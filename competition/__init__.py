"""Tools for image-classification competitions: folds, networks, honest scores and submissions."""

__version__ = "0.1.0"
