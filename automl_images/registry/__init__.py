"""Named and numbered models in a folder on any store."""

from automl_images.registry.registry import Registry

__all__ = ["Registry"]
