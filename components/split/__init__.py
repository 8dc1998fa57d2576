"""The split component."""

from components.split.component import split

__all__ = ["split"]
