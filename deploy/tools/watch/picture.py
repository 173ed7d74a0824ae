"""Draws a dashboard as an SVG from the answers of a Prometheus, in the places and colours that Grafana would use."""

import time

from graph import NO_DATA, cut, text, timeseries

COLUMN, LINE, GAP = 60, 34, 6
NAMED = {"green": "#37872d", "orange": "#e0680a", "red": "#c4162a"}


def threshold_color(value, defaults):
    steps = defaults.get("thresholds", {}).get("steps", [])
    passed = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return NAMED.get(passed[-1] if passed else "green", "#37872d")


def stat(panel, prometheus, named, shown, box):
    x, y, width, height = box
    defaults = panel["fieldConfig"]["defaults"]
    values = [
        (named(target["legendFormat"], labels) if target["legendFormat"] != "__auto" else "", value)
        for target in panel["targets"] for labels, value in prometheus.value(target["expr"])
    ]  # fmt: skip
    if not values:
        yield text(x + width / 2, y + height / 2 + 8, NO_DATA, 16, "middle", "#8e8e8e")
    share = width / max(1, len(values))
    for at, (name, value) in enumerate(values):
        middle = x + share * (at + 0.5)
        words = shown(value, defaults["unit"], defaults.get("decimals"))
        color = threshold_color(value, defaults)
        yield text(middle, y + height / 2 + 14, words, min(26, share / max(4, len(words)) * 1.5), "middle", color, "bold")
        yield text(middle, y + height - 10, cut(name, share - 8, 11), 11, "middle", "#57606a")


def table(panel, prometheus, named, shown, box):
    x, y, width, height = box
    values = [one for target in panel["targets"] for one in prometheus.value(target["expr"])]
    legend = panel["targets"][0]["legendFormat"]
    for at, (labels, value) in enumerate(values[: int((height - 30) / 16)]):
        yield text(x + 10, y + 42 + at * 16, cut(f"{named(legend, labels)}  {shown(value, 'none')}", width - 20, 11))
    if not values:
        yield text(x + width / 2, y + height / 2 + 8, NO_DATA, 16, "middle", "#8e8e8e")


KINDS = {"stat": stat, "table": table, "timeseries": timeseries}


def picture(made, prometheus, named, shown):
    """The SVG of a dashboard, over the minutes of the Prometheus."""
    parts, bottom = [], 0
    for panel in made["panels"]:
        spot = panel["gridPos"]
        x, y, width, height = spot["x"] * COLUMN, 46 + spot["y"] * LINE, spot["w"] * COLUMN, spot["h"] * LINE
        bottom = max(bottom, y + height)
        if panel["type"] == "row":
            parts.append(text(x + 10, y + 22, panel["title"], 14, weight="bold"))
            continue
        parts.append(f'<rect x="{x + GAP / 2}" y="{y + GAP / 2}" width="{width - GAP}" height="{height - GAP}" fill="#ffffff" '
                     'stroke="#d0d7de" rx="3"/>')  # fmt: skip
        parts.append(text(x + 12, y + 22, cut(panel["title"], width - 24, 12), 12, weight="bold"))
        parts.extend(KINDS[panel["type"]](panel, prometheus, named, shown, (x, y, width, height)))
    ended = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(prometheus.now))
    head = text(10, 30, f"{made['title']}: {prometheus.minutes} minutes until {ended}", 17, weight="bold")
    size = f'width="{24 * COLUMN}" height="{bottom + 10}" viewBox="0 0 {24 * COLUMN} {bottom + 10}"'
    style = 'font-family="Inter, Helvetica, Arial, sans-serif"'
    return (f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n<rect width="100%" height="100%" fill="#f4f5f7"/>\n'
            + "\n".join([head, *parts]) + "\n</svg>\n")  # fmt: skip
