"""The cost against the number of providers, as a picture: both axes logarithmic, one line a contender."""

import math
from typing import Dict

from tools.bench.contenders import CONTENDERS
from tools.bench.race import IMPORT_TIMEOUT, Figures

WIDTH, HEIGHT = 860, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 600, 50, 410
LABEL = 20  # pixels from one label to the next
# Okabe and Ito's colours, which colour-blind people can tell apart; the text is as the theme's.
COLOURS = {"loop": "#7f7f7f", "factory": "#0072b2", "files": "#d55e00", "dag-factory": "#009e73", "gusty": "#cc79a7"}
STYLE = """\
  text { font: 14px sans-serif; fill: #1f2328 } .paper { fill: #ffffff } .grid { stroke: #d1d9e0 }
  .line { fill: none; stroke-width: 2.5 } .limit { stroke: #cf222e; stroke-dasharray: 6 4 }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .paper { fill: #0d1117 } .grid { stroke: #30363d } }"""


def svg(figures: Figures, row: str = "parse") -> str:
    """Draw one row of the figures."""
    lines = {
        contender: [
            (case.number, figures.median(case) or 0.0)
            for case in sorted(figures.answers)
            if case[1:] == (contender, row)
        ]
        for contender in COLOURS
    }
    lines = {contender: points for contender, points in lines.items() if points}
    numbers = sorted({number for points in lines.values() for number, _ in points})
    costs = [cost for points in lines.values() for _, cost in points] + [IMPORT_TIMEOUT]
    lowest, highest = math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs)))

    def x(number: float) -> float:
        span = math.log10(numbers[-1] / numbers[0]) or 1
        return LEFT + (RIGHT - LEFT) * math.log10(number / numbers[0]) / span

    def y(cost: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (math.log10(cost) - lowest) / (highest - lowest)

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>CPU seconds of a parse against the number of data providers</title>",
        f"<style>\n{STYLE}\n</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        text(LEFT, 24, "CPU seconds of a parse in a fresh process, against the number of data providers"),
    ]
    for exponent in range(lowest, highest + 1):
        height = y(10**exponent)
        drawn.append(f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{height:.0f}" y2="{height:.0f}"/>')
        drawn.append(text(LEFT - 8, height + 5, f"{10.0**exponent:g} s", "end"))
    for number in numbers:
        drawn.append(f'<line class="grid" x1="{x(number):.0f}" x2="{x(number):.0f}" y1="{TOP}" y2="{BOTTOM}"/>')
        drawn.append(text(x(number), BOTTOM + 22, f"{number:,}", "middle"))
    drawn.append(
        f'<line class="limit" x1="{LEFT}" x2="{RIGHT}" y1="{y(IMPORT_TIMEOUT):.0f}" y2="{y(IMPORT_TIMEOUT):.0f}"/>'
    )
    for contender, points in lines.items():
        path = " ".join(f"{x(number):.1f},{y(cost):.1f}" for number, cost in points)
        drawn.append(f'<polyline class="line" stroke="{COLOURS[contender]}" points="{path}"/>')
        drawn += [f'<circle r="4" fill="{COLOURS[contender]}" cx="{x(n):.1f}" cy="{y(c):.1f}"/>' for n, c in points]
    ends = {contender: (x(points[-1][0]), y(points[-1][1])) for contender, points in lines.items()}
    ends["limit"] = (RIGHT, y(IMPORT_TIMEOUT))
    for contender, height in spread({contender: end[1] for contender, end in ends.items()}).items():
        title = CONTENDERS[contender].title if contender in CONTENDERS else "MWAA ends an import"
        colour = COLOURS.get(contender, "#cf222e")
        drawn.append(f'<circle r="5" fill="{colour}" cx="{RIGHT + 22}" cy="{height - 5:.0f}"/>')
        drawn.append(text(RIGHT + 34, height, title))
    return "\n".join([*drawn, "</svg>", ""])


def text(x: float, y: float, words: str, anchor: str = "start") -> str:
    """Draw words."""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{words}</text>'


def spread(heights: Dict[str, float]) -> Dict[str, float]:
    """Move labels down such that none covers another."""
    placed: Dict[str, float] = {}
    lowest = TOP - LABEL * 1.0
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        lowest = placed[name] = max(height + 5, lowest + LABEL)
    return placed
