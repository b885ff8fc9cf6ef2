"""The timeline of a run as an SVG: acks a second, and below it a bar for each fault."""

from collections import Counter
from collections.abc import Sequence
from html import escape

from tests.chaos.history import Answer, AnyRecord, Fault

WIDTH, LEFT, TOP, HEIGHT, ROW = 1200, 190, 40, 160, 18
STYLE = "text{font:12px sans-serif;fill:#333}.axis{stroke:#999}.acks{fill:#4c78a8}.fault{fill:#e45756;opacity:.7}"
STYLE += ".lossy{fill:#000}.grid{stroke:#eee}"


def timeline(records: Sequence[AnyRecord], title: str) -> str:
    """The whole picture. Faults that may lose messages are black."""
    faults = [record for record in records if isinstance(record, Fault)]
    acks = Counter(int(record.t) for record in records if isinstance(record, Answer) and not record.code)
    last = max(record.t for record in records)
    names = sorted({fault.name for fault in faults})
    bottom = TOP + HEIGHT + 30
    scale = (WIDTH - LEFT - 20) / last
    shapes = [f'<text x="{LEFT}" y="20">{escape(title)}</text>', *_acks(acks, scale)]
    for row, name in enumerate(names):
        y = bottom + row * ROW
        shapes.append(f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>')
        shapes.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 20}" y1="{y + ROW}" y2="{y + ROW}"/>')
        shapes += [_bar(fault, y, scale) for fault in faults if fault.name == name]
    height = bottom + len(names) * ROW + 30
    shapes += _seconds(last, scale, height)
    frame = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}">'
    return f'{frame}<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(shapes)}</svg>\n'


def _acks(acks: Counter[int], scale: float) -> list[str]:
    most = max(acks.values(), default=1)
    floor = TOP + HEIGHT
    shapes = [
        f'<text x="{LEFT - 8}" y="{TOP + 10}" text-anchor="end">{most} acks/s</text>',
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - 20}" y1="{floor}" y2="{floor}"/>',
    ]
    for second, count in sorted(acks.items()):
        tall = HEIGHT * count / most
        place = (
            f'x="{LEFT + second * scale:.1f}" y="{floor - tall:.1f}" width="{max(scale, 0.5):.2f}" height="{tall:.1f}"'
        )
        shapes.append(f'<rect class="acks" {place}/>')
    return shapes


def _bar(fault: Fault, y: int, scale: float) -> str:
    kind = "lossy" if fault.loses is not None or fault.undoes is not None else "fault"
    wide = max((fault.until - fault.t) * scale, 1.5)
    place = f'x="{LEFT + fault.t * scale:.1f}" y="{y + 3}" width="{wide:.1f}" height="{ROW - 5}"'
    return f'<rect class="{kind}" {place}><title>{escape(f"{fault.t:.1f} s {fault.who}")}</title></rect>'


def _seconds(last: float, scale: float, height: int) -> list[str]:
    step = next(step for step in (5, 10, 20, 30, 60, 120, 300, 600) if last / step <= 15 or step == 600)
    return [
        f'<text x="{LEFT + t * scale:.1f}" y="{height - 10}" text-anchor="middle">{t} s</text>'
        for t in range(0, int(last) + 1, step)
    ]
