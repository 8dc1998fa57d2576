"""Reports in a browser, as wide as a phone and as a desktop, light and dark; names in any script, and long ones."""

from functools import partial

import numpy as np
import pytest

from automl_images.annotations import Box, Boxes
from automl_images.reports.compare import comparison, write_comparison
from automl_images.reports.leaderboard import write_leaderboard
from tests.helpers.browser import chromium, violations
from tests.test_compare import TASK, cell
from tests.test_inspect import boxed, page
from tests.test_reports import reported
from tests.test_reports_classification import mistake, report
from tests.test_reports_sweep import METRIC, sweep

LONG = "oneword" * 9
NAMES = ["سيارة إسعاف", "红色的消防车停在路边", LONG]
SIZES = ((400, "light"), (400, "dark"), (1280, "light"), (1280, "dark"))


def leaderboard(folder):
    write_leaderboard(f"{folder}/r.html", title=LONG, metric=METRIC, trials=sweep(40), best=0)


def compared(folder):
    found = comparison(TASK, NAMES[:2], [LONG], [[cell(0.4, 0.2), cell(0.6, 0.3)]])
    write_comparison(f"{folder}/r.html", found, LONG)


def detected(folder):
    square = Box(label=NAMES[0], topX=0.25, topY=0.25, bottomX=0.75, bottomY=0.75, isCrowd=0)
    boxes = np.array([[16.0, 16, 48, 48], [0, 0, 9, 9]])
    found = {"boxes": boxes, "scores": np.array([0.9, 0.8]), "labels": np.array([0, 2]), "size": (64, 64)}
    reported(folder, Boxes((square,)), found, NAMES)


def classified(folder, multilabel=False):
    truth, probs = np.eye(3, dtype=int)[[0, 1, 2, 2, 2]], np.full((5, 3), 0.2)
    probs[np.arange(5), [0, 1, 2, 2, 0]] = 0.6  # of the last name two thirds are right
    wrong = mistake(NAMES, [2], [0], probs[4]) | {"name": LONG}
    report(folder / "r.html", NAMES, truth if multilabel else truth.argmax(1), probs, multilabel, [wrong])


def described(folder):
    page(folder, boxed(folder, name=LONG))
    (folder / "x.html").rename(folder / "r.html")


@pytest.mark.full
@pytest.mark.parametrize(
    "write", [leaderboard, compared, detected, classified, partial(classified, multilabel=True), described]
)
def test_a_page_fits_its_window_and_can_be_read(tmp_path, write):
    write(tmp_path)
    console = []
    with chromium() as browser:
        for width, scheme in SIZES:
            shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            shown.on("console", lambda message: console.append(message.text))
            shown.on("pageerror", lambda error: console.append(str(error)))
            shown.goto((tmp_path / "r.html").as_uri())
            shown.screenshot(path=tmp_path / f"{width}-{scheme}.png", full_page=True)
            assert shown.evaluate("document.documentElement.scrollWidth") == width
            assert violations(shown) == [], (width, scheme)
    assert console == []


@pytest.mark.full
def test_a_table_is_sorted_by_the_keyboard_and_a_link_opens_its_trial(tmp_path):
    leaderboard(tmp_path)
    with chromium() as browser:
        shown = browser.new_page()
        shown.goto((tmp_path / "r.html").as_uri())
        head = shown.locator(".board th", has_text="Trial").first
        for order, first in (("ascending", "0"), ("descending", "39")):
            head.locator("button").press("Enter")
            assert head.get_attribute("aria-sort") == order
            assert shown.locator(".board tbody").first.locator("a").text_content() == first
        shown.locator(".board a", has_text="39").press("Enter")
        assert shown.locator("#trial-39").get_attribute("open") is not None
        assert shown.evaluate("document.activeElement.closest('details').id") == "trial-39"
