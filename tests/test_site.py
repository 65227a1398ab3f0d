"""What `make docs` would trip over, without its packages: pages out of the navigation, names gone."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

import voxid

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
REFERENCE = sorted((DOCS / "reference").glob("*.md"))


def named(page: Path) -> list[str]:
    directives = re.findall(r"^::: (.+)$", page.read_text(), flags=re.M)
    assert not [name for name in directives if " " in name], "options stand on lines of their own"
    return directives


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    listed = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.M)
    here = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert set(listed) == here | {"CHANGELOG.md", "CONTRIBUTING.md"}, "nav of mkdocs.yml and docs/ differ"
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("page", REFERENCE, ids=lambda page: page.stem)
def test_the_reference_names_what_is_there(page: Path) -> None:
    for name in named(page):
        parts = name.split(".")
        for cut in range(len(parts), 0, -1):
            try:
                found = import_module(".".join(parts[:cut]))
            except ModuleNotFoundError:
                continue
            for attribute in parts[cut:]:
                found = getattr(found, attribute)
            assert found.__doc__, f"{name} has no docstring"
            break
        else:
            raise AssertionError(f"{page.name} names {name}, which is not there")


def test_the_reference_has_every_public_name() -> None:
    page = next(page for page in REFERENCE if page.stem == "voxid")
    last = {name.rsplit(".", 1)[1] for name in named(page)}
    modules = {other.stem for other in REFERENCE} | {"errors"}
    missing = {n for n in voxid.__all__ if n not in last | modules and not n.startswith("__")}
    assert not missing, f"docs/reference/voxid.md does not name {sorted(missing)}"


def test_nothing_of_the_site_comes_from_another_server() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    assert "font: false" in text
    assert re.search(r"polyfills: \[site/iframe-worker\.js\]", text)
    for file in (DOCS / "site").iterdir():
        loads = re.findall(r"(?:@import|url\(|src=)[^;\n]*https?:", file.read_text())
        assert not loads, f"{file.name} loads {loads}"


def test_the_version_is_one() -> None:
    said = {
        file: re.findall(rf'^{name} ?[=:] "?([\d.]+)"?$', (ROOT / file).read_text(), flags=re.M)
        for file, name in (("pyproject.toml", "version"), ("CITATION.cff", "version"))
    }
    assert said == {"pyproject.toml": [voxid.__version__], "CITATION.cff": [voxid.__version__]}
