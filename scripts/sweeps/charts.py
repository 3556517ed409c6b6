"""Drawings as inline SVG, sized as those of the programs' reports."""
import math

from page import escape

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 12, 42


class Axis:
    """data -> units, with round ticks. log where asked and possible."""

    def __init__(self, values, start, end, log=False, count=6):
        low, high = (min(values), max(values)) if values else (0, 1)
        self.log = log and low > 0
        if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
            pad = abs(low) * 0.1 or 1
            low, high = (low / 1.1, high * 1.1) if self.log else (low - pad, high + pad)
        self.low, self.high, self.start, self.end = low, high, start, end
        self.ticks = self._log_ticks() if self.log else self._ticks(count)

    def at(self, v):
        if self.log:
            share = math.log(max(v, 1e-300) / self.low) / math.log(self.high / self.low)
        else:
            share = (v - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def _ticks(self, count):
        step = 10 ** math.floor(math.log10((self.high - self.low) / count))
        step = next(step * m for m in (1, 2, 5, 10, 20)
                    if (self.high - self.low) / (step * m) <= count)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _log_ticks(self):
        for marks in ((1,), (1, 3), (1, 2, 5)):
            ticks = [m * 10.0**e for e in range(math.floor(math.log10(self.low)),
                                                math.ceil(math.log10(self.high)) + 1)
                     for m in marks]
            ticks = [t for t in ticks if self.low * 0.999 <= t <= self.high * 1.001]
            if len(ticks) >= 3:
                break
        return ticks or self._ticks(4)


def short(v):
    if v == 0:
        return "0"
    if 1e6 <= abs(v) < 1e10:
        return "%.4gM" % (v / 1e6)
    if abs(v) >= 1e10 or abs(v) < 1e-4:
        return ("%.2g" % v).replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return "%.4g" % v


def frame(x, y, x_label):
    """Grid, ticks and labels."""
    out = []
    for t in y.ticks:
        out.append('<line class=grid x1=%d x2=%d y1=%.1f y2=%.1f /><text class=end x=%d y=%.1f>'
                   '%s</text>' % (LEFT, WIDTH - RIGHT, y.at(t), y.at(t), LEFT - 8, y.at(t) + 4,
                                  short(t)))
    for t in x.ticks:
        out.append('<text class=middle x=%.1f y=%d>%s</text>' % (x.at(t), HEIGHT - BOTTOM + 18,
                                                                 short(t)))
    out.append('<line class=axis x1=%d x2=%d y1=%d y2=%d />' % (
        LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, HEIGHT - BOTTOM))
    out.append('<text class="label middle" x=%d y=%d>%s</text>' % (
        (LEFT + WIDTH - RIGHT) // 2, HEIGHT - 6, escape(x_label)))
    return out


def svg(parts, height=HEIGHT, width=WIDTH):
    return '<svg viewBox="0 0 %d %d">%s</svg>' % (width, height, "".join(parts))


def path(points, kind, colour, title):
    d = "".join("%s%.1f %.1f" % ("L" if i else "M", px, py) for i, (px, py) in enumerate(points))
    if len(points) == 1:  # a short dash
        d = "M%.1f %.1fh3" % points[0]
    return '<path class="%s" style="stroke:%s" d="%s"><title>%s</title></path>' % (
        kind, colour, d, escape(title))


def lines(series, x_label, log_y=False, clip=None):
    """series: [(title, class, colour, [(x, y)])]. clip: values above are drawn at the top."""
    if clip is not None:
        series = [(n, k, c, [(px, min(py, clip)) for px, py in points])
                  for n, k, c, points in series]
    flat = [p for s in series for p in s[3]]
    if not flat:
        return "<p class=empty>Nothing measured yet.</p>"
    x = Axis([0] + [p[0] for p in flat], LEFT, WIDTH - RIGHT)
    y = Axis([p[1] for p in flat], HEIGHT - BOTTOM, TOP, log_y)
    parts = frame(x, y, x_label)
    for title, kind, colour, points in series:
        parts.append(path([(x.at(px), y.at(py)) for px, py in points], kind, colour, title))
    return svg(parts)


def steps(points, dots, x_label, colour, log_y=False):
    """A staircase through points [(x, y)], with dots [(x, y, title)] around it."""
    if not points:
        return "<p class=empty>Nothing measured yet.</p>"
    x = Axis([0] + [p[0] for p in points + dots], LEFT, WIDTH - RIGHT)
    y = Axis([p[1] for p in points + dots], HEIGHT - BOTTOM, TOP, log_y)
    parts = frame(x, y, x_label)
    for px, py, title in dots:
        parts.append('<circle cx=%.1f cy=%.1f r=3 style="fill:var(--axis)"><title>%s</title>'
                     '</circle>' % (x.at(px), y.at(py), escape(title)))
    stair = []
    for px, py in points:
        if stair:
            stair.append((x.at(px), stair[-1][1]))
        stair.append((x.at(px), y.at(py)))
    stair.append((WIDTH - RIGHT, stair[-1][1]))
    parts.append(path(stair, "line", colour, "best so far"))
    return svg(parts)


def heat(share):
    """A colour from good (0) to bad (1)."""
    return "hsl(%d 70%% %d%%)" % (215 - 190 * share, 46 + 8 * share)


def parallel(columns, rows):
    """Parallel coordinates. columns: [(title, [(share, label)])]; rows: [(shares, class, goodness
    0..1, title)], drawn in order."""
    width, height, top, bottom = 1120, 320, 34, 14
    left, right = 60, 70
    gap = (width - left - right) / max(1, len(columns) - 1)
    parts = []
    def place(i, share):
        return left + i * gap, height - bottom - share * (height - top - bottom)
    for shares, kind, goodness, title in rows:
        parts.append(path([place(i, s) for i, s in enumerate(shares)], "parallel " + kind,
                          heat(goodness), title))
    for i, (title, marks) in enumerate(columns):
        px, _ = place(i, 0)
        parts.append('<line class=axis x1=%.1f x2=%.1f y1=%d y2=%d />' % (px, px, top,
                                                                          height - bottom))
        anchor = "middle" if 0 < i < len(columns) - 1 else ("" if i == 0 else "end")
        parts.append('<text class="label %s" x=%.1f y=14>%s</text>' % (
            anchor, px - (40 if i == 0 else -50 if i == len(columns) - 1 else 0), escape(title)))
        for share, label in marks:
            parts.append('<text x=%.1f y=%.1f style="paint-order:stroke;stroke:var(--card);'
                         'stroke-width:4px">%s</text>' % (px + 6, place(i, share)[1] + 4,
                                                          escape(label)))
    return svg(parts, height, width)
