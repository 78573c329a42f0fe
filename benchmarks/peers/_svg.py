"""Charts as inline SVG: lines over logarithmic axes, and bars. No script, no foreign parts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# The size of a phone: on a desktop a chart is at most a half larger, so that its text stays
# readable on both.
_WIDTH = 360
_HEIGHT = 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 20, 10, 42
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 4", "1 4")
_BAR_HEIGHT = 12
_HALF = _BAR_HEIGHT / 2


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a line, with its spread."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart.

    Attributes:
        name: Of the subject.
        points: From left to right.
        style: Which colour, dash and mark; the same for a subject in all charts.
    """

    name: str
    points: Sequence[Point]
    style: int


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis.

    Attributes:
        title: With the unit.
        low: Smallest value.
        high: Largest value.
        ticks: Values that get a line and a label.
        label: Makes the label of a tick.
        logarithmic: Otherwise linear.
    """

    title: str
    low: float
    high: float
    ticks: Sequence[float]
    label: Callable[[float], str]
    logarithmic: bool = True

    def share(self, value: float) -> float:
        """Where on the axis a value is, from 0 to 1."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low) if high > low else 0.0


def number(value: float) -> str:
    """A number as short as an axis has room for."""
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    if value >= 1_000:
        return f"{value / 1_000:g}k"
    return f"{value:g}"


def decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten from at most ``low`` to at least ``high``.

    Raises:
        ValueError: The two are not positive, or the wrong way round.
    """
    if not 0 < low <= high:
        raise ValueError(f"a logarithmic axis cannot go from {low} to {high}")
    steps = [
        factor * 10.0**power
        for power in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
        for factor in (1, 2, 5)
    ]
    first = max(step for step in steps if step <= low * (1 + 1e-9))
    last = min(step for step in steps if step >= high * (1 - 1e-9))
    found = [step for step in steps if first <= step <= last]
    # A wide axis has room for the powers of ten only.
    return found if len(found) <= 8 else _whole(found)


def _whole(steps: Sequence[float]) -> list[float]:
    inner = [step for step in steps if math.isclose(math.log10(step) % 1, 0, abs_tol=1e-9)]
    return sorted({steps[0], *inner, steps[-1]})


def even(high: float) -> list[float]:
    """Round steps from 0 to at least ``high``, four to eight of them."""
    if not high > 0:
        return [0.0, 1.0]
    raw = high / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw)
    return [step * place for place in range(math.ceil(high / step - 1e-9) + 1)]


def _mark(style: int, x: float, y: float) -> str:
    """A shape for each style: colour alone tells nothing to many."""
    if style == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    size = 3.6
    if style == 1:
        return (
            f'<rect x="{x - size:.1f}" y="{y - size:.1f}" width="{2 * size}" height="{2 * size}"/>'
        )
    corners = {
        2: ((0, -4.6), (4.4, 3.4), (-4.4, 3.4)),
        3: ((0, -5), (5, 0), (0, 5), (-5, 0)),
        4: ((0, 4.6), (4.4, -3.4), (-4.4, -3.4)),
    }.get(style, ((-5, -1.4), (5, -1.4), (5, 1.4), (-5, 1.4)))
    points = " ".join(f"{x + right:.1f},{y + down:.1f}" for right, down in corners)
    return f'<polygon points="{points}"/>'


def key(style: int) -> str:
    """The sign of a line for a legend: its dash and its mark."""
    return (
        f'<svg class="key s{style}" viewBox="0 0 34 14" width="34" height="14" aria-hidden="true">'
        f'<path class="line" d="M1 7H33" stroke-dasharray="{_DASHES[style]}"/>'
        f'<g class="mark">{_mark(style, 17, 7)}</g></svg>'
    )


def chart(title: str, across: Axis, up: Axis, lines: Sequence[Line], *, marks: bool = True) -> str:
    """A chart of lines.

    Args:
        title: Read to whoever does not see it.
        across: The axis to the right.
        up: The axis upwards.
        lines: What is drawn.
        marks: Put a mark on each point, else only on the last one.
    """
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def x_of(value: float) -> float:
        return _LEFT + across.share(value) * (right - _LEFT)

    def y_of(value: float) -> float:
        return bottom - up.share(value) * (bottom - _TOP)

    parts = [
        (
            f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
            f' aria-label="{escape(title)}"><title>{escape(title)}</title>'
        )
    ]
    for tick in up.ticks:
        y = y_of(tick)
        parts.append(
            f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{escape(up.label(tick))}</text>"
        )
    for tick in across.ticks:
        x = x_of(tick)
        parts.append(
            f'<path class="grid" d="M{x:.1f} {_TOP}V{bottom}"/>'
            f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">'
            f"{escape(across.label(tick))}</text>"
        )
    parts.append(
        f'<text class="axis" x="{(right + _LEFT) / 2:.0f}" y="{_HEIGHT - 6}"'
        f' text-anchor="middle">{escape(across.title)}</text>'
        f'<text class="axis" x="12" y="{(bottom + _TOP) / 2:.0f}" text-anchor="middle"'
        f' transform="rotate(-90 12 {(bottom + _TOP) / 2:.0f})">{escape(up.title)}</text>'
    )
    # The first comes on top of the others.
    parts.extend(_drawn(line, x_of, y_of, marks=marks) for line in reversed(lines))
    return "".join(parts) + "</svg>"


def _drawn(
    line: Line, x_of: Callable[[float], float], y_of: Callable[[float], float], *, marks: bool
) -> str:
    if not line.points:
        return ""
    places = [(x_of(point.x), y_of(point.y)) for point in line.points]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    parts = [
        (
            f'<g class="s{line.style}">'
            f'<path class="line" d="{path}" stroke-dasharray="{_DASHES[line.style]}"/>'
        )
    ]
    for point, (x, _) in zip(line.points, places, strict=True):
        if point.low is not None and point.high is not None:
            parts.append(
                f'<path class="whisker" d="M{x:.1f} {y_of(point.low):.1f}V{y_of(point.high):.1f}"/>'
            )
    shown = places if marks else places[-1:]
    signs = "".join(_mark(line.style, x, y) for x, y in shown)
    parts.append(f'<g class="mark">{signs}</g>')
    return "".join(parts) + "</g>"


def bar(value: float, low: float, high: float, most: float, kind: str, label: str) -> str:
    """A horizontal bar as wide as the page gives it, with its spread as a whisker.

    Args:
        value: Where it ends.
        low: Begin of the whisker.
        high: End of the whisker.
        most: Value at the right edge; what is beyond it is cut, and marked as cut.
        kind: CSS class.
        label: Read to whoever does not see it.
    """
    cut = value > most
    width = 100 * min(value / most, 1.0) if most > 0 else 0.0
    parts = [
        (
            f'<svg class="bar {kind}" viewBox="0 0 100 {_BAR_HEIGHT}" preserveAspectRatio="none"'
            f' role="img" aria-label="{escape(label)}">'
        ),
        f'<rect class="track" width="100" height="{_BAR_HEIGHT}"/>',
        f'<rect class="value" width="{width:.2f}" height="{_BAR_HEIGHT}"/>',
    ]
    if cut:
        # Two gaps, as where a drawing leaves something out.
        parts += [
            f'<rect class="gap" x="{place}" width="0.8" height="{_BAR_HEIGHT}"/>'
            for place in (94, 96)
        ]
    elif most > 0:
        first, last = 100 * low / most, 100 * min(high / most, 1.0)
        parts.append(
            f'<path class="whisker" d="M{first:.2f} {_HALF}H{last:.2f}'
            f'M{first:.2f} 2.5V9.5M{last:.2f} 2.5V9.5"/>'
        )
    return "".join(parts) + "</svg>"


def step(before: float, after: float, most: float, label: str) -> str:
    """One step of a waterfall: from what was before to what is after."""
    first, last = sorted((before, after))
    left, width = 100 * first / most, 100 * (last - first) / most
    kind = "value" if after >= before else "less"
    return (
        f'<svg class="bar ours" viewBox="0 0 100 {_BAR_HEIGHT}" preserveAspectRatio="none"'
        f' role="img" aria-label="{escape(label)}">'
        f'<rect class="track" width="100" height="{_BAR_HEIGHT}"/>'
        f'<rect class="before" width="{left:.2f}" height="{_BAR_HEIGHT}"/>'
        f'<rect class="{kind}" x="{left:.2f}" width="{max(width, 0.4):.2f}"'
        f' height="{_BAR_HEIGHT}"/></svg>'
    )
