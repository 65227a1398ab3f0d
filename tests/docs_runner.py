"""Run what the documentation says: Python blocks in one namespace a document, `$ voxid ...` lines in process.

A block that cannot run in a test carries the reason in a comment on the line before it:
`<!-- not run: needs a GPU -->`. As a script it runs the Python of one document, as `make figures` does, in a
folder where `make demo` has run:

    python tests/docs_runner.py docs/course.md .
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"(?:<!-- not run: (?P<why>[^\n]+?) -->\n)?```(?P<kind>python|console|sh)\n(?P<body>.*?)^```", re.S | re.M
)


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, text, line in the document, and why it is not run ("" when it is)."""

    kind: str
    body: str
    line: int
    skip_reason: str


def blocks(document: Path) -> list[Block]:
    """Return every runnable block of `document`, in order."""
    text = document.read_text()
    return [
        Block(m["kind"], m["body"], text[: m.start("body")].count("\n"), m["why"] or "")
        for m in FENCE.finditer(text)
    ]


def commands(body: str) -> list[str]:
    """Return the commands of a console block: lines after `$ `, with backslash continuations joined."""
    joined = body.replace("\\\n", " ")
    return [line[2:].strip() for line in joined.splitlines() if line.startswith("$ ")]


def run_document(document: Path, python_only: bool = False) -> int:
    """Run every block of `document` in the current folder; return how many ran. Any failure raises."""
    namespace: dict[str, object] = {"__name__": "__docs__"}
    ran = 0
    for block in blocks(document):
        if block.skip_reason or (python_only and block.kind != "python"):
            continue
        where = f"{document.name}:{block.line}"
        if block.kind == "python":
            # padded so that a traceback points at the line of the document
            exec(compile("\n" * block.line + block.body, str(document), "exec"), namespace)
        else:
            for command in commands(block.body):
                _run_command(command, where)
        ran += 1
    return ran


def _run_command(command: str, where: str) -> None:
    from commands import invoke

    words = shlex.split(command, comments=True)
    assert words[0] == "voxid", (
        f"{where}: only voxid commands are run, got {command!r}; mark the block as not run"
    )
    result = invoke(words[1:])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(f"{where}: {command!r} failed\n{result.output}") from result.exception
    assert result.exit_code in (0, 1), f"{where}: {command!r} exited {result.exit_code}\n{result.output}"
    if result.exit_code == 1:
        said_no = words[1] in ("compare", "verify", "identify")
        assert said_no, f"{where}: {command!r} exited 1\n{result.output}"


if __name__ == "__main__":
    target = Path(sys.argv[1]).resolve()
    with contextlib.chdir(sys.argv[2]):
        os.environ.setdefault("MPLBACKEND", "Agg")
        print(f"{target.name}: {run_document(target, python_only=True)} blocks ran")
