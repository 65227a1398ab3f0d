"""Imports point down only. This test reads the source, so an arrow that points up fails before it runs."""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "voxid"

# Rooms from the roof down, as in docs/decisions.md. A room may import from itself and from rows below it.
# A row names rooms that stand side by side and must not import from each other.
ROWS: list[set[str]] = [
    {"__main__"},
    {"cli"},
    {"demo", "server", "published"},
    {"recognizer", "client"},
    {"training", "export"},
    {"evaluation", "timeline"},
    {"embed", "trials"},
    {"model.network"},
    {"data"},
    {"augment", "losses", "encoders", "features"},
    {"plots"},
    # ---- torch above, none below ----
    {"pretrained"},
    {"model"},
    {"scoring", "corpora", "stores"},
    {"audio", "metrics", "recipes", "capacity"},
    {"registry"},
    {"config", "files", "framing", "parallel", "lazy"},
    {"types", "errors"},
]
NO_TORCH_FROM = next(i for i, row in enumerate(ROWS) if "pretrained" in row)


def room_of(module: str) -> str:
    """Return the first part below `voxid` of a dotted name: "voxid.data.pack" -> "data".

    `model.network` is a room of its own: it needs torch, and the card beside it does not.
    """
    parts = module.split(".")
    if parts[1:3] == ["model", "network"]:
        return "model.network"
    return parts[1] if len(parts) > 1 else "__init__"


def module_of(path: Path) -> str:
    return ".".join(["voxid", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def imports_of(path: Path) -> set[str]:
    """Return every absolute module name `path` imports, inside functions too."""
    found = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the whole name"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files() -> list[Path]:
    return sorted(p for p in SOURCE.rglob("*.py") if p != SOURCE / "__init__.py")


def height(room: str) -> int:
    for index, row in enumerate(ROWS):
        if room in row:
            return index
    raise AssertionError(f"room {room!r} is not on the map: add it to ROWS and to docs/decisions.md")


def test_imports_point_down() -> None:
    up = []
    for path in files():
        here = room_of(module_of(path))
        rooms = {name: room_of(name) for name in imports_of(path) if name.startswith("voxid.")}
        up += [
            f"{path.relative_to(SOURCE)} imports {name}"
            for name, there in rooms.items()
            if there not in ("__version__", here) and height(there) <= height(here)
        ]
    assert up == [], "arrows that point up"


def test_no_two_classes_have_one_name() -> None:
    names = Counter(n.name for path in files() for n in nodes_of(path) if isinstance(n, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1] == []


def test_below_the_line_nothing_imports_torch() -> None:
    below = set().union(*ROWS[NO_TORCH_FROM:]) | {"cli", "client", "recognizer", "server", "timeline"}
    for path in files():
        if room_of(module_of(path)) in below:
            roots = {name.split(".")[0] for name in imports_of(path)}
            assert "torch" not in roots, f"{path.name} imports torch below the line"


def test_no_circle_between_files() -> None:
    graph: dict[str, set[str]] = {}
    for path in files():
        graph[module_of(path)] = imports_of(path)
    state: dict[str, int] = {}

    def visit(name: str, trail: list[str]) -> None:
        if state.get(name) == 2 or name not in graph:
            return
        assert state.get(name) != 1, f"import circle: {' -> '.join([*trail, name])}"
        state[name] = 1
        for target in graph[name]:
            if target != name:
                visit(target, [*trail, name])
        state[name] = 2

    for name in graph:
        visit(name, [])
