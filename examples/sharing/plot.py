"""Lines over time as an SVG picture, without a plotting library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, TOP = 900, 360, 60, 30
COLOURS = ("#888888", "#0b6e4f", "#c8553d", "#2f52a0", "#b58900", "#6a3d9a")


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Means over a moving window that ends at each value."""
    means = []
    running = 0.0
    for at, value in enumerate(values):
        running += value - (values[at - window] if at >= window else 0.0)
        means.append(running / min(window, at + 1))
    return means


def lines(series: Mapping[str, Sequence[float]], title: str, window: int = 30) -> str:
    """A picture of fractions over seconds, one line for each name."""
    length = max(map(len, series.values()))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + LEFT + 170}" height="{HEIGHT + TOP + 50}">',
        '<g font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="18" font-size="15">{escape(title)}</text>',
    ]
    for percent in range(0, 101, 25):
        y = TOP + HEIGHT * (1 - percent / 100)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + WIDTH}" y2="{y:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{percent} %</text>')
    for second in range(0, length + 1, max(60, length // 10 // 60 * 60)):
        x = LEFT + WIDTH * second / length
        parts.append(f'<text x="{x:.1f}" y="{TOP + HEIGHT + 20}" text-anchor="middle">{second} s</text>')
    for number, (name, values) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(
            f"{LEFT + WIDTH * at / length:.1f},{TOP + HEIGHT * (1 - value):.1f}"
            for at, value in enumerate(smoothed(values, window))
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        y = TOP + 16 + 22 * number
        parts.append(f'<rect x="{LEFT + WIDTH + 14}" y="{y - 10}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{LEFT + WIDTH + 32}" y="{y}">{escape(name)}</text>')
    return "\n".join([*parts, "</g></svg>", ""])
