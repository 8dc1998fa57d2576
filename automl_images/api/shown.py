"""What a notebook is shown: pages in a frame, tables, pictures."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from automl_images import storage

if TYPE_CHECKING:
    from PIL import Image

_WIDTH = 480  # pixels of a picture among several


class Report(str):
    """The address of an HTML page; a notebook shows the page itself."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        page = html.escape(storage.read_text(self))
        return f'<iframe srcdoc="{page}" style="width: 100%; height: 600px; border: 1px solid #ccc"></iframe>'


def table(heading: Sequence[str], rows: Sequence[Sequence[Any]], bold: Sequence[bool]) -> str:
    """Return an HTML table; numbers have four digits, a dash stands where there is none."""

    def row(cells: Sequence[Any], tag: str, strong: bool = False) -> str:
        style = ' style="font-weight: bold"' if strong else ""
        return f"<tr{style}>" + "".join(f"<{tag}>{html.escape(_text(c))}</{tag}>" for c in cells) + "</tr>"

    body = "".join(row(cells, "td", strong) for cells, strong in zip(rows, bold, strict=True))
    return f"<table><thead>{row(heading, 'th')}</thead><tbody>{body}</tbody></table>"


def png(image: Image.Image) -> bytes:
    """Return an image as a PNG file."""
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def figure(image: Image.Image, text: str) -> str:
    """Return a picture with a line below it, as HTML."""
    picture = base64.b64encode(png(image)).decode()
    return (
        f'<figure style="display: inline-block; margin: 4px"><img style="max-width: {_WIDTH}px" '
        f'src="data:image/png;base64,{picture}"><figcaption>{html.escape(text)}</figcaption></figure>'
    )


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
