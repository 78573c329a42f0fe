"""A comparison with peers as one page that needs nothing else: no script, no font, no image."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks._histogram import Latencies
from benchmarks._report import rate
from benchmarks._results import OURS
from benchmarks.peers import _svg
from benchmarks.peers._report import remarks, run_line, versions_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks._machine import Server
    from benchmarks._results import Measured, Row
    from benchmarks._results import Subject as SubjectResult
    from benchmarks._stats import Spread
    from benchmarks.peers._results import Layer, PeerResult

_STYLE = Path(__file__).with_name("page.css")
_READ = "read-writer"
_PERCENTILES = (10, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.99)
_LABELLED = (50, 90, 99, 99.9, 99.99)
# Peers can be this much faster than the fastest data layer before their bar is cut.
_ROOM_FOR_LIMITS = 1.8
_STYLES = 6


def write_page(result: PeerResult, path: Path) -> None:
    """Write the page; the folder is made if it is missing.

    Args:
        result: Of the comparison.
        path: Of the page.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(result), encoding="utf-8")


def page(result: PeerResult) -> str:
    """The page as text."""
    sections = [
        ("compared", "Against each peer", _headline(result)),
        ("rows", "Row by row", _bars(result.rows, result.limits)),
        ("coalesced", "Calls that travel together", _together(result)),
        ("web", "Web requests", _web(result)),
        ("concurrency", "Throughput by callers", _concurrency(result)),
        ("latency", "Latency by percentile", _latency(result)),
        ("layers", "Cost of each layer", _layers(result.layers, result.layer_callers)),
        ("targets", "Targets", _targets(result.rows)),
        ("setting", "What was measured, on what", _setting(result)),
    ]
    shown = [section for section in sections if section[2]]
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title, _ in shown)
    body = "".join(
        f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>{text}</section>'
        for name, title, text in shown
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<title>aurora_sql beside its peers</title>"
        f"<style>{_STYLE.read_text(encoding='utf-8')}</style></head>\n<body>"
        f"<header><h1>aurora_sql beside its peers</h1>{_introduction(result)}</header>"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main>{body}</main></body></html>\n'
    )


def _introduction(result: PeerResult) -> str:
    machine = result.machine
    where = "the server on the same cores" if machine.shared_with_server else "the server elsewhere"
    said = [
        (
            f"<p>{escape(_product(result.server))}, {machine.cores} cores of"
            f" {escape(machine.processor)}, {where}; {escape(run_line(result))}.</p>"
        )
    ]
    if not result.complete:
        said.append('<p class="no">Interrupted: rows are missing.</p>')
    if result.missing:
        names = ", ".join(result.missing)
        said.append(f'<p>Not measured: {escape(names)}; <a href="#setting">why</a>.</p>')
    return "".join(said)


def _product(server: Server) -> str:
    if server.aurora:
        return f"Aurora {server.aurora}"
    return f"{server.product} {server.version}"


def _spread(spread: Spread, unit: str = "") -> str:
    return f"{rate(spread.low)} to {rate(spread.high)}{unit}"


# Against each peer


def _headline(result: PeerResult) -> str:
    rows: list[Measured] = [*result.rows, *result.coalesced, *result.web]
    # In the order of the methods, and only those that were measured.
    there = {subject.name for row in rows for subject in row.subjects}
    names = [one.name for one in result.methods if one.name in there and not one.limit]
    if not rows or not names:
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{escape(row.title)}</th>'
        f"<td>{_own(row)}</td>{''.join(_times(row, name) for name in names)}</tr>"
        for row in rows
    )
    return (
        "<p>How many times the throughput of each peer aurora_sql has: the median of the rounds,"
        " and below it the lowest and the highest of them. Above 1 aurora_sql is faster. A ratio"
        " is made within a round, so that all subjects met the same machine.</p>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Ratios, scrolls sideways">'
        f'<table><thead><tr><th scope="col">operation</th><th scope="col">{OURS}</th>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>"
    )


def _own(row: Measured) -> str:
    ours = row.ours
    if ours is None:
        return "&ndash;"
    spread = ours.throughput
    return f'<b>{rate(spread.median)}</b>/s<span class="range">{_spread(spread)}</span>'


