"""Transcripts with names: Whisper's JSON (also whisperX, faster-whisper), SRT and VTT, read and written back.

Each word, or each segment without words, gets the speaker who talks for most of its time. A word in which
nobody talks gets the speaker who is nearest in time, up to `NEAR_S`. All other fields stay as they were.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from voxid.errors import BadConfig
from voxid.timeline.values import Timeline, Turn

NEAR_S = 1.0
TIMES = re.compile(
    r"(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{1,3})\s+-->\s+(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
)
Words = list[dict[str, Any]]


def with_names(path: str | os.PathLike[str], timeline: Timeline) -> tuple[str, list[str]]:
    """Return the transcript at `path` in its own format with names, and what to warn of.

    JSON: `segments[].speaker` and `segments[].words[].speaker`. SRT: "alice: " before the text. VTT:
    `<v alice>`. A name changes where the words of a segment are of two speakers only in JSON, which has
    times of words. Raise BadConfig for a file that is none of these.

    >>> _ = Path("words.srt").write_text("1\\n00:00:00,000 --> 00:00:03,000\\nHello.\\n")
    >>> text, warnings = with_names("words.srt", rec.timeline("alice1.wav"))
    >>> text.splitlines()[2], warnings
    ('alice: Hello.', [])
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(
            f"{path}: cannot be read as a transcript ({error}). Give a JSON, SRT or VTT file."
        ) from error
    namer = _Namer(timeline)
    if text.lstrip().startswith(("{", "[")):
        named = _json(path, text, namer)
    elif TIMES.search(text):
        named = _subtitles(text, namer)
    else:
        raise BadConfig(
            f"{path}: no transcript with times. Wanted: the JSON of Whisper, whisperX or faster-whisper "
            "(segments with start and end), SRT or VTT."
        )
    return named, namer.warnings()


class _Namer:
    """Says who talks in a stretch of time, and counts what it could not say."""

    def __init__(self, timeline: Timeline) -> None:
        self._turns: Sequence[Turn] = timeline.turns
        self._total_s, self._beyond, self._nobody = timeline.total_s, 0, 0

    def who(self, start: float, end: float) -> str | None:
        """Return who talks for most of the time from `start` to `end`; None where nobody is near."""
        if start > self._total_s:
            self._beyond += 1
            return None
        shared: dict[str, float] = {}
        for turn in self._turns:
            if turn.start < end and turn.end > start:
                shared[turn.speaker] = (
                    shared.get(turn.speaker, 0.0) + min(end, turn.end) - max(start, turn.start)
                )
        if shared:
            return max(shared, key=lambda name: shared[name])
        near = min(self._turns, key=lambda turn: max(turn.start - end, start - turn.end), default=None)
        if near is not None and max(near.start - end, start - near.end) <= NEAR_S:
            return near.speaker
        self._nobody += 1
        return None

    def warnings(self) -> list[str]:
        """Return what a person should know of the match."""
        found = []
        if self._beyond:
            found.append(
                f"{self._beyond} times of the transcript lie beyond the end of the recording "
                f"({self._total_s:.1f} s): is it the transcript of another file?"
            )
        if self._nobody:
            found.append(
                f"{self._nobody} words or segments of the transcript have no speaker: nobody talks there."
            )
        return found


def _json(path: str | os.PathLike[str], text: str, namer: _Namer) -> str:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise BadConfig(f"{path}: broken JSON ({error}). Give Whisper's JSON, SRT or VTT.") from None
    named = copy.deepcopy(data)
    segments = named.get("segments") if isinstance(named, dict) else named
    if not isinstance(segments, list) or not all(isinstance(one, dict) for one in segments):
        raise BadConfig(
            f"{path}: no list 'segments' in it. Wanted: the JSON of Whisper, whisperX or faster-whisper."
        )
    for number, segment in enumerate(segments):
        if not (_is_time(segment.get("start")) and _is_time(segment.get("end"))):
            raise BadConfig(f"{path}: segment {number} has no start and end in seconds: {str(segment)[:60]}.")
        words = segment.get("words") if isinstance(segment.get("words"), list) else []
        timed = [
            w for w in words if isinstance(w, dict) and _is_time(w.get("start")) and _is_time(w.get("end"))
        ]
        for word in timed:
            _give(word, namer.who(word["start"], word["end"]))
        _give(segment, _most(timed) or (None if timed else namer.who(segment["start"], segment["end"])))
        last = segment.get("speaker")
        for word in words:  # whisperX gives numbers and signs no time
            if isinstance(word, dict) and not any(word is one for one in timed):
                _give(word, last)
            last = word.get("speaker", last) if isinstance(word, dict) else last
    return json.dumps(named, ensure_ascii=False, indent=2) + "\n"


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _give(item: dict[str, Any], name: str | None) -> None:
    if name is not None:
        item["speaker"] = name
    else:
        item.pop("speaker", None)  # another program's label would stand beside our names


def _most(words: Iterable[dict[str, Any]]) -> str | None:
    """Return who says most of some words, by time."""
    said: dict[str, float] = {}
    for word in words:
        if (name := word.get("speaker")) is not None:
            said[name] = said.get(name, 0.0) + max(word["end"] - word["start"], 0.01)
    return max(said, key=lambda name: said[name]) if said else None


def _subtitles(text: str, namer: _Namer) -> str:
    is_vtt = text.startswith("WEBVTT")
    named, who = [], None
    for line in text.splitlines():
        if found := TIMES.search(line):
            who = namer.who(_seconds(found.groups()[:4]), _seconds(found.groups()[4:]))
        elif line.strip() and who is not None:
            line = f"<v {who}>{line}" if is_vtt else f"{who}: {line}"
            who = None  # the name stands before the first line
        named.append(line)
    return "\n".join(named) + "\n"


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = parts
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + float(f"0.{fraction}")
