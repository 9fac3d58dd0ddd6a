"""Draw what benchmarks/group.py measured as an SVG for the docs.

python -m benchmarks.group_plot group.json docs/group.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, ROW, TOP, LEFT, RIGHT = 760, 26, 64, 250, 150
SHARED, ALONE, INK, FAINT = "#2a6fdb", "#b8b8b8", "#222222", "#dddddd"
FONT = 'font-family="sans-serif" font-size="13"'


def draw(said: dict[str, object]) -> str:
    """Bars are times in units of one node's, with the copies of the model that left the origin beside them."""
    results = said["results"]
    assert isinstance(results, list)
    one = next(r["seconds"] for r in results if r["case"] == "exchange" and r["nodes"] == 1)
    longest = max(r["seconds"] / one for r in results)
    scale = (WIDTH - LEFT - RIGHT) / longest
    height = TOP + ROW * len(results) + 40
    rows = list(_rows(results, one=one, scale=scale))
    unit = int(str(said["unit_bytes_per_second"])) >> 20
    total = int(str(said["total_bytes"])) >> 20
    title = "Time until a group is warm, in units of one node's time"
    note = f"{total} MiB; the origin and every node's link: {unit} MiB/s; {said['mode']}, {said['cpus']} CPUs"
    ticks = "".join(
        f'<line x1="{LEFT + scale * n:.1f}" x2="{LEFT + scale * n:.1f}" y1="{TOP - 6}" y2="{height - 34}"'
        f' stroke="{FAINT}"/><text x="{LEFT + scale * n:.1f}" y="{height - 18}" text-anchor="middle" fill="{INK}"'
        f" {FONT}>{n}x</text>"
        for n in range(int(longest) + 1)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
        f'<text x="12" y="24" fill="{INK}" {FONT} font-weight="bold">{title}</text>'
        f'<text x="12" y="44" fill="{INK}" {FONT}>{escape(note)}</text>{ticks}{"".join(rows)}</svg>\n'
    )


def _rows(results: list[dict[str, object]], *, one: float, scale: float) -> Iterator[str]:
    for index, result in enumerate(results):
        y = TOP + ROW * index
        times = float(str(result["seconds"])) / one
        colour = ALONE if result["case"] == "no exchange" else SHARED
        name = f"{result['case']}, {result['nodes']} node{'s' if result['nodes'] != 1 else ''}"
        yield (
            f'<text x="{LEFT - 10}" y="{y + 15}" text-anchor="end" fill="{INK}" {FONT}>{escape(name)}</text>'
            f'<rect x="{LEFT}" y="{y + 2}" width="{scale * times:.1f}" height="{ROW - 9}" fill="{colour}"/>'
            f'<text x="{LEFT + scale * times + 6:.1f}" y="{y + 15}" fill="{INK}" {FONT}>'
            f"{times:.2f}x, {float(str(result['copies'])):.2f} copies</text>"
        )


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(draw(json.loads(Path(sys.argv[1]).read_text())))