def _times(row: Measured, name: str) -> str:
    spread = row.ratio(f"{OURS} / {name}")
    if spread is None:
        return '<td><span class="soft">&ndash;</span></td>'
    kind = "yes" if spread.low > 1 else "no" if spread.high < 1 else "soft"
    word = {"yes": "faster", "no": "slower", "soft": "within the spread"}[kind]
    return (
        f'<td><b class="{kind}">{spread.median:.2f}&times;</b>'
        f'<span class="range">{spread.low:.2f} to {spread.high:.2f}</span>'
        f'<span class="range">{word}</span></td>'
    )


# Bars


def _bars(rows: Sequence[Measured], limits: frozenset[str]) -> str:
    if not rows:
        return ""
    cards = "".join(_card(row, limits) for row in rows)
    return (
        "<p>Operations per second, more is better; the whisker goes from the lowest to the highest"
        " round. A limit is no data layer: it says what the driver or the server can do.</p>"
        f'<div class="grid2">{cards}</div>'
    )


def _card(row: Measured, limits: frozenset[str]) -> str:
    subjects = sorted(row.subjects, key=lambda one: -one.throughput.median)
    most = _scale(subjects, limits)
    items = "".join(_item(subject, row.unit, most, limits) for subject in subjects)
    return f'<div class="card"><h3>{escape(row.title)}</h3><ul class="bars">{items}</ul></div>'


def _scale(subjects: Sequence[SubjectResult], limits: frozenset[str]) -> float:
    """The right edge of a row's bars: a limit far beyond everybody is cut, not the scale."""
    layers = max((one.throughput.high for one in subjects if one.name not in limits), default=0.0)
    everybody = max((one.throughput.high for one in subjects), default=0.0)
    return everybody if not layers else min(everybody, layers * _ROOM_FOR_LIMITS)


def _item(subject: SubjectResult, unit: str, most: float, limits: frozenset[str]) -> str:
    spread, own = subject.throughput, subject.name == OURS
    kind = "ours" if own else "limit" if subject.name in limits else "peer"
    cut = spread.median > most
    label = (
        f"{subject.name}: {rate(spread.median)} {unit} per second, {_spread(spread)} over"
        f" {spread.rounds} rounds{', beyond the scale' if cut else ''}"
    )
    tags = '<span class="tag">limit</span>' if kind == "limit" else ""
    tags += ' <span class="tag">bar cut</span>' if cut else ""
    return (
        f'<li class="{"own" if own else "other"}"><div class="head">'
        f"<span>{escape(subject.name)} {tags}</span>"
        f'<span class="figures">{rate(spread.median)}/s, p95 {subject.p95.median:.2f} ms</span>'
        "</div>"
        f"{_svg.bar(spread.median, spread.low, spread.high, most, kind, label)}"
        f'<span class="range">{_spread(spread)}</span></li>'
    )


def _together(result: PeerResult) -> str:
    if not result.coalesced:
        return ""
    return (
        "<p>Statements marked <code>coalesce: on</code>: calls that wait at the same moment share a"
        " round trip and an execution, each with its own answer. Peers run the same statement call"
        " by call.</p>" + _bars(result.coalesced, result.limits)
    )


def _web(result: PeerResult) -> str:
    if not result.web:
        return ""
    return (
        "<p>The four database tests of TechEmpower behind one minimal ASGI application: one server"
        " process of uvicorn with uvloop and httptools for each data layer, loaded by a process of"
        " its own. Requests per second, of whole requests.</p>" + _bars(result.web, result.limits)
    )


# Lines


def _styles(names: Iterable[str]) -> dict[str, int]:
    """A style for each subject, the library's first; what has none left is not drawn."""
    ordered = sorted(dict.fromkeys(names), key=lambda name: name != OURS)
    return {name: place for place, name in enumerate(ordered[:_STYLES])}


def _legend(styles: dict[str, int]) -> str:
    items = "".join(
        f"<li>{_svg.key(style)}<span>{escape(name)}</span></li>" for name, style in styles.items()
    )
    return f'<ul class="legend">{items}</ul>'


