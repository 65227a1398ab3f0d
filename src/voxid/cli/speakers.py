"""`voxid speakers`: a command for each thing that is done with enrolled people."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from voxid.cli._common import DeviceOption, JsonFlag, VadOption, echo, emit, progress_bar, some
from voxid.cli.people import (
    COLLECTION,
    DB,
    MODEL,
    NO,
    CollectionOption,
    DbOption,
    ModelOption,
    NameArgument,
    ServerOption,
    counted,
    people_of,
)
from voxid.errors import did_you_mean

if TYPE_CHECKING:
    from voxid.stores import AuditEntry, Person

WITH_VALUE = ("--db", "--server", "--collection", "--model", "--out", "-o", "--vad", "--device")


class Actions(TyperGroup):
    """The actions, of which `list` is meant where none is named; options may stand before the action."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the action before its options, as typer wants it."""
        if ctx.resilient_parsing:  # a shell asks what may come next
            return super().parse_args(ctx, args)
        place = 0
        while place < len(args) and args[place].startswith("-"):
            place += 2 if args[place] in WITH_VALUE else 1
        if place < len(args):
            args = [args[place], *args[:place], *args[place + 1 :]]
        elif not {"--help", "-h"} & set(args):
            args = ["list", *args]
        if args[0][0] != "-" and args[0] not in self.commands:
            hint = did_you_mean(args[0], list(self.commands))
            raise typer.BadParameter(f"no action {args[0]!r}. Known: {', '.join(self.commands)}.{hint}")
        return super().parse_args(ctx, args)


speakers = typer.Typer(
    cls=Actions,
    help="List, show, rename, delete, export and import the people who are enrolled.\n\n"
    "Without an action, `list`. Each action has its own help: `voxid speakers delete --help`.\n\n"
    "Example: `voxid speakers` · `voxid speakers show alice --db people.db`",
)


@speakers.command("list")
def list_(
    db: DbOption = DB,
    server: ServerOption = None,
    collection: CollectionOption = COLLECTION,
    json: JsonFlag = False,
) -> None:
    """List the people who are enrolled, with their clips and seconds of speech.

    Example: `voxid speakers list --db people.db`
    """
    with people_of(db, collection, server) as people:
        found, where = people.people(), people.where
    rows = [_row(person) for person in found]
    lines = [f"{counted(len(rows), 'person', 'people')} in {where}"]
    lines += [
        f"{row['name']!r}: damaged: {person.damaged}"
        if person.damaged
        else f"{_summary(row)}, since {person.created:%Y-%m-%d}"
        for row, person in zip(rows, found, strict=True)
    ]
    emit({"collection": collection, "people": rows}, json, lambda: echo("\n".join(lines)))


@speakers.command()
def show(
    name: NameArgument,
    db: DbOption = DB,
    server: ServerOption = None,
    collection: CollectionOption = COLLECTION,
    json: JsonFlag = False,
) -> None:
    """Show one person: their clips with id, seconds of speech, source and model.

    Example: `voxid speakers show alice --db people.db`
    """
    with people_of(db, collection, server) as people:
        person = people.get(name)
    fields = ("id", "source", "speech_s", "model", "created", "extra")
    prints = [some(p, *fields) for p in person.voiceprints]
    row = _row(person)
    lines = [f"{_summary(row)}, since {person.created:%Y-%m-%d}, changed {person.updated:%Y-%m-%d}"]
    lines += [f"  metadata: {json_module.dumps(row['metadata'], ensure_ascii=False)}"] * bool(row["metadata"])
    lines += [
        f"  {p.id}  {p.speech_s:.1f} s  {p.source}  (model {p.model[:12]}, {p.created:%Y-%m-%d})"
        for p in person.voiceprints
    ]
    emit({**row, "voiceprints": prints}, json, lambda: echo("\n".join(lines)))


@speakers.command()
def rename(
    name: NameArgument,
    new: Annotated[str, typer.Argument(help="The new name.")],
    db: DbOption = DB,
    server: ServerOption = None,
    collection: CollectionOption = COLLECTION,
    json: JsonFlag = False,
) -> None:
    """Give a person another name.

    Example: `voxid speakers rename bob robert --db people.db`
    """
    with people_of(db, collection, server) as people:
        person = people.rename(name, new)
    emit(_row(person), json, lambda: echo(f"{name!r} is {person.name!r} now"))


@speakers.command()
def delete(
    name: NameArgument,
    db: DbOption = DB,
    server: ServerOption = None,
    collection: CollectionOption = COLLECTION,
    json: JsonFlag = False,
) -> None:
    """Delete everything that is stored about a person, and wipe the bytes from the disk.

    Example: `voxid speakers delete bob --db people.db`
    """
    with people_of(db, collection, server) as people:
        receipt = people.delete(name)
    result = {"deleted": name, **some(receipt, "person", "voiceprints", "audit", "wiped")}
    later = "" if receipt.wiped else "; their bytes will be wiped from the disk at the next chance"
    clips = counted(receipt.voiceprints, "voiceprint", "voiceprints")
    emit(result, json, lambda: echo(f"{name!r} is deleted, with {clips}{later}"))


