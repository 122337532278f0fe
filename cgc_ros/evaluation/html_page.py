"""The look that report and comparison share: one self-contained HTML page, no scripts or fonts from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

_STYLE = """
:root { --ink: #1d2530; --soft: #5b6470; --line: #e2e6eb; --ground: #ffffff; --panel: #f6f8fa; --accent: #2563eb;
  --good: #047857; --bad: #b91c1c; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa4b1; --line: #2c343f; --ground: #12161c;
  --panel: #1a2028; --accent: #7aa2ff; --good: #34d399; --bad: #f87171; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 40px 28px 80px; background: var(--ground); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 27px; font-weight: 650; letter-spacing: -.02em; margin: 0 0 4px; }
h2 { font-size: 18px; font-weight: 620; letter-spacing: -.01em; margin: 46px 0 12px; }
h3 { font-size: 14px; font-weight: 600; margin: 26px 0 8px; }
p { margin: 0 0 10px; max-width: 78ch; }
.soft, figcaption, th { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); gap: 10px; margin: 22px 0 8px; }
.card { background: var(--panel); border: 1px solid var(--line); border-radius: 9px; padding: 12px 14px; }
.card b { display: block; font-size: 23px; font-weight: 630; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th { font-weight: 560; font-size: 13px; text-align: left; }
th, td { padding: 6px 16px 6px 0; border-bottom: 1px solid var(--line); vertical-align: baseline; }
td.n, th.n { text-align: right; white-space: nowrap; }
td.best { color: var(--good); font-weight: 650; }
tr.group td { padding-top: 20px; font-weight: 620; border-bottom-color: var(--soft); }
.bar { display: inline-block; height: 7px; border-radius: 4px; background: var(--accent); vertical-align: middle; }
.chip { display: inline-block; width: 12px; height: 12px; border-radius: 3px; vertical-align: -1px; margin-right: 7px; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: 14px; }
.plots > div { background: #fff; border: 1px solid var(--line); border-radius: 9px; padding: 8px; }
.plots svg { width: 100%; height: auto; display: block; }
.views { display: grid; gap: 6px; grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); }
figure { margin: 0; } figure img { width: 100%; display: block; border-radius: 5px; cursor: zoom-in; }
figcaption { font-size: 12px; padding: 3px 1px 0; }
dialog { border: 0; padding: 0; background: transparent; max-width: 96vw; max-height: 96vh; }
dialog::backdrop { background: rgba(0, 0, 0, .82); }
dialog img { display: block; width: min(96vw, 1400px); max-height: 92vh; object-fit: contain; image-rendering: auto; }
footer { margin-top: 56px; font-size: 13px; color: var(--soft); }
code { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
"""

_ZOOM = """
const dialog = document.querySelector('dialog'), large = dialog.querySelector('img');
document.querySelectorAll('figure img').forEach(image => image.addEventListener('click', () => {
  large.src = image.src; large.alt = image.alt; dialog.showModal(); }));
dialog.addEventListener('click', () => dialog.close());
"""


def page(title: str, subtitle: str, body: Iterable[str], footer: str) -> str:
    """A whole HTML document. `title`, `subtitle` and `footer` are plain text; `body` is HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f'<header><h1>{escape(title)}</h1><p class="soft">{escape(subtitle)}</p></header>'
        + "\n".join(body)
        + f'<footer>{escape(footer)}</footer><dialog><img alt=""></dialog><script>{_ZOOM}</script></body></html>\n'
    )


def section(title: str, *content: str) -> str:
    """A heading and what stands under it."""
    return f"<section><h2>{escape(title)}</h2>{''.join(content)}</section>"


def cards(items: Iterable[tuple[str, str]]) -> str:
    """Large figures with their names: (value, name)."""
    boxes = (f'<div class="card"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for value, name in items)
    return f'<div class="cards">{"".join(boxes)}</div>'


def table(header: Iterable[tuple[str, bool]], rows: Iterable[str]) -> str:
    """A table; `header` is (text, is a number), `rows` are <tr> elements."""
    cells = "".join(
        f'<th class="n">{escape(text)}</th>' if number else f"<th>{escape(text)}</th>" for text, number in header
    )
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def plots(svgs: Iterable[str]) -> str:
    """SVG pictures side by side."""
    return f'<div class="plots">{"".join(f"<div>{svg}</div>" for svg in svgs)}</div>'


def figure(uri: str, caption: str) -> str:
    """A picture, by its address or data URI, with its caption."""
    return f'<figure><img src="{uri}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'
