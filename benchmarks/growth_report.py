"""The curves as tables in Markdown, and as charts in one SVG."""

import html
import math
import statistics

from benchmarks import growth_simulated
from benchmarks.report import INK, MINE, OTHERS, spread

WIDTH, HEIGHT = 420, 200  # of a chart, in pixels
LEFT, RIGHT, TOP, BOTTOM = 16, 24, 34, 48  # around its lines
TITLE_HEIGHT = 30
CHARTS = 2  # beside each other
ROOM = 1.2  # above the highest point, for its number
BOUND = "#c23b22"
LABEL_CHARS, LINE_HEIGHT = 13, 12  # of a shape, below its bar


def shown(value, digits):
    """A number, or a list of them with their spread; nothing for None."""
    if value is None:
        return ""
    return spread(value, digits) if isinstance(value, list) else f"{value:,.{digits}f}"


def limits_table(pairs):
    """All bounds of all curves."""
    text = ["| curve | what | found | bound | |", "|---|---|---|---|---|"]
    for curve, outcome in pairs:
        for limit in curve.limits:
            least = limit.at_most is None
            bound = f"{'at least' if least else 'at most'} {limit.at_least if least else limit.at_most:,}{limit.unit}"
            value = limit.value(outcome)
            met = "" if value is None else "met" if limit.is_met(value) else "**not met**"
            found = "not measured" if value is None else f"{value:,.{limit.digits}f}{limit.unit}"
            text.append(f"| {curve.title} | {limit.title} | {found} | {bound} | {met} |")
    return text


def table(curve, outcome):
    """A curve: a line for each point."""
    text = [f"### {curve.title}", "", f"{curve.text} Run on {outcome.when}.", ""]
    text.append(" | ".join([f"| {curve.axis or 'shape'}", *(measure.title for measure in curve.measures)]) + " |")
    text.append("|---" * (1 + len(curve.measures)) + "|")
    for found in outcome.points:
        cells = [""] * len(curve.measures)
        if found.timed:
            cells = [shown(measure.value(found, outcome), measure.digits) for measure in curve.measures]
        elif found.faults:
            cells[0] = "failed"
        text.append(" | ".join([f"| {found.label}", *cells]) + " |")
    faults = [f"- {found.label}: {fault}" for found in outcome.points for fault in found.faults]
    return [*text, *(["", "Faults:", "", *faults] if faults else [])]


def markdown(pairs, figures=None, chart=None):
    """The part of the report; `figures` are of the simulated cluster, `chart` names the file with the charts."""
    text = [
        "## How cost grows",
        "",
        "Whole processes again, and every result is checked against totals that were counted while the input was made.",
        "Memory is the peak of all processes together, in a run of its own, for each slot. Dashed lines are bounds.",
        "",
        *limits_table(pairs),
        *(growth_simulated.limits(figures) if figures else []),
    ]
    if chart and pairs:
        text += ["", f"![The curves]({chart})"]
    for curve, outcome in pairs:
        text += ["", *table(curve, outcome)]
    if figures:
        text += ["", *growth_simulated.table(figures)]
    return "\n".join(text) + "\n"


# ---- charts


def middle(value):
    """A number for a chart."""
    return statistics.median(value) if isinstance(value, list) else value


def drawn(curve, outcome, measure):
    """The points of a chart: label, place along the axis (None of a shape), value."""
    found = [(point, middle(measure.value(point, outcome))) for point in outcome.known()]
    return [
        (point.label, point.at, value)
        for point, value in found
        if value is not None and (point.at is not None or not curve.axis)
    ]


def places(points, left, width):
    """Where the points are across a chart: by the logarithm of their place along the axis, shapes side by side."""
    if any(at is None for _, at, _ in points):
        return [left + width * (number + 0.5) / len(points) for number in range(len(points))]
    least, most = math.log(points[0][1]), math.log(points[-1][1])
    reach = (most - least) or 1.0
    return [left + width * (0.08 + 0.84 * (math.log(at) - least) / reach) for _, at, _ in points]


def label(text, x, y):
    """A text with its middle at x; a long one in several lines."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) > LABEL_CHARS:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    found = []
    for number, line in enumerate(lines):
        place = f'x="{x:.1f}" y="{y + LINE_HEIGHT * number:.1f}"'
        found.append(f'<text {place} text-anchor="middle" font-size="10">{html.escape(line)}</text>')
    return found


def chart(curve, outcome, measure, left, top):
    """A chart: a line over the axis, or a bar for each shape; a dashed line is the bound."""
    points = drawn(curve, outcome, measure)
    title = f"{measure.title}{f', by {curve.axis}' if curve.axis else ''}"
    found = [f'<text x="{left + LEFT}" y="{top + 14}" font-size="11">{html.escape(title)}</text>']
    if not points:
        return [*found, *label("not measured", left + WIDTH / 2, top + HEIGHT / 2)]
    line = measure.line and measure.line(outcome)
    most = max([value for _, _, value in points] + ([line] if line else [])) * ROOM or 1.0
    base, height, width = top + HEIGHT - BOTTOM, HEIGHT - TOP - BOTTOM, WIDTH - LEFT - RIGHT
    xs = places(points, left + LEFT, width)
    ys = [base - height * value / most for _, _, value in points]
    found.append(f'<path d="M{left + LEFT} {base}h{width}" stroke="{INK}" fill="none"/>')
    if line:
        y = base - height * line / most
        found.append(f'<path d="M{left + LEFT} {y:.1f}h{width}" stroke="{BOUND}" stroke-dasharray="4 3" fill="none"/>')
    if curve.axis:
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
        found.append(f'<polyline points="{way}" stroke="{MINE}" stroke-width="2" fill="none"/>')
    bar = width / len(points) * 0.6
    for (name, _, value), x, y in zip(points, xs, ys, strict=True):
        if curve.axis:
            found.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{MINE}"/>')
        else:
            colour = MINE if name != points[0][0] else OTHERS
            place = f'x="{x - bar / 2:.1f}" y="{y:.1f}" width="{bar:.1f}" height="{base - y:.1f}"'
            found.append(f'<rect {place} fill="{colour}"/>')
        found += label(shown(value, measure.digits), x, y - 7)
        found += label(name, x, base + 13)
    return found


def charts(pairs):
    """The charts of all curves, those of a curve beside each other."""
    body, top = [], 6
    for curve, outcome in pairs:
        body.append(f'<text x="{LEFT}" y="{top + 18}" font-weight="bold">{html.escape(curve.title)}</text>')
        top += TITLE_HEIGHT
        measures = [measure for measure in curve.measures if measure.drawn]
        for number, measure in enumerate(measures):
            left = WIDTH * (number % CHARTS)
            body += chart(curve, outcome, measure, left, top + HEIGHT * (number // CHARTS))
        top += HEIGHT * -(-len(measures) // CHARTS)
    size = f'width="{WIDTH * CHARTS}" height="{top}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    return "\n".join([head, f'<rect {size} fill="white"/>', f'<g fill="{INK}">', *body, "</g>", "</svg>", ""])