@speakers.command()
def remove(
    name: NameArgument,
    voiceprint: Annotated[str, typer.Argument(help="The id of the clip, as `speakers show` prints it.")],
    db: DbOption = DB,
    server: ServerOption = None,
    collection: CollectionOption = COLLECTION,
    json: JsonFlag = False,
) -> None:
    """Remove one clip of a person, who stays enrolled with the others.

    Example: `voxid speakers remove alice 0b7c --db people.db`
    """
    with people_of(db, collection, server) as people:
        person = people.remove_clip(name, voiceprint)
    clips = counted(person.prints, "clip", "clips")
    emit(_row(person), json, lambda: echo(f"{person.name!r} has {clips} now"))


@speakers.command()
def export(
    name: NameArgument,
    db: DbOption = DB,
    server: ServerOption = None,
    collection: CollectionOption = COLLECTION,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The file to write; without it, JSON is printed.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Export everything that is stored about a person as JSON, which `speakers import` reads.

    Example: `voxid speakers export alice --db people.db -o alice.json`
    """
    from voxid.files import atomic_write

    with people_of(db, collection, server) as people:
        exported = people.export(name)
    if out is None:
        echo(json_module.dumps(exported, indent=2, ensure_ascii=False))
        return
    with atomic_write(out, "w", private=True) as file:  # voiceprints, as in the database
        json_module.dump(exported, file, indent=2, ensure_ascii=False)
    emit(
        {"name": name, "file": str(out)},
        json,
        lambda: echo(f"everything that is stored about {name!r}: {out}"),
    )


@speakers.command("import")
def import_(
    file: Annotated[Path, typer.Argument(readable=False, help="What `speakers export` wrote.")],
    db: DbOption = DB,
    collection: CollectionOption = COLLECTION,
    replace: Annotated[
        bool, typer.Option("--replace", help="If somebody of that name is enrolled, delete them first.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Enroll a person from an exported file.

    Example: `voxid speakers import alice.json --db people.db`
    """
    from voxid.errors import StoreError
    from voxid.recognizer import People

    with People(db, collection=collection) as people:
        try:
            exported = json_module.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise StoreError(f"{file}: cannot be read ({error.strerror}). Check the path.") from error
        except ValueError as error:
            raise StoreError(f"{file}: is not JSON ({error}). Give what `speakers export` wrote.") from error
        person = people.import_(exported, replace=replace)
    clips = counted(person.prints, "clip", "clips")
    emit(_row(person), json, lambda: echo(f"{person.name!r} is enrolled with {clips}"))


@speakers.command()
def audit(
    name: Annotated[str | None, typer.Argument(help="Whom it is about; everybody, if not given.")] = None,
    db: DbOption = DB,
    server: ServerOption = None,
    collection: CollectionOption = COLLECTION,
    json: JsonFlag = False,
) -> None:
    """Show what was done to whom, and when. The names of deleted people are gone.

    Example: `voxid speakers audit --db people.db`
    """
    with people_of(db, collection, server) as people:
        entries, where = people.audit(name), people.where
    rows = [some(e, "sequence", "time", "action", "person", "name", "detail") for e in entries]
    lines = [
        "  ".join((f"{e.time:%Y-%m-%d %H:%M:%S}", e.action, _who(e), *_details(e))) for e in entries
    ] or [f"nothing is recorded{f' of {name!r}' if name else ''} in {where}"]
    emit({"collection": collection, "audit": rows}, json, lambda: echo("\n".join(lines)))


@speakers.command()
def reembed(
    data: Annotated[
        list[str], typer.Argument(help="The kept audio: a folder for each person, or a CSV of speaker,path.")
    ],
    db: DbOption = DB,
    collection: CollectionOption = COLLECTION,
    model: ModelOption = MODEL,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Delete the people whose audio was not given.")
    ] = False,
    vad: VadOption = "energy",
    device: DeviceOption = "cpu",
    json: JsonFlag = False,
) -> None:
    """Make new voiceprints from kept audio, after a change of model.

    Until everybody has one, the old model stays in use. Exit code 1: people are missing.

    Example: `voxid speakers reembed kept-audio --db people.db --model models/mine`
    """
    from voxid.recognizer import Recognizer, kept_audio

    with (
        Recognizer(db, model, collection=collection, vad=vad, device=device) as recognizer,
        progress_bar("embedding", quiet=json) as update,
    ):
        done = recognizer.reembed(
            kept_audio(data), missing="delete" if drop_missing else "refuse", progress=update
        )
    emit(done.to_dict(), json, lambda: echo(str(done)))
    if not done.finished:
        raise typer.Exit(NO)


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
        **some(person, "id", "name", "collection", "created", "updated"),
        "clips": person.prints,
        "speech_s": round(person.speech_s, 2),
        "metadata": dict(person.metadata),
        **({"damaged": person.damaged} if person.damaged else {}),
    }
