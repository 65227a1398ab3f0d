"""Transcripts with names: JSON of Whisper and its kin, SRT and VTT, read and written back.

Each word, or each segment without words, gets the speaker who talks for most of its time. A word in which
nobody talks gets the speaker who is nearest in time, up to `NEAR_S`. What another program says of speakers
goes, since it would stand beside our names. All else stays as it was.
"""

from __future__ import annotations

import codecs
import copy
import html
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from voxid.errors import BadConfig
from voxid.timeline.values import Timeline, Turn

NEAR_S = 1.0
TIME = r"(?:(\d+):)?(\d{1,2}):(\d{2})(?:[.,](\d{1,3}))?"
TIMES = re.compile(rf"{TIME}\s*-->\s*{TIME}")
VOICE = re.compile(r"</?v(?:[.\s][^>]*)?>")  # of VTT
LABEL = re.compile(r"^\[?SPEAKER_\d+\]?:\s*")  # as whisperX writes it into subtitles
SEGMENTS = ("segments", "transcription")  # the second is whisper.cpp's
INSIDE = ("words", "tokens")  # of a segment; the second is whisper.cpp's
WORDS = ("words", "word_segments")  # beside the segments: of OpenAI's service, of whisperX
Transcript = str | dict[str, Any] | list[dict[str, Any]]  # the text of SRT or VTT, or the values of JSON
WANTED = "the JSON of Whisper, whisperX, faster-whisper or whisper.cpp (segments with times), SRT or VTT"


def read(path: str | os.PathLike[str]) -> Transcript:
    """Return what is in a transcript: the text of SRT or VTT, or the values of JSON.

    Raise BadConfig for a file that is none of these.

    >>> _ = Path("words.srt").write_text("1\\n00:00:00,000 --> 00:00:03,000\\nHello.\\n")
    >>> read("words.srt").splitlines()[2]
    'Hello.'
    """
    try:
        raw = Path(path).read_bytes()
        wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # what some Windows shells write
        text = raw.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadConfig(f"{path}: not text in UTF-8 ({error}). Save the transcript as UTF-8.") from None
    except OSError as error:
        raise BadConfig(f"{path}: cannot be read ({error}). Wanted: {WANTED}.") from error
    if not text.lstrip().startswith(("{", "[")):
        if text.strip() and not (text.startswith("WEBVTT") or TIMES.search(text)):
            raise BadConfig(f"{path}: not a transcript with times. Wanted: {WANTED}.")
        return text
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadConfig(f"{path}: broken JSON ({error}). Wanted: {WANTED}.") from None
    segments = _segments(data)
    if segments is None or not all(isinstance(one, dict) for one in segments):
        raise BadConfig(f"{path}: no list 'segments' in it. Wanted: {WANTED}.")
    for number, segment in enumerate(segments):
        if _times(segment) is None:
            raise BadConfig(f"{path}: segment {number} has no start and end in seconds: {str(segment)[:60]}.")
    return data


def with_names(transcript: Transcript, timeline: Timeline) -> tuple[str, list[str]]:
    """Return a transcript, as `read` returns it, in its own format with names, and what to warn of.

    JSON: `segments[].speaker` and `segments[].words[].speaker`. SRT: "alice: " before the text. VTT:
    `<v alice>`. A name changes where the words of a segment are of two speakers only in JSON, which has
    times of words.

    >>> _ = Path("words.srt").write_text("1\\n00:00:00,000 --> 00:00:03,000\\nHello.\\n")
    >>> text, warnings = with_names(read("words.srt"), rec.timeline("alice1.wav"))
    >>> text.splitlines()[2], warnings
    ('alice: Hello.', [])
    """
    namer = _Namer(timeline)
    named = _subtitles(transcript, namer) if isinstance(transcript, str) else _json(transcript, namer)
    return named, namer.warnings()


