"""Draw numbers and call trees as SVG, for a page without scripts.

Takes plain values and untrusted names. Gives markup in which every name is escaped. Colours are classes of
report/report.css, because the page's policy forbids inline styles.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from core.errors import printable

COLOURS = 8  # classes c0 to c7
_WIDTH = 960
# Pixels: width of a letter, height of a row of text, space left of an axis.
_LETTER, _ROW, _LEFT = 6.6, 20, 64
# Narrower boxes of a call tree are counted instead of drawn; pixels.
_NARROW = 0.6
# Deeper calls are counted instead of drawn: a guest can record any depth.
_DEEPEST = 64


@dataclass(frozen=True)
class Point:
    """One value of a series.

    Attributes:
        place: position on the axis of runs, from 0.
        label: text to show when the pointer is on the dot.
        link: an anchor of the page.
    """

    place: int
    value: float
    label: str
    link: str


@dataclass
class _Node:
    """All calls of one function at one place of the tree; `weight` counts them and all calls inside them."""

    name: str
    text: str
    count: int = 0
    weight: int = 0
    inner: dict[str, _Node] = field(default_factory=dict)


@dataclass(frozen=True)
class Flame:
    """A call tree as a picture.

    Attributes:
        calls: number of calls that it shows.
        hidden: number of functions that are too narrow or too deep to be drawn.
    """

    picture: Markup
    calls: int
    hidden: int


def text_of(value: object) -> Markup:
    """Return a value as the escaped text of an element or attribute."""
    return escape(printable(str(value)))


def dots(series: Mapping[str, Sequence[Point]], unit: str, places: int) -> Markup:
    """Draw one dot per run and one line per series. The axis is logarithmic, since tiny and full kernels differ a lot.

    Args:
        series: name -> points with values above zero.
        unit: of the values.
        places: number of runs on the axis.
    """
    height, bottom, top = 240, 206, 10
    ticks = _ticks([point.value for points in series.values() for point in points])
    low, high = math.log10(ticks[0]), math.log10(ticks[-1])
    across = (_WIDTH - _LEFT - 20) / max(places - 1, 1)
    parts = []

    def level(value: float) -> float:
        return bottom - (math.log10(value) - low) / (high - low) * (bottom - top)

    for tick in ticks:
        y = level(tick)
        parts.append(Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(_LEFT, _WIDTH, y, y))
        label = Markup('<text class="axis" x="{}" y="{:.1f}" text-anchor="end">{:g}</text>')
        parts.append(label.format(_LEFT - 8, y + 4, tick))
    parts.append(Markup('<text class="axis" x="{}" y="{}">{}</text>').format(_LEFT, height - 8, f"{unit}; older"))
    parts.append(Markup('<text class="axis" x="{}" y="{}" text-anchor="end">newer</text>').format(_WIDTH, height - 8))
    for number, points in enumerate(series.values()):
        spots = [(_LEFT + 10 + p.place * across, level(p.value), p) for p in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in spots)
        parts.append(Markup('<polyline class="l{}" points="{}"/>').format(number % COLOURS, line))
        for x, y, point in spots:
            title = text_of(f"{point.label}: {point.value:g} {unit}")
            spot = Markup(
                '<a href="{}"><circle class="{}" cx="{:.1f}" cy="{:.1f}" r="4.5"><title>{}</title></circle></a>'
            )
            parts.append(spot.format(point.link, mark(number), x, y, title))
    return _svg(parts, height)


def mark(number: int) -> str:
    """Return the CSS classes of a series; once all colours are used, dots are hollow."""
    return f"c{number % COLOURS}" if number < COLOURS else f"l{number % COLOURS} hollow"


def _ticks(values: Sequence[float]) -> list[float]:
    """Return 1, 2 and 5 times powers of ten around some values; at least two of them."""
    least, most = (min(values), max(values)) if values else (1.0, 1.0)
    steps = [factor * 10.0**power for power in range(-9, 13) for factor in (1, 2, 5)]
    first = max(i for i, step in enumerate(steps) if step <= max(least, steps[0]))
    last = min(i for i, step in enumerate(steps) if step >= min(most, steps[-1]))
    return steps[first : max(last, first + 1) + 1]


def bars(rows: Sequence[tuple[str, Mapping[str, float]]], unit: str) -> Markup:
    """Draw one bar per row with its parts side by side, all on one scale."""
    most = max((sum(parts.values()) for _, parts in rows), default=0.0) or 1.0
    room = _WIDTH - 110
    drawn = []
    for number, (label, parts) in enumerate(rows):
        y, x = number * 44, 0.0
        whole = sum(parts.values())
        drawn.append(Markup('<text class="label" x="0" y="{}">{}</text>').format(y + 14, _fitting(label, _WIDTH)))
        for colour, (name, value) in enumerate(parts.items()):
            width = value / most * room
            drawn.append(
                Markup(
                    '<rect class="c{}" x="{:.1f}" y="{}" width="{:.1f}" height="16"><title>{}</title></rect>'
                ).format(colour % COLOURS, x, y + 20, width, text_of(f"{name}: {value:g} {unit}"))
            )
            x += width
        drawn.append(
            Markup('<text class="axis" x="{:.1f}" y="{}">{}</text>').format(x + 6, y + 33, f"{whole:.2f} {unit}")
        )
    return _svg(drawn, max(44 * len(rows), 1))


def flame(calls: Iterable[tuple[int, str, str]]) -> Flame:
    """Draw a call tree: callers above callees, each box as wide as the number of calls in it.

    Args:
        calls: depth, name and text of each call, in the order in which the calls began.
    """
    root, count, deepest = _Node("", ""), 0, 0
    path = [root]
    hidden = 0
    for depth, name, text in calls:
        count += 1
        if depth >= _DEEPEST:
            hidden += 1
            continue
        # A depth grows by one at most; a call with a larger depth goes below the last one.
        del path[min(depth, len(path) - 1) + 1 :]
        node = path[-1].inner.setdefault(name, _Node(name, text))
        node.count += 1
        for ancestor in (*path, node):
            ancestor.weight += 1
        path.append(node)
        deepest = max(deepest, len(path) - 1)
    parts: list[Markup] = []
    hidden += _boxes(root, 0.0, _WIDTH / max(root.weight, 1), 0, parts)
    return Flame(_svg(parts, max(deepest * _ROW, 1)), count, hidden)


def _boxes(node: _Node, x: float, scale: float, depth: int, parts: list[Markup]) -> int:
    """Draw the children of a node; return how many functions were too narrow to draw."""
    hidden = 0
    for inner in node.inner.values():
        width = inner.weight * scale
        if width < _NARROW:
            hidden += 1
        else:
            title = f"{inner.name}: {_times(inner.count)}, {inner.weight - inner.count} calls inside; {inner.text}"
            parts.append(
                Markup(
                    '<g><title>{}</title><rect class="c{}" x="{:.2f}" y="{}" width="{:.2f}" height="{}"/>'
                    '<text class="box" x="{:.2f}" y="{}">{}</text></g>'
                ).format(
                    text_of(title[:400]), sum(map(ord, inner.name)) % COLOURS, x, depth * _ROW, max(width - 0.6, 0.4),
                    _ROW - 1, x + 4, depth * _ROW + 14, _fitting(inner.name, width - 8),
                )
            )  # fmt: skip
            hidden += _boxes(inner, x, scale, depth + 1, parts)
        x += width
    return hidden


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _fitting(text: str, width: float) -> Markup:
    """Shorten a text to a width; return nothing if only three letters or fewer fit."""
    letters = int(width / _LETTER)
    if len(text) > letters:
        text = f"{text[: letters - 1]}…" if letters > 3 else ""
    return text_of(text)


def _svg(parts: Sequence[Markup], height: float) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img">{}</svg>').format(_WIDTH, height, Markup("\n").join(parts))
