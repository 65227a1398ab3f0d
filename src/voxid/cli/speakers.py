"""`voxid speakers`."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxid.cli._common import JsonFlag, echo, emit, progress_bar
from voxid.cli.people import COLLECTION, DB, MODEL, NO, CollectionOption, DbOption, ModelOption, counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from voxid.recognizer import People
    from voxid.stores import AuditEntry, Person


def _list(people: People, given: list[str], out: Path | None, replace: bool) -> tuple[Any, list[str]]:
    found = people.people()
    rows = [_row(person) for person in found]
    lines = [
        f"{row['name']!r}: damaged: {person.damaged}"
        if person.damaged
        else f"{_summary(row)}, since {row['created']:.10}"
        for row, person in zip(rows, found, strict=True)
    ]
    head = f"{counted(len(rows), 'person', 'people')} in {people.where}"
    return {"collection": people.collection, "people": rows}, [head, *lines]


def _show(people: People, given: list[str], out: Path | None, replace: bool) -> tuple[Any, list[str]]:
    person = people.get(given[0])
    prints = [
        {
            "id": p.id,
            "source": p.source,
            "speech_s": p.speech_s,
            "model": p.model,
            "created": p.created.isoformat(),
            "extra": dict(p.extra),
        }
        for p in person.voiceprints
    ]
    row = _row(person)
    lines = [f"{_summary(row)}, since {row['created']:.10}, changed {row['updated']:.10}"]
    lines += [f"  metadata: {json_module.dumps(row['metadata'], ensure_ascii=False)}"] * bool(row["metadata"])
    lines += [
        f"  {p['id']}  {p['speech_s']:.1f} s  {p['source']}  (model {p['model'][:12]}, {p['created']:.10})"
        for p in prints
    ]
    return {**row, "voiceprints": prints}, lines


def _rename(people: People, given: list[str], out: Path | None, replace: bool) -> tuple[Any, list[str]]:
    person = people.rename(given[0], given[1])
    return _row(person), [f"{given[0]!r} is {person.name!r} now"]


def _delete(people: People, given: list[str], out: Path | None, replace: bool) -> tuple[Any, list[str]]:
    receipt = people.delete(given[0])
    result = {
        "deleted": given[0],
        "person": receipt.person,
        "voiceprints": receipt.voiceprints,
        "audit": receipt.audit,
        "wiped": receipt.wiped,
    }
    later = "" if receipt.wiped else "; their bytes will be wiped from the disk at the next chance"
    return result, [
        f"{given[0]!r} is deleted, with {counted(receipt.voiceprints, 'voiceprint', 'voiceprints')}{later}"
    ]


def _remove(people: People, given: list[str], out: Path | None, replace: bool) -> tuple[Any, list[str]]:
    person = people.remove_clip(given[0], given[1])
    return _row(person), [f"{person.name!r} has {counted(person.prints, 'clip', 'clips')} now"]


def _export(people: People, given: list[str], out: Path | None, replace: bool) -> tuple[Any, list[str]]:
    from voxid.files import atomic_write

    assert out is not None
    exported = people.export(given[0])
    with atomic_write(out, "w", private=True) as file:  # voiceprints, as in the database
        json_module.dump(exported, file, indent=2, ensure_ascii=False)
    return {"name": given[0], "file": str(out)}, [f"everything held on {given[0]!r}: {out}"]


def _import(people: People, given: list[str], out: Path | None, replace: bool) -> tuple[Any, list[str]]:
    from voxid.errors import StoreError

    try:
        exported = json_module.loads(Path(given[0]).read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError(f"{given[0]}: cannot be read ({error.strerror}). Check the path.") from error
    except ValueError as error:
        raise StoreError(f"{given[0]}: is not JSON ({error}). Give what `speakers export` wrote.") from error
    person = people.import_(exported, replace=replace)
    return _row(person), [f"{person.name!r} is enrolled with {counted(person.prints, 'clip', 'clips')}"]


def _audit(people: People, given: list[str], out: Path | None, replace: bool) -> tuple[Any, list[str]]:
    entries = people.audit(given[0] if given else None)
    rows = [
        {
            "sequence": e.sequence,
            "time": e.time.isoformat(),
            "action": e.action,
            "person": e.person,
            "name": e.name,
            "detail": dict(e.detail),
        }
        for e in entries
    ]
    lines = [
        "  ".join((f"{e.time:%Y-%m-%d %H:%M:%S}", e.action, _who(e), *_details(e))) for e in entries
    ] or [f"nothing is recorded{f' of {given[0]!r}' if given else ''} in {people.where}"]
    return {"collection": people.collection, "audit": rows}, lines


def _who(entry: AuditEntry) -> str:
    """Return whom an entry is about; the names of deleted people are gone."""
    if entry.name:
        return repr(entry.name)
    return f"person {entry.person} (deleted)" if entry.person else "everybody"


def _details(entry: AuditEntry) -> list[str]:
    return [f"{key}: {value!r}" for key, value in entry.detail.items()]


def _summary(row: dict[str, Any]) -> str:
    clips = counted(row["clips"], "clip", "clips")
    return f"{row['name']!r}: {clips}, {row['speech_s']:.1f} s of speech"


def _row(person: Person) -> dict[str, Any]:
    return {
        "id": person.id,
        "name": person.name,
        "collection": person.collection,
        "clips": person.prints,
        "speech_s": round(person.speech_s, 2),
        "created": person.created.isoformat(),
        "updated": person.updated.isoformat(),
        "metadata": dict(person.metadata),
        **({"damaged": person.damaged} if person.damaged else {}),
    }


def _reembed(data: list[str], db: str, collection: str, model: str, drop_missing: bool, json: bool) -> None:
    from voxid.recognizer import Recognizer, kept_audio

    with (
        Recognizer(db, model, collection=collection) as recognizer,
        progress_bar("embedding", quiet=json) as update,
    ):
        done = recognizer.reembed(
            kept_audio(data), missing="delete" if drop_missing else "refuse", progress=update
        )
    emit(done.to_dict(), json, lambda: echo(str(done)))
    if not done.finished:
        raise typer.Exit(NO)


# action -> what has to follow it, and what does it
ACTIONS: dict[str, tuple[str, Callable[..., tuple[Any, list[str]]] | None]] = {
    "list": ("", _list),
    "show": ("NAME", _show),
    "rename": ("NAME NEW", _rename),
    "delete": ("NAME", _delete),
    "remove": ("NAME VOICEPRINT", _remove),
    "export": ("NAME", _export),
    "import": ("FILE", _import),
    "audit": ("[NAME]", _audit),
    "reembed": ("DATA...", None),  # needs a model
}


def speakers(
    action: Annotated[str, typer.Argument(help=" | ".join(ACTIONS))] = "list",
    words: Annotated[list[str] | None, typer.Argument(help="What the action is about.")] = None,
    db: DbOption = DB,
    collection: CollectionOption = COLLECTION,
    model: ModelOption = MODEL,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="export: the file to write, instead of printing.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="import: take the place of who has that name.")
    ] = False,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="reembed: delete those whose audio was not given.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """List, show, rename, delete, export and import people; make new voiceprints for another model.

    `list` · `show NAME` · `rename NAME NEW` · `delete NAME` · `remove NAME VOICEPRINT` (one clip) ·
    `export NAME` (everything held on them) · `import FILE` · `audit [NAME]` (what was done, and when) ·
    `reembed DATA...` (a folder a person, or a CSV of speaker,path, of kept audio).

    Example: `voxid speakers export alice --db sqlite:///people.db -o alice.json`
    """
    given = words or []
    _check_words(action, given)
    done = ACTIONS[action][1]
    if done is None:
        _reembed(given, db, collection, model, drop_missing, json)
        return
    from voxid.recognizer import People

    with People(db, collection=collection) as people:
        if action == "export" and out is None:
            echo(json_module.dumps(people.export(given[0]), indent=2, ensure_ascii=False))
            return
        result, lines = done(people, given, out, replace)
    emit(result, json, lambda: echo("\n".join(lines)))


def _check_words(action: str, given: list[str]) -> None:
    if action not in ACTIONS:
        raise typer.BadParameter(f"no action {action!r}. Known: {', '.join(ACTIONS)}.")
    wanted = ACTIONS[action][0]
    least = 0 if not wanted or wanted.startswith("[") else len(wanted.split())
    most = 1 if wanted.startswith("[") else 10**6 if wanted.endswith("...") else least
    if not least <= len(given) <= most:
        usage, got = f"voxid speakers {action} {wanted}".rstrip(), counted(len(given), "word", "words")
        raise typer.BadParameter(f"it is `{usage}`; got {got} after {action}.")
