"""A page with a chart of the prediction: one SVG, no script, nothing from elsewhere."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from benchmarks.scaling._model import readers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.scaling._model import Outlook

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 760, 400, 80, 50, 20, 130
_COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#9c6b4e", "#a463f2")


def chart(outlook: Outlook) -> str:
    """Operations per second by services, a line for each number of readers, as an SVG element."""
    counts = sorted({services for services, _ in outlook.grid})
    sizes = sorted({readers for _, readers in outlook.grid})
    top = max(one.solution.throughput for one in outlook.grid.values())
    inner, tall = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _BOTTOM - _TOP

    def x(place: int) -> float:
        return _LEFT + inner * place / max(len(counts) - 1, 1)

    def y(value: float) -> float:
        return _TOP + tall * (1 - value / top)

    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
            ' font-family="sans-serif" font-size="12" fill="currentColor">'
        ),
        "<title>Predicted operations per second by services and readers</title>",
    ]
    for step in range(5):
        value = top * step / 4
        parts.append(
            f'<line x1="{_LEFT}" x2="{_LEFT + inner}" y1="{y(value):.1f}" y2="{y(value):.1f}"'
            ' stroke="currentColor" stroke-opacity="0.2"/>'
            f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:,.0f}</text>'
        )
    parts += [
        f'<text x="{x(place):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{count}</text>'
        for place, count in enumerate(counts)
    ]
    parts.append(
        f'<text x="{_LEFT + inner / 2}" y="{_HEIGHT - 8}" text-anchor="middle">services</text>'
    )
    for number, size in enumerate(sizes):
        values = [outlook.grid[count, size].solution.throughput for count in counts]
        points = " ".join(f"{x(place):.1f},{y(value):.1f}" for place, value in enumerate(values))
        colour = _COLOURS[number % len(_COLOURS)]
        # In a list of their own: lines that end together would hide each other's names.
        height = _TOP + 16 * (len(sizes) - number)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<rect x="{_LEFT + inner + 14}" y="{height - 9}" width="10" height="10"'
            f' fill="{colour}"/>'
            f'<text x="{_LEFT + inner + 30}" y="{height}">{readers_of(size)}</text>'
        )
    return "".join((*parts, "</svg>"))


def page(outlook: Outlook, notes: Sequence[str]) -> str:
    """The chart with its assumptions right beside, as a page.

    Args:
        outlook: The prediction.
        notes: Where the service times come from, a sentence each.
    """
    items = "".join(f"<li>{escape(one)}</li>" for one in (*notes, *outlook.assumed))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        "<title>aurora_sql: scaling</title>"
        '<meta name="viewport" content="width=device-width">'
        "<style>body{font-family:sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
        "color-scheme:light dark}</style>"
        "<h1>Predicted, not measured</h1>"
        f"{chart(outlook)}<h2>Assumed</h2><ul>{items}</ul></html>\n"
    )
