"""What every command promises: help with an example, --json, telling exit codes, a quick start."""

from __future__ import annotations

import inspect
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from commands import invoke
from typer.testing import CliRunner

from voxid import cli, errors
from voxid.cli import COMMANDS, build_app
from voxid.cli._common import BUG, emit, progress_bar, run_app
from voxid.corpora.synthetic import make_corpus
from voxid.errors import VoxidError
from voxid.model.network import Model

SOURCE = str(Path(cli.__file__).resolve().parents[2])  # found from any working folder
REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
ERRORS = sorted(
    (e for e in vars(errors).values() if inspect.isclass(e) and issubclass(e, VoxidError)),
    key=lambda e: e.__name__,
)


def voxid(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    """Run the installed command line in a process of its own."""
    command = [sys.executable, "-m", "voxid", *arguments]
    options["env"] = {**os.environ, "PYTHONPATH": SOURCE, **options.get("env", {})}
    return subprocess.run(command, capture_output=True, text=True, timeout=250, check=False, **options)


def commands() -> dict[str, Any]:
    """Return every command by its words; of a group, such as `speakers`, each of its actions."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_command(build_app()).commands.items():  # pyright: ignore[reportAttributeAccessIssue]
        actions = getattr(command, "commands", {"": command})
        found |= {f"{name} {action}".rstrip(): one for action, one in actions.items()}
    return found


@pytest.fixture(params=list(COMMANDS))
def command(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=list(commands()))
def words(request: pytest.FixtureRequest) -> str:
    return request.param


# -- every command ------------------------------------------------------------------------------------------


def test_help_has_an_example_that_names_real_options(words: str) -> None:
    shown = invoke([*words.split(), "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    examples = re.findall(rf"voxid {words}\b[^`]*", (commands()[words].help or "").replace("\n", " "))
    assert examples, f"`voxid {words} --help` shows no example"
    assert "Example" in shown.output
    for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", " ".join(examples)):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", shown.output), f"no option {option}"


def test_json_is_an_option(words: str) -> None:
    shown = invoke([*words.split(), "--help"], env={"COLUMNS": "200"})
    assert words == "serve" or "--json" in shown.output  # which answers until it is stopped


def test_unknown_option_is_wrong_usage(words: str) -> None:
    result = invoke([*words.split(), "--no-such-option"])
    assert result.exit_code == 2
    assert "No such option" in result.output


def test_reference_has_a_section_with_a_command(command: str) -> None:
    sections = re.split(r"^## ", REFERENCE.read_text(), flags=re.M)
    mine = [s for s in sections if s.split("\n", 1)[0].strip() == f"voxid {command}"]
    assert len(mine) == 1, f"docs/cli.md needs one section '## voxid {command}'"
    assert re.search(rf"^\$ voxid {command}\b", mine[0], flags=re.M)


def test_reference_names_every_option_of_a_command(command: str) -> None:
    """Each option but --json and --help appears in the section, so the reference cannot fall behind."""
    section = re.split(rf"^## voxid {command}$", REFERENCE.read_text(), flags=re.M)[1].split("\n## ")[0]
    mine = [one for words, one in commands().items() if words.split()[0] == command]
    for parameter in (parameter for one in mine for parameter in one.params):
        named = [o for o in parameter.opts if o.startswith("--")]
        if named and not set(named) & {"--json", "--help"}:
            known = [*parameter.opts, *parameter.secondary_opts]
            assert any(f"`{o}" in section or f" {o} " in section for o in known), f"{named} is not described"


def test_every_command_file_is_a_command() -> None:
    """A file in cli/ that no command uses is a command someone forgot to register."""
    folder = Path(inspect.getfile(build_app)).parent
    files = {f"voxid.cli.{p.stem}" for p in folder.glob("*.py") if not p.stem.startswith("_")}
    assert files == set(COMMANDS.values())


# -- errors -------------------------------------------------------------------------------------------------


def app_that(action) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def only(as_json: bool = typer.Option(False, "--json")) -> None:
        action()

    return app


def raiser(error: BaseException):
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.__name__)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_error_becomes_its_exit_code_and_one_line(
    error: type[VoxidError],
    as_json: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["voxid", *(["--json"] if as_json else [])])
    with pytest.raises(SystemExit) as end:
        run_app(lambda: app_that(raiser(error("what,\ngot, allowed, next"))))
    assert end.value.code == error.exit_code
    out, err = capsys.readouterr()
    if as_json:
        assert json.loads(out) == {"error": error.__name__, "message": "what,\ngot, allowed, next"}
        assert err == ""
    else:
        assert (out, err) == ("", f"{error.__name__}: what, got, allowed, next\n")


@pytest.mark.parametrize("arguments", ["train --json", "embed --bogus --json", "nonsense --json"])
def test_wrong_usage_is_json_too(arguments: str) -> None:
    done = voxid(*arguments.split())
    assert (done.returncode, done.stderr) == (2, "")
    said = json.loads(done.stdout)
    assert said["error"] == "WrongUsage"
    assert said["message"]


def test_exit_codes_do_not_clash_with_the_shells() -> None:
    codes = {e.exit_code for e in ERRORS if e is not VoxidError}
    assert codes <= set(range(3, 126))
    assert VoxidError.exit_code == 1


def test_a_bug_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["voxid"])
    with pytest.raises(ZeroDivisionError):
        run_app(lambda: app_that(lambda: 1 / 0))


@pytest.mark.parametrize(
    "words", [["verify", "a", "b"], ["verify", "a", "b", "--json"]], ids=["text", "json"]
)
def test_a_bug_is_no_answer(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["voxid", *words])
    monkeypatch.setattr("voxid.cli._common.run_app", lambda build: 1 / 0)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == BUG not in {0, 1, *(error.exit_code for error in ERRORS)}
    printed = capsys.readouterr()
    assert "Traceback" in printed.err
    if "--json" not in words:
        assert printed.out == ""
        return
    assert json.loads(printed.out) == {
        "error": "ZeroDivisionError",
        "message": "a bug in voxid: division by zero",
    }


def test_real_error_in_a_real_process() -> None:
    said = voxid("recipes", "bilstm-clean10")
    assert said.returncode == errors.BadRecipe.exit_code
    assert said.stdout == ""
    assert said.stderr.startswith("BadRecipe: ")
    assert said.stderr.count("\n") == 1
    assert "bilstm-clean100" in said.stderr
    as_json = voxid("recipes", "bilstm-clean10", "--json")
    assert as_json.returncode == said.returncode
    assert json.loads(as_json.stdout)["error"] == "BadRecipe"
    assert as_json.stderr == ""


WITHOUT_EXTRAS = """
import sys

for name in ("matplotlib", "pyarrow", "safetensors", "torch"):
    sys.modules[name] = None  # importing it raises ModuleNotFoundError, as if it were not installed
from voxid.cli import main

main()
"""


@pytest.mark.parametrize(
    "arguments",
    [
        "train demo --train corpus -o run",
        "evaluate model --data corpus -o report",
        "calibrate model --data corpus",
        "embed model corpus -o e.npz",
        "compare a.wav b.wav --model model",
        "import a.pt -o out",
        "import-seed a.pt -o out",
        "demo -o out",
        "prepare corpus -o prepared",
    ],
)
def test_without_the_extra_every_command_names_the_fix(arguments: str, tmp_path: Path) -> None:
    make_corpus(tmp_path / "corpus", speakers=2, utterances=2, seconds=(0.2, 0.3))
    Model.build({"name": "mfcc"}, {"name": "lstm", "layers": 1, "hidden": 8}).save(tmp_path / "model")
    command = [sys.executable, "-c", WITHOUT_EXTRAS, *arguments.split(), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (errors.MissingExtra.exit_code, "")
    said = json.loads(done.stdout)
    assert said["error"] == "MissingExtra"
    assert "pip install 'voxid[train]'" in said["message"]


def test_another_missing_module_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["voxid"])
    with pytest.raises(ModuleNotFoundError):
        run_app(lambda: app_that(raiser(ModuleNotFoundError("no rich", name="rich"))))


SLEEPER = """
import sys, time, types
import voxid.cli

def sleeper() -> None:
    print("ready", flush=True)
    time.sleep(280)

sys.modules["sleeper"] = types.ModuleType("sleeper")
sys.modules["sleeper"].sleeper = sleeper
voxid.cli.COMMANDS = {"sleeper": "sleeper"}
voxid.cli.main()
"""


def test_ctrl_c_in_a_real_process() -> None:
    arguments = [sys.executable, "-c", SLEEPER, "sleeper"]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=250)
    assert running.returncode == 130
    assert said.splitlines() == ["stopped by Ctrl-C; every file that was written is whole"]


# -- output -------------------------------------------------------------------------------------------------


def test_emit_prints_one_or_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"eer": 0.1}, True, lambda: print("EER 10 %"))
    assert json.loads(capsys.readouterr().out) == {"eer": 0.1}
    emit({"eer": 0.1}, False, lambda: print("EER 10 %"))
    assert capsys.readouterr().out == "EER 10 %\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("in_bytes", [False, True], ids=["counts", "bytes"])
def test_progress_is_drawn_on_a_terminal_only(in_bytes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, str] = {}
    for kind, stream, quiet in (
        ("terminal", Terminal(), False),
        ("quiet", Terminal(), True),
        ("file", io.StringIO(), False),
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        with progress_bar("reading", quiet=quiet, in_bytes=in_bytes) as update:
            update(1_000_000, 4_000_000)
            update(4_000_000, 4_000_000)
            update(500_000, 2_000_000)  # a second stage
        drawn[kind] = stream.getvalue()
    assert "reading" in drawn["terminal"]
    assert ("0.5/2.0 MB" if in_bytes else "500000/2000000") in drawn["terminal"]
    assert drawn["quiet"] == drawn["file"] == ""


def test_json_never_holds_nan() -> None:
    """NaN is not JSON: a reader in another language would choke on it."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        emit({"eer": float("nan")}, True, lambda: None)


def test_recipes_as_json() -> None:
    said = voxid("recipes", "--json")
    assert said.returncode == 0
    assert "bilstm-clean100" in [row["name"] for row in json.loads(said.stdout)["recipes"]]


def test_a_command_that_is_asked_for_is_built_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[list[str | None]] = []

    def look(build: Callable[[], typer.Typer]) -> None:
        app = build()
        built.append(sorted(str(one.name) for one in (*app.registered_commands, *app.registered_groups)))

    monkeypatch.setattr("voxid.cli._common.run_app", look)
    for asked in (["compare", "a", "b"], ["--help"], ["compere"], []):
        monkeypatch.setattr(sys, "argv", ["voxid", *asked])
        cli.main()
    assert built == [["compare"], *[sorted(cli.COMMANDS)] * 3]


def test_what_to_do_first() -> None:
    shown = voxid()
    assert (shown.returncode, shown.stderr) == (0, "")
    for line in ("voxid compare a.wav b.wav", "voxid enroll alice", "voxid demo", "voxid doctor", "--help"):
        assert line in shown.stdout
    panels = voxid("--help").stdout
    assert [panels.index(name) for name in cli.PANELS] == sorted(panels.index(name) for name in cli.PANELS)


def completed(line: str, **options: Any) -> list[str]:
    """Return what a shell offers for the last word of a line."""
    words = line.split(" ")
    environment = {
        "PYTHONPATH": SOURCE,
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_VOXID_COMPLETE": "complete_bash",
    }
    script = "import sys; sys.argv = ['voxid']; from voxid.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, timeout=250, check=False, env={**os.environ, **environment},
        **options,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


def test_a_shell_completes_names_models_and_recipes(tmp_path: Path) -> None:
    from voxid import stores

    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "mine.toml").touch()
    with stores.open(tmp_path / "voxid.db") as store:
        for name in ("alice", "bob"):
            store.enroll(name, [stores.voiceprint([1.0, 2.0], model="m")], model="m")
    assert completed("voxid speakers show a", cwd=tmp_path) == ["alice"]
    assert completed("voxid verify --db none.db a", cwd=tmp_path) == []  # and none is made
    assert not (tmp_path / "none.db").exists()
    assert completed("voxid compare a b --model vox", cwd=tmp_path) == ["voxid-base", "voxid-small"]
    assert completed("voxid serve --model voxid-b", cwd=tmp_path) == ["voxid-base"]
    assert completed("voxid embed models/m", cwd=tmp_path) == ["models/mine/"]
    assert completed("voxid train mi", cwd=tmp_path) == ["mine.toml"]
    assert "bilstm-clean100" in completed("voxid recipes bil", cwd=tmp_path)


