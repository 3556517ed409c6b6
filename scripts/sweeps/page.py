"""A self-contained page in the style of the programs' own report.html (common/train/report_style.cc
holds the style), and its parts."""
import html
import os
import re
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COLOURS = 8  # --series-1 ... of the style

MORE_STYLE = """
svg .parallel { fill: none; stroke-width: 1.3; opacity: .5; }
svg .curve { fill: none; stroke-width: 1.2; stroke-linejoin: round; opacity: .45; }
svg .curve.best, svg .parallel.best { stroke-width: 2.6; opacity: 1; }
svg .curve:hover, svg .parallel:hover { stroke-width: 3; opacity: 1; }
svg text.end { text-anchor: end; } svg text.middle { text-anchor: middle; }
td.point { white-space: normal; min-width: 16em; overflow-wrap: anywhere; }
td.same { color: var(--faint); }
tr.best td { font-weight: 640; }
pre.command { white-space: pre-wrap; overflow-wrap: anywhere; }
"""


def escape(text):
    return html.escape(str(text))


def style():
    with open(os.path.join(ROOT, "common/train/report_style.cc"), encoding="utf-8") as f:
        return re.search(r'R"css\((.*?)\)css"', f.read(), re.S).group(1) + MORE_STYLE


def figure(label, value, note=""):
    return "<div class=figure><span>%s</span><strong>%s</strong><small>%s</small></div>" % (
        escape(label), escape(value), escape(note))


def section(title, body, note="", kind=""):
    small = "<small>%s</small>" % escape(note) if note else ""
    return '<section class="%s"><h2>%s%s</h2>%s</section>' % (kind, escape(title), small, body)


def folded(title, body):
    return "<section><details><summary>%s</summary>%s</details></section>" % (escape(title), body)


def table(head, rows, numbers=(), classes=None):
    """rows: lists of cells; a cell is text, or (class, text). numbers: columns to align right;
    classes: of the rows."""
    def cell(tag, i, text):
        kind = "number" if i in numbers else ""
        if isinstance(text, tuple):
            kind, text = (kind + " " + text[0]).strip(), text[1]
        return "<%s%s>%s</%s>" % (tag, ' class="%s"' % kind if kind else "", escape(text), tag)
    out = ["<tr>%s</tr>" % "".join(cell("th", i, h) for i, h in enumerate(head))]
    for n, row in enumerate(rows):
        out.append("<tr class=%s>%s</tr>" % ((classes or {}).get(n, "row"), "".join(
            cell("td", i, c) for i, c in enumerate(row))))
    return "<div class=scroll><table>%s</table></div>" % "".join(out)


def bars(values):
    """[(label, share)]: a bar each."""
    return "<div class=bars>%s</div>" % "".join(
        '<span>%s</span><div><i style="width:%.1f%%"></i></div><b>%.0f %%</b>' % (
            escape(label), 100 * share, 100 * share) for label, share in values)


def legend(names):
    return "<div class=legend>%s</div>" % "".join(
        '<span><i style="background:%s"></i>%s</span>' % (colour(i), escape(name))
        for i, name in enumerate(names))


def colour(i):
    return "var(--series-%d)" % (i % COLOURS + 1)


def write(path, title, status, subtitle, figures, sections, footer):
    """status: (class, text)."""
    text = """<!doctype html>
<html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width">
<title>%s</title><style>%s</style></head><body><main>
<header><h1>%s</h1><span class="status %s">%s</span><p>%s</p></header>
<div class=figures>%s</div><div class=sections>%s</div><footer>%s</footer></main></body></html>
""" % (escape(title), style(), escape(title), status[0], escape(status[1]), escape(subtitle),
       "".join(figures), "".join(sections), escape(footer))
    folder = os.path.dirname(os.path.abspath(path))
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as f:
        f.write(text)
    os.chmod(f.name, 0o644)
    os.replace(f.name, path)
