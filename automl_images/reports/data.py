"""A set of records for people: a page with figures, pictures and findings, and the same as tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from automl_images import storage
from automl_images.annotations.records import Record
from automl_images.errors import UserError
from automl_images.reports.annotated import caption, picture
from automl_images.reports.draw import Colour, class_colours, css
from automl_images.reports.html import jpeg_uri, number, render

if TYPE_CHECKING:
    from rich.console import RenderableType

PICTURES = 24  # of a page
_ROWS, _LISTED, _LEGEND, _CAPTION = 200, 30, 40, 120


@dataclass(frozen=True)
class DataSet:
    """A set of records, and what was found when it was read.

    Attributes:
        name: of the set, such as ``training``.
        figures: of :meth:`automl_images.annotations.overview.Overview.figures`.
        findings: the worst first, as :meth:`automl_images.annotations.findings.Findings.to_json` has them.
        examples: records to draw.
    """

    name: str
    figures: Mapping[str, Any]
    findings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    examples: Sequence[Record] = ()


def write_page(path_html: str, title: str, task: str, sets: Sequence[DataSet], about: Mapping[str, Any]) -> None:
    """Write the page of one or several sets to any fsspec URL.

    At most 24 pictures are on it, shared out among the sets; a class has one colour on all of the page. ``about`` says
    where the data came from, shown as given.
    """
    colours = class_colours(name for part in sets for name in sorted(part.figures["classes"]))
    shown = [_section(part, colours, PICTURES // len(sets)) for part in sets]
    storage.write(path_html, render("data.html.j2", title=title, task=task, sets=shown, about=about))


def headline(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the first figures of a set, (what it is, the number as text)."""
    counted, each = figures["counted"], figures["per_image"]
    found = [("images", f"{figures['images']:,}")]
    if _several(figures):
        found.append((counted, f"{figures['objects']:,}"))
    found.append(("classes", f"{len(figures['classes']):,}"))
    if figures["imbalance"] is not None:
        found.append(("imbalance, most to least frequent class", f"{number(figures['imbalance'])} : 1"))
    if _several(figures):
        found.append((f"{counted} an image, median", number(each["median"])))
    if figures["without_objects"]:
        found.append((f"images without {counted}", f"{figures['without_objects']:,}"))
    return found


def _several(figures: Mapping[str, Any]) -> bool:
    """Return whether some image has another number of objects than one."""
    return not figures["per_image"]["least"] == figures["per_image"]["greatest"] == 1


