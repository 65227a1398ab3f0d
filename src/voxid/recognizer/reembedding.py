"""After a change of model: new voiceprints for everybody whose audio was kept, and who the others are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from voxid import corpora
from voxid.audio import name_of
from voxid.embed import Embedder
from voxid.errors import AudioError, BadConfig, TooLittleSpeech
from voxid.recognizer.hearing import Heard, as_clips, hear, least_of_clip, require_together
from voxid.stores import Person, Store, Voiceprint, voiceprint
from voxid.types import Answer, Dropped, Utterance

if TYPE_CHECKING:
    from voxid.audio import Source

PAGE = 100  # people looked at together
Missing = Literal["refuse", "delete"]


@dataclass(frozen=True, slots=True)
class Reembedded(Answer):
    """How far a change of model has come.

    `done` of `people` have voiceprints of the new model. `missing` are those who have to enroll again, since
    there was no usable audio of them; `finished` whether the new model is in use now. `left_out` are the
    recordings that could not be used. Until it is finished the old model stays in use, and nothing is lost.

    >>> rec.reembed(kept_audio("kept-audio")).finished  # doctest: +SKIP
    True
    """

    collection: str
    old: str
    new: str
    done: int
    people: int
    finished: bool
    missing: tuple[str, ...]
    left_out: tuple[Dropped, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values that JSON can hold."""
        left_out = [{"source": d.path, "reason": d.reason, "detail": d.detail} for d in self.left_out]
        return {**Answer.to_dict(self), "left_out": left_out}

    def __str__(self) -> str:
        head = f"{self.done} of {self.people} people have voiceprints of model {self.new[:12]}"
        if self.finished:
            return f"{head}; it is in use now."
        names = ", ".join(map(repr, self.missing[:5])) + ", ..." * (len(self.missing) > 5)
        return (
            f"{head}; the old model stays in use. Still missing: {names}. Give their audio, or let them "
            "enroll again after finishing without them (missing='delete')."
        )


def kept_audio(paths: Any, layout: str = "auto") -> dict[str, list[Utterance]]:
    """Return the recordings in a corpus (a folder a speaker, a CSV of speaker,path, ...) by speaker.

    Raise a CorpusError. Nothing is decoded before it is asked for.

    >>> kept = kept_audio("people")  # a folder a speaker
    >>> sorted(kept)[:2], len(kept["speaker-0000"])
    (['speaker-0000', 'speaker-0001'], 3)
    """
    kept: dict[str, list[Utterance]] = {}
    for utterance in corpora.scan(paths, layout=layout):
        kept.setdefault(utterance.speaker, []).append(utterance)
    return kept


def to_voiceprint(heard: Heard, runtime: Embedder) -> Voiceprint:
    """Return a new voiceprint of a recording."""
    extra = {
        "total_s": round(heard.total_s, 3),
        **({"warnings": list(heard.warnings)} if heard.warnings else {}),
    }
    return voiceprint(
        heard.emb_D, model=runtime.fingerprint, speech_s=heard.net_speech_s, source=heard.source, extra=extra
    )


def reembed(
    store: Store,
    runtime: Embedder,
    audio: Mapping[str, Any],
    *,
    collection: str,
    missing: Missing,
    least_speech_s: float,
    vad: str,
    progress: Callable[[int, int], None] | None = None,
) -> Reembedded:
    """Return how far it came, after new voiceprints were made of all people in `audio` (name -> clips)."""
    if missing not in ("refuse", "delete"):
        raise BadConfig(f"missing is 'refuse' or 'delete', got {missing!r}.")
    begun = store.begin_upgrade(runtime.fingerprint, dim=runtime.dim, collection=collection)
    left_out: list[Dropped] = []
    absent: list[str] = []
    done, after = begun.done, None
    while people := store.upgrade_pending(after=after, limit=PAGE, collection=collection):
        for person in people:
            clips = as_clips(audio[person.name]) if person.name in audio else []
            prints = _prints(runtime, clips, person, least_speech_s, vad, left_out)
            if prints and store.upgrade_person(person, prints, collection=collection):
                done += 1
            else:
                absent.append(person.name)
            if progress is not None:
                progress(done, begun.people)
        after = people[-1].name
    finished = not absent or missing == "delete"
    if finished:
        store.finish_upgrade(missing="delete" if absent else "refuse", collection=collection)
    return Reembedded(
        collection,
        begun.old,
        runtime.fingerprint,
        done,
        begun.people,
        finished,
        tuple(absent),
        tuple(left_out),
    )


def _prints(
    runtime: Embedder, clips: list[Source], person: Person, least_s: float, vad: str, left_out: list[Dropped]
) -> list[Voiceprint]:
    """Return a voiceprint for each clip that can be used; none where they hold too little together."""
    found = []
    for clip in clips:
        try:
            [heard] = hear(runtime, [clip], least_s=least_of_clip(least_s), vad=vad)
        except AudioError as error:
            left_out.append(Dropped(person.name, name_of(clip)[:200], error.reason, str(error)))
            continue
        found.append(to_voiceprint(heard, runtime))
    try:
        require_together(found, least_s, person.name)
    except TooLittleSpeech as error:
        left_out += [Dropped(person.name, print_.source, error.reason, str(error)) for print_ in found]
        return []
    return found
