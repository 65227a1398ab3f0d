"""Wrap the prose of Markdown files at 100 columns: `python tests/docs_wrap.py README.md docs/*.md`.

Fences, tables, headings, comments, directives and lines of HTML or of one image stay as they are. A code span
is never broken, and no line begins with what Markdown would take for a list or a heading.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

WIDTH = 100
KEPT = re.compile(r"\s*(\||#|<|!\[[^]]*\]\([^)]*\)$)")
PROSE_END = re.compile(r"^(?![|#<:`\s]).*\S$", re.M | re.S)  # the end of a paragraph
ITEM = re.compile(r"(\s*)([-*]|\d+\.) +")
WORD = re.compile(r"(?:`[^`]*`|[^\s`])+")
STARTS_A_BLOCK = re.compile(r"([-+*>|#=]|\d+[.)])")  # as a word of its own at the beginning of a line


def paragraphs(text: str) -> list[tuple[str, bool]]:
    """Return blocks of lines in order, each with whether it is prose that may be wrapped."""
    found: list[tuple[list[str], bool]] = []
    fenced = directive = False
    for line in text.splitlines():
        fence = line.lstrip().startswith("```")
        directive = bool(line.strip()) and (directive or line.startswith(":::"))  # of the reference
        prose = not (fenced or fence or directive or KEPT.match(line) or not line.strip())
        fenced ^= fence
        begins = not found or not prose or not found[-1][1] or ITEM.match(line)
        if begins:
            found.append(([line], prose))
        else:
            found[-1][0].append(line)
    return [("\n".join(lines), prose) for lines, prose in found]


def wrap(block: str) -> str:
    """Return one paragraph or list item in lines of at most `WIDTH`, where its words allow that."""
    item = ITEM.match(block)
    first = item.group(0) if item else re.match(r"\s*", block).group(0)  # pyright: ignore[reportOptionalMemberAccess]
    rest = " " * len(first)
    lines, line = [], first
    for found in WORD.findall(block[len(first) :]):
        word = re.sub(r"\s+", " ", found)  # a code span may have been broken
        bare = line.strip() == first.strip() and not lines
        glue = STARTS_A_BLOCK.fullmatch(word)
        if not bare and line.strip() and len(line) + 1 + len(word) > WIDTH and not glue:
            lines.append(line)
            line = rest + word
        else:
            line = line + ("" if bare or not line.strip() else " ") + word
    return "\n".join([*lines, line])


def wrapped(text: str) -> str:
    """Return the text with its prose wrapped, and an empty line between a paragraph and a list or table."""
    out: list[str] = []
    for block, prose in paragraphs(text):
        if block.startswith("|") and out and PROSE_END.search(out[-1]):
            out.append("")  # the site's Markdown wants an empty line before a table, too
        new_list = ITEM.match(block) and prose and out and out[-1].strip()
        if new_list and not re.match(r"\s*([-*]|\d+\.) |[ ]{2,}", out[-1]) and not KEPT.match(out[-1]):
            out.append("")
        out.append(wrap(block) if prose else block)
    return "\n".join(out) + "\n"


def too_wide(text: str) -> list[str]:
    """Return the lines of prose that are wider than `WIDTH` and can be broken."""
    lines = [line for block, prose in paragraphs(text) if prose for line in block.split("\n")]
    wide = [(line, WORD.findall(line)) for line in lines if len(line) > WIDTH]
    return [line for line, words in wide if len(words) > 1 and not STARTS_A_BLOCK.fullmatch(words[-1])]


if __name__ == "__main__":
    for name in sys.argv[1:]:
        page = Path(name)
        page.write_text(wrapped(page.read_text(encoding="utf-8")), encoding="utf-8")
