"""The select component."""

from components.select.component import select

__all__ = ["select"]
