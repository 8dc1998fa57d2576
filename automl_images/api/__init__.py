"""The library from Python: an experiment that runs, a model that predicts. Their names are in ``automl_images``."""