def _numbers(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The numbers of a chart, for whoever wants them or cannot see it."""
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        f"{''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    return (
        "<details><summary>The numbers</summary>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Numbers, scroll sideways">'
        f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )


def _concurrency(result: PeerResult) -> str:
    crowds = sorted(result.crowds, key=lambda crowd: crowd.callers)
    if not crowds:
        return ""
    styles = _styles(one.name for crowd in crowds for one in crowd.measured.subjects)
    lines, highest = [], 0.0
    for name, style in styles.items():
        points = []
        for crowd in crowds:
            found = crowd.measured.subject(name)
            if found is not None:
                spread = found.throughput
                highest = max(highest, spread.high)
                points.append(_svg.Point(crowd.callers, spread.median, spread.low, spread.high))
        lines.append(_svg.Line(name, points, style))
    callers = [float(crowd.callers) for crowd in crowds]
    ticks = _svg.even(highest)
    drawn = _svg.chart(
        "Simple read on the writer: operations per second by the number of callers",
        # One number of callers alone still needs an axis with a length.
        _svg.Axis("callers", callers[0], max(callers[-1], callers[0] * 2), callers, _svg.number),
        _svg.Axis("operations per second", 0.0, ticks[-1], ticks, _svg.number, logarithmic=False),
        lines,
    )
    rows = []
    for crowd in crowds:
        found = [crowd.measured.subject(name) for name in styles]
        rows.append(
            [
                str(crowd.callers),
                *(
                    "-"
                    if one is None
                    else f"{rate(one.throughput.median)} ({_spread(one.throughput)})"
                    for one in found
                ),
            ]
        )
    return (
        "<p>Simple read on the writer. Each subject has as many connections as callers.</p>"
        f'<figure class="card">{drawn}{_legend(styles)}'
        "<figcaption>Median of the rounds; the vertical stroke is their range.</figcaption>"
        f"{_numbers(['callers', *styles], rows)}</figure>"
    )


def _latency(result: PeerResult) -> str:
    row = result.row(_READ)
    if row is None:
        return ""
    # Those of the chart above, so that both speak of the same.
    names = {one.name for crowd in result.crowds for one in crowd.measured.subjects}
    subjects = [one for one in row.subjects if one.name in names or not names]
    styles = _styles(one.name for one in subjects)
    curves = {one.name: _percentiles(one.histogram) for one in subjects if one.name in styles}
    values = [value for curve in curves.values() for _, value in curve if value > 0]
    if not values:
        return ""
    ticks = _svg.decades(min(values), max(values))
    lines = [
        _svg.Line(
            name,
            [_svg.Point(_tail(percent), value) for percent, value in curves[name] if value > 0],
            style,
        )
        for name, style in styles.items()
    ]
    drawn = _svg.chart(
        "Simple read on the writer: latency in milliseconds by percentile",
        _svg.Axis(
            "percentile",
            _tail(_PERCENTILES[0]),
            _tail(_PERCENTILES[-1]),
            [_tail(percent) for percent in _LABELLED],
            lambda tail: f"{100 - 100 / tail:.6g}",
        ),
        _svg.Axis("milliseconds", ticks[0], ticks[-1], ticks, lambda value: f"{value:g}"),
        lines,
        marks=False,
    )
    rows = [
        [f"{percent:g}", *(f"{dict(curves[name]).get(percent, 0):.2f}" for name in styles)]
        for percent in _LABELLED
        if any(percent in dict(curves[name]) for name in styles)
    ]
    return (
        f"<p>Simple read on the writer with {result.options.callers} callers, over the calls of"
        " all rounds. Both axes are logarithmic: each step to the right leaves a tenth of the"
        " calls.</p>"
        f'<figure class="card">{drawn}{_legend(styles)}'
        f"{_numbers(['percentile', *styles], rows)}</figure>"
    )


def _tail(percent: float) -> float:
    """How many calls there are for each that takes longer."""
    return 100 / (100 - percent)


def _percentiles(histogram: str) -> list[tuple[float, float]]:
    """The percentiles that so many calls can tell."""
    latencies = Latencies.decode(histogram)
    return [
        (percent, latencies.percentile(percent))
        for percent in _PERCENTILES
        if _tail(percent) <= max(latencies.count, 1)
    ]


# Layers, targets, setting


def _layers(layers: Sequence[Layer], callers: int) -> str:
    if not layers:
        return ""
    cards = []
    for title, figure in (
        (f"with the server, {callers} callers", "network"),
        ("the library's own instructions, without network", "alone"),
    ):
        most = max(getattr(layer, figure) for layer in layers)
        before, items = 0.0, []
        for layer in layers:
            after = getattr(layer, figure)
            added = f"{after - before:+.2f} µs"
            items.append(
                f'<li><div class="head"><span>{escape(layer.name)}</span>'
                f'<span class="figures">{added}, sum {after:.2f}</span></div>'
                f"{_svg.step(before, after, most, f'{layer.name}: {added}')}"
                f'<span class="range">{escape(layer.what)}</span></li>'
            )
            before = after
        cards.append(
            f'<div class="card"><h3>{title}</h3><ul class="bars">{"".join(items)}</ul></div>'
        )
    return (
        "<p>The same simple read through ever more of the library, in microseconds per call; the"
        " best of the rounds. The pale part is what the layers before it took.</p>"
        f'<div class="grid2">{"".join(cards)}</div>'
    )


def _met(yes: bool) -> str:
    return '<span class="yes">✓ met</span>' if yes else '<span class="no">✗ not met</span>'


def _targets(rows: Sequence[Row]) -> str:
    body = []
    for row in rows:
        ours = row.ours
        if ours is None:
            continue
        throughput, p95 = ours.throughput.median, ours.p95.median
        body.append(
            f'<tr><th scope="row">{escape(row.title)}</th>'
            f"<td>{rate(throughput)}</td><td>{row.target_throughput:,.0f}</td>"
            f'<td class="words">{_met(throughput >= row.target_throughput)}</td>'
            f"<td>{p95:.2f}</td><td>{row.target_p95:g}</td>"
            f'<td class="words">{_met(p95 <= row.target_p95)}</td></tr>'
        )
    if not body:
        return ""
    names = ("operation", "per second", "target", "", "p95 ms", "target", "")
    head = "".join(
        f'<th scope="col">{name}</th>' if name else '<td aria-hidden="true"></td>' for name in names
    )
    return (
        "<p>The targets were set for a database server of eight cores of its own. On fewer, or on"
        " cores that are shared with the server, look at the ratios.</p>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Targets, scroll sideways">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _setting(result: PeerResult) -> str:
    machine, software, server = result.machine, result.software, result.server
    place = "shared with the server" if machine.shared_with_server else "without the server"
    said = {
        "machine": f"{machine.processor}, {machine.cores} cores, {machine.memory_gib:g} GiB,"
        f" {machine.system} ({place})",
        "server": f"{_product(server)}, {server.readers} readers",
        "server's settings": ", ".join(
            f"{name}={value or '(empty)'}" for name, value in server.settings.items()
        ),
        "software": f"Python {software.python}, {software.loop}, aurora_sql {software.aurora_sql}"
        f" ({software.revision or 'no revision'})",
        "peers": versions_line(result.versions),
        "run": f"{run_line(result)}; data at scale {result.options.scale:g}, seed"
        f" {result.options.seed}",
    }
    facts = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in said.items()
    )
    methods = "".join(
        f"<dt>{escape(one.name)}</dt><dd>{escape(one.how)}{' (limit)' if one.limit else ''}</dd>"
        for one in result.methods
    )
    notes = "".join(f"<li>{escape(sentence)}</li>" for sentence in remarks(result))
    return (
        f'<div class="card"><dl>{facts}</dl></div>'
        "<h3>How each was used</h3><p>All have as many connections as there are callers. Before the"
        " measurements all gave the same answers, and left the same rows behind.</p>"
        f'<div class="card"><dl>{methods}</dl></div>'
        + (f"<h3>What is missing</h3><ul>{notes}</ul>" if notes else "")
    )
