"""What the site adds to docs/: pages of the repository's root, and links that lead out of docs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ROOT_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md")
LINK = re.compile(r"\[([^]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie beside README.md."""
    from mkdocs.structure.files import File

    for name in ROOT_PAGES:
        files.append(File.generated(config, name, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Lead links between docs/ and the root to pages of the site; others to the repository, if known."""
    folder = ROOT if page.file.src_uri in ROOT_PAGES else (ROOT / "docs" / page.file.src_uri).parent

    def lead(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        if "://" in target or target.startswith("mailto:"):
            return link[0]
        place = (folder / target).resolve()
        if place.parent == ROOT and place.name in ROOT_PAGES:
            return f"[{text}]({'../' * page.file.src_uri.count('/')}{place.name}{anchor})"
        if place.is_relative_to(ROOT / "docs"):
            inside = place.relative_to(ROOT / "docs").as_posix()
            return f"[{text}]({inside}{anchor})" if folder == ROOT else link[0]
        if not place.exists():
            return link[0]  # the strict build says so
        return f"[{text}]({config.repo_url}/blob/main/{place.relative_to(ROOT)})" if config.repo_url else text

    return LINK.sub(lead, markdown)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Keep source code out of the search."""
    source = '<details class="mkdocstrings-source"'
    return html.replace(source, f"{source} data-search-exclude")