def spreads(figures: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the rows of the table of sizes: least, median, mean and greatest of each."""
    rows = {
        "image width, pixels": figures["sizes"]["width"],
        "image height, pixels": figures["sizes"]["height"],
    }
    if _several(figures):
        rows[f"{figures['counted']} an image"] = figures["per_image"]
    if "object_sides" in figures:
        rows["object's side, share of its image's"] = figures["object_sides"]
    return {name: row for name, row in rows.items() if row["least"] is not None}


def histograms(figures: Mapping[str, Any]) -> dict[str, Mapping[str, int]]:
    """Return what is counted by ranges: objects an image, shapes of images, sizes of objects, formats of files."""
    found = {"Images by width : height": figures["shapes"], "Images by format": figures["formats"]}
    if _several(figures):
        found[f"Images by their number of {figures['counted']}"] = figures["per_image"]["images"]
    if figures.get("object_sizes"):
        words = ("small, below 32² pixels", "medium", "large, from 96² pixels")
        found["Objects by the size of their boxes"] = dict(
            zip(words, (figures["object_sizes"][key] for key in ("small", "medium", "large")), strict=True)
        )
    return {name: bars for name, bars in found.items() if any(bars.values())}


def print_tables(title: str, part: DataSet) -> None:
    """Print what :func:`tables` has, below a title; on a terminal the 30 most frequent classes alone."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.print(Text(title, style="bold"))
    for table in tables(part, _LISTED if console.is_terminal else None):
        console.print(table)


def tables(part: DataSet, rows: int | None = None) -> Iterator[RenderableType]:
    """Yield what a terminal shows of a set: figures, classes, sizes, findings.

    ``rows`` is how many classes are listed, the most frequent; None: all.
    """
    from rich.padding import Padding
    from rich.text import Text

    figures = part.figures
    yield _table("", "right", headline(figures), headings=("", ""))
    counted, pixels = figures["counted"], figures.get("pixels")
    headings = ["class", "images", counted, f"share of {counted}", *(["share of pixels"] if pixels else [])]
    classes = list(figures["classes"].items())
    listed = [
        (
            name,
            f"{row['images']:,}",
            f"{row['objects']:,}",
            f"{row['share']:.1%}",
            *([f"{pixels['classes'].get(name, 0):.1%}"] if pixels else []),
        )
        for name, row in classes[:rows]
    ]
    yield _table("Classes", "right", listed, headings=headings)
    if len(listed) < len(classes):
        yield Text(f"  and {len(classes) - len(listed)} more; --json lists all")
    if pixels:
        yield Text(f"  pixels are those of {pixels['masks']} masks; {pixels['ignored'] or 0:.1%} are ignored")
    lines = [
        (name, *(number(row[key]) for key in ("least", "median", "mean", "greatest")))
        for name, row in spreads(figures).items()
    ]
    yield _table("Sizes", "right", lines, headings=("", "least", "median", "mean", "greatest"))
    for name, bars in histograms(figures).items():
        yield Text(f"\n{name}", style="bold")
        yield Padding(Text(", ".join(f"{text}: {count:,}" for text, count in bars.items() if count)), (0, 0, 0, 2))
    yield Text("\nFindings", style="bold")
    if not part.findings:
        yield Text("  none")
    for what, found in part.findings.items():
        style = {"error": "red", "warning": "yellow"}.get(found["severity"], "")
        words = f"  {found['count']:,} x {what} ({found['outcome']})"
        yield Padding(Text.assemble((found["severity"], style), words), (0, 0, 0, 2))
        for place in found["first"]:
            yield Padding(Text(place, style="dim", overflow="fold"), (0, 0, 0, 6))
        if (more := found["count"] - len(found["first"])) > 0:
            yield Padding(Text(f"and {more:,} more", style="dim"), (0, 0, 0, 6))


def _table(title: str, justify: Any, rows: Sequence[Sequence[str]], *, headings: Sequence[str]) -> RenderableType:
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), show_header=any(headings))
    for i, heading in enumerate(headings):
        table.add_column(heading, justify=justify if i else "left", overflow="fold", no_wrap=bool(i) and not heading)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    shown = Padding(table, (0, 0, 0, 2), expand=False)
    return Group(Text(f"\n{title}", style="bold"), shown) if title else shown


def _section(part: DataSet, colours: Mapping[str, Colour], pictures: int) -> dict[str, Any]:
    """Return what the page shows of a set."""
    figures, pixels = part.figures, part.figures.get("pixels")
    parts = pixels["classes"] if pixels else {name: row["share"] for name, row in figures["classes"].items()}
    most = max(parts.values(), default=0) or 1
    classes = [
        {
            "name": name,
            "colour": css(colours[name]),
            **row,
            "bar": 100 * parts.get(name, 0) / most,
            "pixels": pixels["classes"].get(name, 0) if pixels else None,
        }
        for name, row in list(figures["classes"].items())[:_ROWS]
    ]
    drawn, seen, missed = [], set(), 0
    for record in part.examples[:pictures]:
        try:
            image = jpeg_uri(picture(record, colours))
        except UserError:  # gone since it was checked
            missed += 1
            continue
        seen.update(record.label.names())
        words = caption(record.label)
        text = words if len(words) <= _CAPTION else words[: _CAPTION - 3] + "..."
        drawn.append({"image": image, "name": record.image_url.rpartition("/")[2], "caption": text})
    return {
        "name": part.name,
        "headline": headline(figures),
        "counted": figures["counted"],
        "classes": classes,
        "more_classes": len(figures["classes"]) - len(classes),
        "pixels": pixels,
        "spreads": spreads(figures),
        "histograms": {
            name: [(text, count, 100 * count / max(bars.values())) for text, count in bars.items()]
            for name, bars in histograms(figures).items()
        },
        "most_sizes": figures["sizes"]["most"],
        "different": figures["sizes"]["different"],
        "crowds": figures.get("crowds", 0),
        "findings": part.findings,
        "pictures": drawn,
        "missed": missed,
        "unseen": len(set(figures["classes"]) - seen),
        "legend": [(name, css(colours[name])) for name in figures["classes"] if name in seen][:_LEGEND],
        "more_legend": max(0, len(seen) - _LEGEND),
    }
