"""Draws a graph of a dashboard, and the words of all panels, as SVG."""

import math
import time
from html import escape

COLORS = ["#3274d9", "#56a64b", "#e0a800", "#e02f44", "#a352cc", "#ff780a", "#1f9e9e", "#8f3bb8", "#37872d", "#c4162a"]
NO_DATA = "No data"


def text(x, y, words, size=11, anchor="start", color="#24292e", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{color}" '
            f'font-weight="{weight}">{escape(words)}</text>')  # fmt: skip


def cut(words, width, size):
    """The words, cut to a width in pixels."""
    most = max(3, int(width / (size * 0.55)))
    return words if len(words) <= most else words[: most - 1] + "…"


def ticks(low, high, unit):
    """Round values between two bounds, in the unit in which the upper one is shown."""
    if unit == "bool_on_off":
        return [0, 1]
    scale = 1
    if unit in ("s", "dtdurations"):
        scale = next((by for by in (86400, 3600, 60) if high >= 2 * by), 1)
    elif unit == "bytes" and high >= 1:
        scale = 1024 ** int(math.log(high, 1024))
    low, high = low / scale, high / scale
    step = 10 ** math.floor(math.log10((high - low) / 3))
    step *= next(by for by in (1, 2, 5, 10) if (high - low) / (step * by) <= 4)
    return [step * at * scale for at in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def bounds(values, defaults):
    low, high = defaults.get("min", min(values)), defaults.get("max", max(values))
    if high - low < 1e-12 * max(1, abs(high)):
        low, high = (0, high * 1.2) if high > 0 else (min(low, 0), 1)
    # Some room above the line.
    return low, high if "max" in defaults else high + (high - low) * 0.05


def course(points, step, across, up):
    """The path of a line. A pause of the values is no line, and a point between two of its value adds nothing."""
    words, last = [], None
    for number, (at, value) in enumerate(points):
        fresh = last is None or at - last > 2.5 * step
        around = [points[number + by][1] for by in (-1, 1) if 0 <= number + by < len(points)]
        if fresh or len(around) < 2 or any(one != value for one in around):
            words.append(f"{'M' if fresh else 'L'}{across(at):.1f} {up(value):.1f}")
        last = at
    return "".join(words)


def timeseries(panel, prometheus, named, shown, box):
    x, y, width, height = box
    defaults, lines = panel["fieldConfig"]["defaults"], []
    for target in panel["targets"]:
        for labels, points in prometheus.course(target["expr"]):
            points = [(at, value) for at, value in points if math.isfinite(value)]
            if points:
                lines.append((named(target["legendFormat"], labels), points))
    if not lines:
        yield text(x + width / 2, y + height / 2 + 8, NO_DATA, 16, "middle", "#8e8e8e")
        return
    low, high = bounds([value for _, points in lines for _, value in points], defaults)
    start, end = prometheus.now - prometheus.minutes * 60, prometheus.now
    left, right, top, bottom = x + 66, x + width - 12, y + 34, y + height - 52
    across = lambda at: left + (at - start) / (end - start) * (right - left)  # noqa: E731
    up = lambda value: bottom - (min(max(value, low), high) - low) / (high - low) * (bottom - top)  # noqa: E731
    for value in ticks(low, high, defaults["unit"]):
        yield f'<line x1="{left}" y1="{up(value):.1f}" x2="{right}" y2="{up(value):.1f}" stroke="#e4e7eb"/>'
        yield text(left - 6, up(value) + 4, shown(value, defaults["unit"]), 10, "end", "#57606a")
    for part in range(4):
        at = start + (end - start) * (part + 0.5) / 4
        yield text(across(at), bottom + 14, time.strftime("%H:%M:%S", time.gmtime(at)), 10, "middle", "#57606a")
    for number, (_, points) in enumerate(lines):
        color = COLORS[number % len(COLORS)]
        words = course(points, prometheus.step, across, up)
        yield f'<path d="{words}" fill="none" stroke="{color}" stroke-width="1.4" stroke-linecap="round"/>'
    yield from legend([name for name, _ in lines], (x + 10, bottom + 32, width - 20))


def legend(names, box):
    """The names below a graph, in up to two lines."""
    x, y, width = box
    at, line, spots = 0, 0, []
    for name in names:
        name = cut(name, width - 24, 10)
        needed = len(name) * 5.6 + 24
        # The second line keeps room for the number of those that are left out.
        if at and at + needed > (width - 70 if line else width):
            at, line = 0, line + 1
        if line > 1:
            break
        spots.append((at, line, name))
        at += needed
    for number, (at, line, name) in enumerate(spots):
        yield f'<rect x="{x + at:.0f}" y="{y + 13 * line - 6}" width="12" height="3" fill="{COLORS[number % len(COLORS)]}"/>'
        yield text(x + at + 16, y + 13 * line, name, 10)
    if len(spots) < len(names):
        yield text(x + width, y + 13, f"and {len(names) - len(spots)} more", 10, "end", "#57606a")
