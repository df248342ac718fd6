"""What was measured as a table with verdicts, and the curves of growth as a picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Args:
        measured: Next to what it is compared with.
        value: What the target is about.
        is_met: Whether it is reached; None = there is no target.
    """

    workload: str
    what: str
    measured: str
    value: str
    target: str
    is_met: bool | None


def compared(workload: str, what: str, ours: float, floors: float, target: float) -> Row:
    """A rate next to the floor's."""
    ratio = ours / floors
    measured = f"{ours:,.0f}/s, floor {floors:,.0f}/s"
    return Row(workload, what, measured, f"{ratio:.2f}", f"≥ {target:.2f} of the floor", ratio >= target)


def limited(workload: str, what: str, measured: str, value: float, limit: float, unit: str) -> Row:
    """A figure that must not be higher."""
    return Row(workload, what, measured, f"{value:.2f}{unit}", f"≤ {limit:g}{unit}", value <= limit)


def at_least(workload: str, what: str, measured: str, value: float, limit: float) -> Row:
    return Row(workload, what, measured, f"{value:.2f}", f"≥ {limit:g}", value >= limit)


def table(rows: Sequence[Row]) -> str:
    lines = ["| | | measured | | target | verdict |", "|---|---|---|---|---|---|"]
    for row in rows:
        verdict = {True: "reached", False: "**missed**", None: ""}[row.is_met]
        cells = (row.workload, row.what, row.measured, row.value, row.target, verdict)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


_WIDTH, _HEIGHT, _MARGIN = 360, 200, 40


def picture(curves: dict[str, dict[str, Any]], path: Path) -> None:
    """Draws for each workload jobs a second over the run, tenth by tenth: clean in grey, with the crowd in blue."""
    parts = []
    for index, (name, curve) in enumerate(curves.items()):
        x, y = (index % 2) * _WIDTH, index // 2 * _HEIGHT
        highest = max([*curve["clean"], *curve["grown"]])
        at = _scale(x + _MARGIN, y + _HEIGHT - _MARGIN, highest)
        parts += [
            f'<text x="{x + _MARGIN}" y="{y + 20}" font-weight="bold">{name}</text>',
            f'<text x="{x + 4}" y="{y + 44}">{highest / 1000:.0f}k/s</text>',
            f'<path d="M{x + _MARGIN} {y + 36} V{y + _HEIGHT - _MARGIN} h{_WIDTH - 50}" stroke="#999" fill="none"/>',
            _line(curve["clean"], at, "#999"),
            _line(curve["grown"], at, "#06c"),
        ]
    height = (len(curves) + 1) // 2 * _HEIGHT
    size = f'width="{2 * _WIDTH}" height="{height}" viewBox="0 0 {2 * _WIDTH} {height}"'
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _scale(left: float, bottom: float, highest: float) -> Callable[[int, float], str]:
    step, height = (_WIDTH - _MARGIN - 20) / 9, _HEIGHT - 2 * _MARGIN
    return lambda index, rate: f"{left + index * step:.1f},{bottom - rate / highest * height:.1f}"


def _line(rates: Sequence[float], at: Callable[[int, float], str], colour: str) -> str:
    points = " ".join(at(index, rate) for index, rate in enumerate(rates))
    return f'<polyline points="{points}" stroke="{colour}" stroke-width="2" fill="none"/>'
