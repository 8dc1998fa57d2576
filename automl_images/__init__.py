"""automl-images: labelled images in, a trained, evaluated, registered and served vision model out."""

__version__ = "0.1.0"
