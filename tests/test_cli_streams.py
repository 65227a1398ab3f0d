"""The command line at its edges: streams closed or full, terminals of few letters, odd arguments, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from voxid.cli._common import printable

VOXID = [sys.executable, "-m", "voxid"]


def run(shell: str, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run `voxid WORDS` by a shell, which redirects as `shell` says."""
    line = ["/bin/sh", "-c", f'"$@" {shell}', "sh", *VOXID, *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("words", [("recipes", "--json"), ("recipes",), ("--version",)])
def test_an_answer_that_cannot_be_written_is_9_and_never_1(words: tuple[str, ...]) -> None:
    said = run(">/dev/full", *words)
    assert said.returncode == 9
    assert said.stderr == "OutputError: the answer cannot be written (No space left on device).\n"


def test_an_error_that_cannot_be_written_keeps_its_code() -> None:
    if Path("/dev/full").exists():
        assert run(">/dev/full", "recipes", "nothing-like-it", "--json").returncode == 3
        assert run("2>/dev/full", "recipes", "nothing-like-it").returncode == 3


def test_a_reader_that_has_gone_is_no_answer() -> None:
    """`voxid recipes | true`: the pipe's own code, quietly."""
    script = f'{{ "$@"; echo $? >&2; }} | {sys.executable} -c "import sys; sys.stdin.close()"; :'
    for words in (["recipes", "--json"], ["recipes"]):
        said = subprocess.run(
            ["/bin/sh", "-c", f"trap '' PIPE; {script}", "sh", *VOXID, *words],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert said.stderr in ("141\n", "0\n")  # 0: all was in the pipe before the reader went


def test_closed_streams_are_no_traceback() -> None:
    assert run("<&-", "recipes").returncode == 0
    assert run(">&-", "recipes").returncode == 0
    closed = run("<&-", "compare", "-", "nowhere.wav")
    assert (closed.returncode, "Traceback" in closed.stderr) == (4, False)
    assert "standard input is closed" in closed.stderr


def test_a_terminal_of_few_letters_does_not_undo_what_was_done(tmp_path: Path) -> None:
    (tmp_path / "M\u00fcller \u4f60").mkdir()
    for name in ("a.wav", "b.wav"):
        (tmp_path / "M\u00fcller \u4f60" / name).touch()
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "a.wav").touch()
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    line = [*VOXID, "split", str(tmp_path), "-o", str(tmp_path / "\u4f60"), "--hold-out", "0.5"]
    said = subprocess.run(line, capture_output=True, timeout=120, env=environment)
    assert said.returncode == 0
    assert b"\\u4f60" in said.stdout


@pytest.mark.parametrize("seed", ["-1", str(2**63), "1e9", "9" * 400])
def test_a_seed_out_of_range_is_wrong_usage(seed: str) -> None:
    said = run("", "split", "somewhere", "-o", "x", f"--seed={seed}")
    assert (said.returncode, "Traceback" in said.stderr) == (2, False)


def test_what_is_no_recipe_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "deep.toml").write_text("x = " + "[" * 3000 + "]" * 3000)
    (tmp_path / "text.toml").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (tmp_path / "latin.toml").write_bytes(b"name = 'caf\xe9'\n")
    os.mkfifo(tmp_path / "pipe.toml")
    for name, what in (
        ("deep", "nested too deep"),
        ("text", "is not TOML"),
        ("latin", "cannot be read"),
        ("pipe", "is a pipe or a device"),
    ):
        said = run("", "recipes", str(tmp_path / f"{name}.toml"), "--json")
        assert (said.returncode, json.loads(said.stdout)["error"]) == (3, "BadRecipe"), said.stderr
        assert what in json.loads(said.stdout)["message"]


def test_control_characters_are_written_out(tmp_path: Path) -> None:
    assert printable("a\x1b[2J\x07\u202e\u00fc\u200d\n") == "a\\x1b[2J\\x07\\u202e\u00fc\u200d\n"
    said = run("", "prepare", str(tmp_path / "no\x1b[31mwhere"), "-o", str(tmp_path / "out"))
    assert said.returncode == 5
    assert "\x1b" not in said.stderr
    assert "no\\x1b[31mwhere" in said.stderr


def test_ctrl_c_while_everything_is_imported() -> None:
    """At any moment from the first line of main on: one line and 130, no traceback."""
    for wait in (0.02, 0.1, 0.4):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(wait)
        child.send_signal(signal.SIGINT)
        said, errors = child.communicate(timeout=60)
        if child.returncode == -signal.SIGINT:  # its work is done, and Python tidies up: no more handlers
            assert "voxid-base" in said
        else:
            assert child.returncode in (0, 130)
        assert "Traceback" not in errors


CHILD = """
import sys
from voxid.cli import main
print("ready", flush=True)
sys.argv = ["voxid", "models"]
main()
"""
