"""One self-contained HTML page from a template: styles, images and our script are inside, nothing is fetched."""

from __future__ import annotations

import base64
import datetime
import hashlib
import io
import json
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl_images.reports import trials

if TYPE_CHECKING:
    from PIL import Image


_SCRIPT = Path(__file__).with_name("templates") / "page.js"


def render(template: str, *, scripted: bool = False, **values: Any) -> str:
    """Return the page that ``templates/<template>`` makes of ``values``; every text in them is escaped.

    A ``scripted`` page has ``templates/page.js``, by which tables are sorted; all is readable without it. The page's
    Content-Security-Policy lets nothing else run, and nothing be fetched.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    environment = Environment(
        loader=PackageLoader("automl_images.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        **{name: getattr(trials, name) for name in ("figure", "setting", "duration")},
        "plain": _plain,
        "number": number,
        "isolated": isolated,
        "breakable": lambda name: escape(name).replace("_", Markup("_<wbr>")),
    }
    written = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    script = _SCRIPT.read_text(encoding="utf-8") if scripted else ""
    allowed = f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" if script else "'none'"
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; script-src {allowed}"
    page = environment.get_template(template)
    return page.render(written=written, script=script, policy=policy, **values)


def jpeg_uri(image: Image.Image) -> str:
    """Return an image as a JPEG's ``data:`` address."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=85, subsampling=0)  # full colour: labels are thin
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def number(value: float | None) -> str:
    """Return a count or a size as people write it; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1000 else f"{round(value, 3):g}"


def isolated(name: str) -> str:
    """Return a name for the middle of a line: one that is written from right to left does not move what follows it."""
    turned = any(unicodedata.bidirectional(c) in ("R", "AL") for c in name)
    return f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}" if turned else name


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps(value, default=str, ensure_ascii=False)
    return trials.setting(value)
