"""Small self-contained SVG: bars with their spread, and lines over an axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

COLOURS = ("#2f6fde", "#8a8f98", "#d9822b", "#2b9d6f", "#b1469c", "#c23b3b")
_STYLE = """
svg{background:#fff;font:13px system-ui,sans-serif}
text{fill:#1c2330}.faint{fill:#667085}.title{font-size:17px;font-weight:600}
.head{font-weight:600}.axis{stroke:#98a2b3}.grid{stroke:#e4e7ec}
.target{stroke:#c23b3b;stroke-dasharray:4 3}.targeted{fill:#c23b3b}.spread{stroke:#1c2330}
@media(prefers-color-scheme:dark){svg{background:#14181f}text{fill:#e6e9ef}.faint{fill:#98a2b3}
.grid{stroke:#2a313c}.axis{stroke:#667085}.spread{stroke:#e6e9ef}}
"""


@dataclass(frozen=True)
class Bar:
    """One figure with the least and the most that was measured of it."""

    name: str
    value: float
    low: float
    high: float
    colour: str


@dataclass(frozen=True)
class Line:
    """Points in order of x."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str


def write(path: Path, width: float, height: float, parts: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}"><style>{_STYLE}</style>{"".join(parts)}</svg>\n'
    )
    return path


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">'
        f"{escape(content)}</text>"
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


# --- bars ---------------------------------------------------------------------------------------

ROW = 24.0
_NAMES = 150.0


def bars_height(count: int) -> float:
    return 30 + count * ROW + 14


def bars(
    x: float,
    y: float,
    width: float,
    head: str,
    found: Sequence[Bar],
    form: str,
    targets: Mapping[str, float] | None = None,
) -> Iterable[str]:
    """Horizontal bars under a heading; `targets` are bars' names and the value wanted of each."""
    yield text(x, y + 16, head, "head")
    targets = targets or {}
    most = max([bar.high for bar in found] + list(targets.values()))
    room = width - _NAMES - 130
    for number, bar in enumerate(found):
        top = y + 30 + number * ROW
        middle, left = top + ROW / 2 - 3, x + _NAMES
        yield text(left - 8, middle + 4, bar.name, "faint", "end")
        yield (
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{bar.value / most * room:.1f}" '
            f'height="{ROW - 6:.1f}" rx="2" fill="{bar.colour}"/>'
        )
        yield line(
            left + bar.low / most * room, middle, left + bar.high / most * room, middle, "spread"
        )
        end = left + max(bar.high, bar.value) / most * room
        if bar.name in targets:
            at = left + targets[bar.name] / most * room
            yield line(at, top - 3, at, top + ROW - 3, "target")
            end = max(end, at)
        aim = f" (target {targets[bar.name]:g})" if bar.name in targets else ""
        yield text(end + 6, middle + 4, form.format(bar.value) + aim)


# --- lines --------------------------------------------------------------------------------------


def chart(
    x: float,
    y: float,
    width: float,
    height: float,
    head: str,
    x_name: str,
    lines: Sequence[Line],
    *,
    log: bool = False,
    targets: Mapping[str, float] | None = None,
    marks: Mapping[str, float] | None = None,
) -> Iterable[str]:
    """Lines over one axis; `targets` are levels of y, `marks` positions of x, by their names."""
    targets, marks = targets or {}, marks or {}
    drawn = [point for one in lines for point in one.points]
    if not drawn:
        return
    left, top, bottom = x + 60, y + 50, y + height - 44
    right = x + width - 16
    first, last = min(p[0] for p in drawn), max(p[0] for p in drawn)
    values = [p[1] for p in drawn if p[1] > 0 or not log] + list(targets.values())
    low, high = (min(values) if log else 0.0), max(values)

    def across(value: float) -> float:
        return left + (value - first) / ((last - first) or 1) * (right - left)

    def up(value: float) -> float:
        if log:
            value = math.log(max(value, low) / low) / (math.log(high / low) or 1)
        else:
            value = value / (high or 1)
        return bottom - value * (bottom - top)

    yield text(x, y + 16, head, "head")
    yield from _legend(x, y + 36, lines)
    for level in _log_ticks(low, high) if log else _ticks(low, high):
        yield line(left, up(level), right, up(level), "grid")
        yield text(left - 6, up(level) + 4, _short(level), "faint", "end")
    for value in _ticks(first, last):
        yield text(across(value), bottom + 18, _short(value), "faint", "middle")
    yield line(left, bottom, right, bottom, "axis")
    yield text((left + right) / 2, bottom + 38, x_name, "faint", "middle")
    for name, level in targets.items():
        yield line(left, up(level), right, up(level), "target")
        yield text(right - 4, up(level) - 5, name, "targeted", "end")
    for name, value in marks.items():
        yield line(across(value), top, across(value), bottom, "target")
        yield text(across(value) - 5, top + 12, name, "targeted", "end")
    for one in lines:
        points = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in one.points)
        yield f'<polyline points="{points}" fill="none" stroke="{one.colour}" stroke-width="2"/>'


def _legend(x: float, y: float, lines: Sequence[Line]) -> Iterable[str]:
    for one in lines:
        yield f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="10" height="10" fill="{one.colour}"/>'
        yield text(x + 15, y, one.name, "faint")
        x += 34 + 7.2 * len(one.name)


def _ticks(low: float, high: float) -> Iterable[float]:
    step = 10 ** math.floor(math.log10((high - low) or 1))
    while (high - low) / step < 4:
        step /= 2
    number = math.ceil(low / step)
    while number * step <= high * 1.0001:
        yield number * step
        number += 1


def _log_ticks(low: float, high: float) -> Iterable[float]:
    power = math.floor(math.log10(low))
    while 10**power <= high:
        for factor in (1, 2, 5):
            if low <= factor * 10**power <= high:
                yield factor * 10.0**power
        power += 1


def _short(value: float) -> str:
    return f"{value:g}" if abs(value) < 10_000 else f"{value / 1000:g}k"