def test_doctor_says_what_is_here_and_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder without anything it makes nothing, and a model that is not there is told, not raised."""
    done = voxid("doctor", "--model", "voxid-bse", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert (done.returncode, found["store"]["people"], list(tmp_path.iterdir())) == (0, None, [])
    assert "Did you mean 'voxid-base'" in found["model"]["error"]
    assert found["versions"]["torch"]
    assert "cpu" in found["devices"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOXID_DATA", str(tmp_path))
    with_extras = CliRunner().invoke(build_app(), ["doctor"]).stdout
    assert "model voxid-base: calibrated" in with_extras
    assert f"no LibriSpeech in {tmp_path}" in with_extras
    for extra, gone in found["extras"].items():
        line = f"missing {', '.join(gone)}: pip install 'voxid[{extra}]'" if gone else "installed"
        assert f"extra {extra}: {line}" in with_extras


def test_version() -> None:
    from voxid import __version__

    assert voxid("--version").stdout == f"voxid {__version__}\n"


# -- a quick start ------------------------------------------------------------------------------------------

HEAVY = "{'torch', 'numpy', 'scipy', 'pandas', 'pyarrow', 'matplotlib', 'soundfile', 'soxr', 'pydantic'}"


@pytest.mark.parametrize(
    "code",
    [
        "import voxid",
        "import voxid.cli; voxid.cli.build_app()",
        "import voxid.cli, sys\nsys.argv = ['voxid', '-h']\ntry: voxid.cli.main()\nexcept SystemExit: pass",
    ],
    ids=["import", "commands", "help"],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    script = f"{code}\nimport sys; print('heavy:', sorted({HEAVY} & set(sys.modules)), file=sys.stderr)"
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=250, check=True
    )
    assert ran.stderr.splitlines()[-1] == "heavy: []"


def test_import_starts_no_thread_and_changes_no_environment() -> None:
    script = (
        "import os, threading; before = dict(os.environ); import voxid, voxid.cli; "
        "assert before == dict(os.environ); assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", script], timeout=250, check=True)
