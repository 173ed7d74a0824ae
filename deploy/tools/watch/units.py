"""Shows values as Grafana does in the units that the dashboards use."""

import math

SECONDS = [(1e-6, "µs", 1e6), (1e-3, "ms", 1e3), (1, "s", 1), (60, "min", 1 / 60), (3600, "h", 1 / 3600), (86400, "d", 1 / 86400)]
BYTES = ["B", "KiB", "MiB", "GiB", "TiB"]
DECIMAL_BYTES = ["B/s", "kB/s", "MB/s", "GB/s", "TB/s"]
SHORT = ["", " K", " Mil", " Bil", " Tri"]
PER_SECOND = {"ops": "ops/s", "reqps": "req/s", "cps": "c/s", "mps": "msg/s"}


def digits(value, decimals=None):
    """The number with `decimals` places, or else with three significant digits and without zeros at the end."""
    if decimals is not None:
        return f"{value:.{decimals}f}"
    places = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    text = f"{value:.{min(places, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def scaled(value, base, names, decimals):
    power = 0
    while abs(value) >= base and power + 1 < len(names):
        value, power = value / base, power + 1
    return digits(value, decimals), names[power]


def shown(value, unit, decimals=None):
    """A value in a unit of Grafana. A value that is no number is shown as it is."""
    if not math.isfinite(value):
        return str(value)
    if unit == "percentunit":
        return f"{digits(value * 100, decimals)} %"
    if unit == "bool_on_off":
        return "On" if value else "Off"
    if unit in ("s", "dtdurations"):
        least = next((one for one in reversed(SECONDS) if abs(value) >= one[0]), SECONDS[0] if value else SECONDS[2])
        return f"{digits(value * least[2], decimals)} {least[1]}"
    if unit in ("bytes", "Bps"):
        number, name = scaled(value, 1024 if unit == "bytes" else 1000, BYTES if unit == "bytes" else DECIMAL_BYTES, decimals)
        return f"{number} {name}"
    if unit in PER_SECOND:
        return f"{digits(value, decimals)} {PER_SECOND[unit]}"
    if unit == "short":
        return "".join(scaled(value, 1000, SHORT, decimals))
    return digits(value, decimals)
