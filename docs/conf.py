"""The site, as Sphinx builds it: make docs."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from generate import write_reference  # noqa: E402

from automl_images import __version__  # noqa: E402

project = "automl-images"
version = release = __version__
root_doc = "index"
extensions = ["myst_parser"]
exclude_patterns = ["images/README.md"]
nitpicky = True  # a reference that leads nowhere is a warning, which make docs takes for an error
myst_heading_anchors = 3
html_theme = "alabaster"  # Sphinx's own; it loads nothing from elsewhere
html_theme_options = {"page_width": "95%", "body_max_width": "none", "font_size": "15px"}  # tables are wide
html_copy_source = False
html_show_copyright = False

CONTENTS = {
    "Journeys": ["first-run", "my-data", "sweeps", "report", "steps", "python", "prediction", "registry", "deploy"],
    "On Kubeflow": ["kubernetes"],
    "Moving here": ["moving-from-azure", "moving-from-sagemaker", "moving-from-yolov5"],
    "Reference": ["reference/commands", "reference/experiment", "reference/hyperparameters", "annotations"],
    "More": ["performance", "upgrade", "extend", "design", "release", "agpl"],
}


def _add_contents(app, name, source):
    """Add the tables of contents to the first page, which shows none where Markdown is read as it is."""
    if name == root_doc:
        for caption, pages in CONTENTS.items():
            source[0] += "\n".join(["\n```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```\n"])


def setup(app):
    """Write the reference before pages are looked for; called by Sphinx."""
    write_reference(HERE / "reference")
    app.connect("source-read", _add_contents)
