"""Figures as people read them, and the ticks of axes."""

import math

_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def percent(share: float | None, digits: int = 1) -> str:
    """Two decimals more than none where rounding would claim a whole."""
    if share is None or math.isnan(share):
        return "–"
    text = f"{100 * share:.{digits}f}"
    if float(text) == 100 and share < 1:
        text = f"{math.floor(share * 10_000) / 100:.2f}"
    return f"{text} %"


def points(difference: float | None) -> str:
    """A difference of shares, with its sign."""
    if difference is None or math.isnan(difference):
        return "–"
    text = f"{100 * difference:+.2f}".replace("-", "−")
    return "0.00" if text in ("+0.00", "−0.00") else text


def seconds(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f} s"
    return f"{value:.3g} s" if abs(value) >= 1 else f"{value * 1000:.3g} ms"


def rate(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def num_bytes(value: float) -> str:
    for size, unit in _BYTES:
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def ticks(begin: float, end: float, at_most: int) -> list[float]:
    """Round values within [begin, end], at 1, 2 or 5 times a power of ten."""
    span = end - begin
    if not span > 0:
        return [begin]
    power = 10.0 ** math.floor(math.log10(span / at_most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if span / (power * factor) <= at_most)
    first = math.ceil(begin / step - 1e-9)
    return [step * n for n in range(first, math.floor(end / step + 1e-9) + 1)]


def tick_text(value: float) -> str:
    return f"{value:.10g}"


def shortened(text: str, num_characters: int) -> str:
    """What fits; nothing if that would be one letter."""
    if len(text) <= num_characters:
        return text
    return f"{text[: num_characters - 1]}…" if num_characters > 2 else ""
