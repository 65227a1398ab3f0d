"""Figures as SVG inside a page: text stays text, and colours follow the page's light or dark theme."""

from __future__ import annotations

import re
from html import escape
from io import StringIO
from typing import TYPE_CHECKING

from voxid.plots.canvas import COLORS, any_letters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What a page may restyle, as CSS variables; where it does not, the colour of the figure stays.
_THEME = {
    "#000000": "--figure-ink",
    "#333333": "--figure-strong",
    "#999999": "--figure-soft",
    "#cccccc": "--figure-line",
    "#e6e6e6": "--figure-grid",
    "#ebebeb": "--figure-grid",
    "#ffffff": "--figure-paper",
    **{color.lower(): f"--series-{n}" for n, color in enumerate(COLORS) if color != "#000000"},
}


def svg(figure: Figure, name: str, description: str) -> str:
    """Return `figure` as an `<svg>` element for an HTML page, with `description` as its text alternative.

    `name` (letters, digits, hyphens) begins every id inside, so that several figures fit on one page. Text is
    drawn with the page's font. Black, white, the greys of our figures and the colours of systems become CSS
    variables (`--figure-ink`, `--figure-paper`, `--figure-grid`, `--series-0`, ...) with themselves as the
    value where the page sets none. The same figure and name give the same text.

    >>> from voxid import plots
    >>> text = plots.svg(plots.losses([0.3, 0.2]), "loss", "The loss falls from 0.3 to 0.2.")
    >>> text.startswith("<svg"), 'aria-label="The loss falls from 0.3 to 0.2."' in text
    (True, True)
    """
    from matplotlib import rc_context

    sheet = StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), any_letters():
        figure.savefig(sheet, format="svg", transparent=True, metadata={"Date": None})
    text = sheet.getvalue()
    text = re.sub(r"<(metadata|style)\b.*?</\1>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    head, _, body = text.strip().partition(">")
    box = re.search(r'viewBox="[^"]+"', head)
    opening = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{box[0] if box else ""} stroke-linejoin="round" role="img" aria-label="{escape(description)}">'
    )
    return opening + re.sub(r"<[^>]+>", lambda tag: _for_page(tag[0], name), body)


def _for_page(tag: str, name: str) -> str:
    """Return one tag (never what stands between tags, which may be a user's) fit to stand in a page."""
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r'(href="|url\()#', rf"\1#{name}-", tag)
    tag = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    return re.sub(r"#[0-9a-f]{6}\b", _themed, tag)


def _themed(color: re.Match[str]) -> str:
    variable = _THEME.get(color[0])
    return f"var({variable}, {color[0]})" if variable else color[0]