class _Namer:
    """Says who talks in a stretch of time, and remembers what it could not say."""

    def __init__(self, timeline: Timeline) -> None:
        self._turns: Sequence[Turn] = timeline.turns
        self._total_s = timeline.total_s
        self._asked: set[tuple[float, float]] = set()
        self._beyond: set[tuple[float, float]] = set()
        self._nobody: set[tuple[float, float]] = set()

    def who(self, times: tuple[float, float]) -> str | None:
        """Return who talks for most of the time from a start to an end; None where nobody is near."""
        start, end = times
        self._asked.add((start, end))
        if start > self._total_s:
            self._beyond.add((start, end))
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
        self._nobody.add((start, end))
        return None

    def warnings(self) -> list[str]:
        """Return what a person should know of the match."""
        found = []
        if not self._asked:
            found.append("the transcript has no words: nothing was named in it.")
        if self._beyond:
            found.append(
                f"{len(self._beyond)} times of the transcript lie beyond the end of the recording "
                f"({self._total_s:.1f} s): is it the transcript of another file?"
            )
        if self._nobody:
            found.append(
                f"{len(self._nobody)} words or segments of the transcript have no speaker: nobody talks "
                "there."
            )
        return found


def _json(data: dict[str, Any] | list[dict[str, Any]], namer: _Namer) -> str:
    named = copy.deepcopy(data)
    lists = [(segment, key) for segment in _segments(named) or [] for key in _inside(segment)]
    for holder, key in lists + ([(named, key) for key in WORDS] if isinstance(named, dict) else []):
        given = holder.get(key)
        words = [word for word in given if isinstance(word, dict)] if isinstance(given, list) else []
        timed = [(word, times) for word in words if (times := _times(word))]
        for word, times in timed:
            _give(word, namer.who(times))
        if holder is not named and (times := _times(holder)):
            _give(holder, _most(timed) or (None if timed else namer.who(times)))
        last = holder.get("speaker")
        for word in words:  # whisperX gives numbers and signs no time
            if _times(word) is None:
                _give(word, last)
            last = word.get("speaker", last)
    text = json.dumps(named, ensure_ascii=False, indent=2) + "\n"
    return text.encode(errors="backslashreplace").decode()  # half of a surrogate pair stays an escape


def _segments(data: Any) -> list[Any] | None:
    """Return the segments of what JSON holds; none where there are words alone."""
    if isinstance(data, dict):
        has_words = any(isinstance(data.get(key), list) for key in WORDS)
        named = next((data[key] for key in SEGMENTS if data.get(key) is not None), None)
        data = [] if has_words and named is None else named
    return data if isinstance(data, list) else None


def _inside(segment: dict[str, Any]) -> list[str]:
    """Return under which key the words of a segment stand; one that none has, if it has no words."""
    return [key for key in INSIDE if isinstance(segment.get(key), list)] or [INSIDE[0]]


def _times(item: Any) -> tuple[float, float] | None:
    """Return start and end in seconds, which whisper.cpp gives in milliseconds, or None."""
    item = item if isinstance(item, dict) else {}
    times, per_second = [item.get("start"), item.get("end")], 1
    if isinstance(offsets := item.get("offsets"), dict):
        times, per_second = [offsets.get("from"), offsets.get("to")], 1000
    numbers = [t for t in times if isinstance(t, int | float) and not isinstance(t, bool) and t == t]
    return (numbers[0] / per_second, numbers[1] / per_second) if len(numbers) == 2 else None


def _give(item: dict[str, Any], name: str | None) -> None:
    if name is not None:
        item["speaker"] = name
    else:
        item.pop("speaker", None)


def _most(words: Iterable[tuple[dict[str, Any], tuple[float, float]]]) -> str | None:
    """Return who says most of some words, by time."""
    said: dict[str, float] = {}
    for word, (start, end) in words:
        if (name := word.get("speaker")) is not None:
            said[name] = said.get(name, 0.0) + max(end - start, 0.01)
    return max(said, key=lambda name: said[name]) if said else None


def _subtitles(text: str, namer: _Namer) -> str:
    is_vtt = text.startswith("WEBVTT")
    named, who, is_said = [], None, False
    for line in text.split("\n"):  # a Windows line keeps its end
        if found := TIMES.search(line):
            who, is_said = namer.who((_seconds(found.groups()[:4]), _seconds(found.groups()[4:]))), True
        elif not line.strip():  # the end of what is said at these times
            who, is_said = None, False
        elif is_said:
            line = LABEL.sub("", VOICE.sub("", line) if is_vtt else line)
            if who is not None:
                line = f"<v {html.escape(who, quote=False)}>{line}" if is_vtt else f"{who}: {line}"
                who = None  # the name stands before the first line
        named.append(line)
    return "\n".join(named)


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = parts
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + float(f"0.{fraction or 0}")
