"""The leaderboard of a sweep, as one HTML file. Imports no plotting library."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from automl_images import storage
from automl_images.reports import trials as view
from automl_images.reports.chart import Line, line_chart
from automl_images.reports.draw import class_colours, css
from automl_images.reports.evolution import HIGH, WIDE, Evolution, panels
from automl_images.reports.html import render
from automl_images.reports.importance import importance
from automl_images.reports.parallel import evenly, parallel_chart
from automl_images.reports.slices import slices
from automl_images.reports.timeline import timeline
from automl_images.sweep.ledger import Ledger
from automl_images.sweep.trial import State, Trial, ranked

_COLOURED, _DRAWN = 10, 100
_SMALL, _POINTS = (420, 150), 60  # of a trial's own curve: its size, and about how many points


def write_leaderboard(
    path_html: str,
    *,
    title: str,
    metric: str,
    trials: Sequence[Trial],
    best: int | None,
    evolution: Evolution | None = None,
    ledger: Ledger | None = None,
) -> None:
    """Write a sweep's report: the best trial, learning curves, what the settings did, when trials ran, every trial.

    It is written to any fsspec URL, of the ledger's trials in any order and state; ``best`` is the selected one, and
    ``evolution`` what an evolving sweep came to. Where the ``ledger`` is given, each trial's log is linked, or where it
    lies on a store, named.
    """
    order = ranked(trials)
    drawn = [t for t in order if view.evaluations(t)]
    # Up to ten trials have a colour each, and the table says which; of more only the best stands out.
    named = class_colours(str(t.index) for t in drawn) if len(drawn) <= _COLOURED else {}
    colours = {int(n): css(colour) for n, colour in named.items()}
    # The best is drawn last, on top.
    kept = sorted(evenly(drawn, _DRAWN, best), key=lambda t: t.index == best)
    lines = [_line(t, t.index == best, colours.get(t.index)) for t in kept]
    rows: list[dict[str, Any]] = []
    shared = _shared(trials)
    for trial in order:
        why, best_one = view.why(trial), trial.index == best
        head = why.splitlines()[-1].strip() if why else ""  # of a traceback the last line says what happened
        row = {"trial": trial, "best": best_one, "value": trial.value, "seconds": view.seconds(trial)}
        row["own"] = {n: v for n, v in trial.settings.items() if n not in shared}
        row["curve"], row["log"] = _curve(trial), _log(trial, ledger, path_html)
        row["model"] = storage.redact(trial.model) if trial.model else None
        rows.append({**row, "colour": colours.get(trial.index), "why": head, "rest": why if why != head else ""})
    sampled = view.varying(sorted(trials, key=lambda t: t.index))
    shares, no_shares = importance([t for t in trials if t.confirms is None])
    names = [*shares, *(n for n in sampled if n not in shares)]
    page = render(
        "leaderboard.html.j2",
        scripted=True,
        title=title,
        metric=metric,
        tally=view.tally(trials),
        rows=rows,
        winner=next((row["trial"] for row in rows if row["best"]), None),
        sampled=sampled,
        curves=line_chart(lines, "epoch", metric) if lines else None,
        evaluated=len(drawn),
        baseline=view.baseline(trials),
        ends={line.end for line in lines},
        states=[s for s in State if s is not State.SKIPPED and any(t.state is s for t in trials)],
        parallel=parallel_chart(trials, metric, names, best) if sampled else None,
        slices=slices(trials, names, best),
        shared=shared,
        shares=shares,
        no_shares=no_shares,
        evolution=evolution,
        genes=panels(evolution) if evolution else [],
        panel_size=(WIDE, HIGH),
        timeline=timeline(trials, best),
        total=sum(view.seconds(t) or 0 for t in trials),
    )
    storage.write(path_html, page)


def _line(trial: Trial, best: bool, colour: str | None) -> Line:
    points: list[tuple[float, float]] = [(e, v) for e, v in view.evaluations(trial)]
    top = max(points, key=lambda p: p[1])
    return Line(
        points,
        colour or ("var(--accent)" if best else "var(--faint)"),
        f"trial {trial.index}, {trial.state}: {view.figure(top[1])} at epoch {top[0]}",
        strong=best,
        mark=top if best else None,
        end=trial.state if trial.state in (State.TERMINATED, State.FAILED) else None,
    )


def _shared(trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the settings that are the same in all trials that have some; of a single trial none."""
    first, *others = [t.settings for t in trials if t.settings] or [{}]
    return {n: v for n, v in first.items() if others and all(n in o and o[n] == v for o in others)}


def _curve(trial: Trial) -> dict[str, Any] | None:
    """Return a trial's own small chart; None if it has no evaluation."""
    points: list[tuple[float, float]] = [(e, v) for e, v in view.evaluations(trial)]
    if not points:
        return None
    top, low = max(points, key=lambda p: p[1]), min(points, key=lambda p: p[1])
    step = -(-len(points) // _POINTS)
    kept = [p for i, p in enumerate(points) if i % step == 0 or p in (top, low) or i == len(points) - 1]
    line = Line(kept, "var(--accent)", f"best: {view.figure(top[1])} at epoch {top[0]:g}", mark=top)
    return line_chart([line], "epoch", "", small=True, size=_SMALL)


def _log(trial: Trial, ledger: Ledger | None, page: str) -> dict[str, str | None] | None:
    """Return the address of a trial's log, and the link to it from the page where both lie on this machine."""
    if ledger is None or not trial.attempt:
        return None
    address = ledger.artifacts(trial.index).log()
    if not storage.is_local(address):
        return {"address": storage.redact(address), "link": None}
    path = storage.local_path(address)
    if not path.is_file():
        return None
    link = None
    if storage.is_local(page):
        link = quote(os.path.relpath(path.resolve(), storage.local_path(page).resolve().parent))
    return {"address": str(path), "link": link}
