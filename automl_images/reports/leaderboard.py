"""The leaderboard of a sweep, as one HTML file. Imports no plotting library."""

from __future__ import annotations

from collections.abc import Sequence

from automl_images import storage
from automl_images.reports import trials as view
from automl_images.reports.chart import Line, line_chart
from automl_images.reports.draw import class_colours, css
from automl_images.reports.evolution import HIGH, WIDE, Evolution, panels
from automl_images.reports.html import render
from automl_images.reports.importance import importance
from automl_images.reports.parallel import evenly, parallel_chart
from automl_images.reports.timeline import timeline
from automl_images.sweep.trial import State, Trial, ranked

_COLOURED, _DRAWN = 10, 100


def write_leaderboard(
    path_html: str,
    *,
    title: str,
    metric: str,
    trials: Sequence[Trial],
    best: int | None,
    evolution: Evolution | None = None,
) -> None:
    """Write a sweep's report: the best trial, learning curves, what the settings did, when trials ran, every trial.

    It is written to any fsspec URL, of the ledger's trials in any order and state; ``best`` is the selected one, and
    ``evolution`` what an evolving sweep came to.
    """
    order = ranked(trials)
    drawn = [t for t in order if view.evaluations(t)]
    # Up to ten trials have a colour each, and the table says which; of more only the best stands out.
    named = class_colours(str(t.index) for t in drawn) if len(drawn) <= _COLOURED else {}
    colours = {int(n): css(colour) for n, colour in named.items()}
    # The best is drawn last, on top.
    kept = sorted(evenly(drawn, _DRAWN, best), key=lambda t: t.index == best)
    lines = [_line(t, t.index == best, colours.get(t.index)) for t in kept]
    rows = []
    for trial in order:
        why, best_one = view.why(trial), trial.index == best
        head = why.splitlines()[-1].strip() if why else ""  # of a traceback the last line says what happened
        row = {"trial": trial, "best": best_one, "value": trial.value, "seconds": view.seconds(trial)}
        rows.append({**row, "colour": colours.get(trial.index), "why": head, "rest": why if why != head else ""})
    sampled = view.varying(sorted(trials, key=lambda t: t.index))
    shares, no_shares = importance([t for t in trials if t.confirms is None])
    names = [*shares, *(n for n in sampled if n not in shares)]
    page = render(
        "leaderboard.html.j2",
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
