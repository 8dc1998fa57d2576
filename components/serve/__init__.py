"""The serve component."""

from components.serve.component import serve

__all__ = ["serve"]
