"""The people of a collection: list, show, rename, delete, export, opt out."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from voxid.recognizer import People
from voxid.server.answers import OptOutsOut, ReceiptOut, SpeakerIn, SpeakerOut, SpeakersOut, speaker_out
from voxid.server.routes.shared import (
    MOST_PAGE,
    PROBLEMS,
    Admin,
    At,
    Collection,
    Enroller,
    Name,
    Reader,
    done_by,
)

router = APIRouter(prefix="/v1", tags=["speakers"], responses=PROBLEMS)


@router.get(
    "/collections/{collection}/speakers", response_model=SpeakersOut, summary="Who is enrolled, by name"
)
async def speakers(
    service: At,
    caller: Reader,
    collection: Collection,
    after: Annotated[str | None, Query(description="The name that the page before ended with.")] = None,
    prefix: Annotated[str | None, Query(description="Only names that begin so.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_PAGE)] = 100,
) -> Any:
    """List people, a page at a time."""
    recognizer = await service.recognizer(collection)
    found = await service.thread(
        service.store.people, prefix=prefix, after=after, limit=limit + 1, collection=collection
    )
    total = await service.thread(service.store.count, collection=collection)
    shown = [speaker_out(person, recognizer.wanted_speech_s) for person in found[:limit]]
    following = shown[-1].name if len(found) > limit else None
    return {"collection": collection, "total": total, "speakers": shown, "next": following}


@router.get(
    "/collections/{collection}/speakers/{name}",
    response_model=SpeakerOut,
    summary="One person, with when and how much was recorded",
)
async def speaker(service: At, caller: Reader, collection: Collection, name: Name) -> Any:
    """Show a person. No audio is kept, so there is nothing to play."""
    recognizer = await service.recognizer(collection)
    return speaker_out(await service.thread(recognizer.get, name), recognizer.wanted_speech_s)


@router.patch(
    "/collections/{collection}/speakers/{name}",
    response_model=SpeakerOut,
    summary="Rename a person, or change notes on them",
)
async def change_speaker(
    service: At, caller: Admin, collection: Collection, name: Name, change: SpeakerIn
) -> Any:
    """Give a person another name, or notes."""
    recognizer = await service.recognizer(collection)
    await service.thread(recognizer.get, name)
    if change.metadata:
        await done_by(
            service, caller, service.store.update_metadata, name, change.metadata, collection=collection
        )
    if change.name is not None:
        await done_by(service, caller, recognizer.rename, name, change.name)
        name = change.name
    return speaker_out(await service.thread(recognizer.get, name), recognizer.wanted_speech_s)


@router.delete(
    "/collections/{collection}/speakers/{name}",
    response_model=ReceiptOut,
    summary="Delete everything that is stored about a person",
)
async def delete_speaker(service: At, caller: Admin, collection: Collection, name: Name) -> Any:
    """Delete a person: voiceprints, notes, and the name in the audit trail."""
    return await done_by(service, caller, People(service.store, collection=collection).delete, name)


@router.delete(
    "/collections/{collection}/speakers/{name}/recordings/{voiceprint}",
    response_model=SpeakerOut,
    summary="Remove one recording of a person",
)
async def delete_recording(
    service: At, caller: Enroller, collection: Collection, name: Name, voiceprint: str
) -> Any:
    """Undo a recording: what `clips[].voiceprint` of an enrollment named."""
    recognizer = await service.recognizer(collection)
    found = await done_by(service, caller, recognizer.remove_clip, name, voiceprint)
    return speaker_out(found, recognizer.wanted_speech_s)


@router.get(
    "/collections/{collection}/speakers/{name}/export", summary="Everything that is stored about a person"
)
async def export(service: At, caller: Admin, collection: Collection, name: Name) -> dict[str, Any]:
    """Return voiceprints, notes and audit trail, as `voxid speakers import` takes them."""
    return await service.thread(People(service.store, collection=collection).export, name)


@router.put(
    "/collections/{collection}/speakers/{name}/opt-out",
    response_model=ReceiptOut,
    summary="Refuse a person's voice from now on",
)
async def opt_out(service: At, caller: Admin, collection: Collection, name: Name) -> Any:
    """Remove what is held, and refuse audio of this person until they opt in. Whether enrolled or not."""
    found = await done_by(service, caller, People(service.store, collection=collection).opt_out, name)
    return {"deleted": False, "voiceprints": 0} if found is None else found


@router.delete(
    "/collections/{collection}/speakers/{name}/opt-out",
    response_model=OptOutsOut,
    summary="Let a person be enrolled again",
)
async def opt_in(service: At, caller: Admin, collection: Collection, name: Name) -> Any:
    """Undo an opt-out; nothing comes back of what was removed."""
    await done_by(service, caller, People(service.store, collection=collection).opt_in, name)
    return await opt_outs(service, caller, collection)


@router.get("/collections/{collection}/opt-outs", response_model=OptOutsOut, summary="Who opted out")
async def opt_outs(service: At, caller: Admin, collection: Collection) -> Any:
    """List who opted out of a collection, by name."""
    return {"opt_outs": await service.thread(People(service.store, collection=collection).opted_out)}
