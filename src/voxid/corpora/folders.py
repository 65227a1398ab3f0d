"""One folder a speaker: speaker/**/recording.wav. What lies between speaker and recording is the session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from voxid.corpora.files import audio_files, has_audio, subfolders
from voxid.types import Utterance


class Folders:
    """A folder of speaker folders."""

    def detect(self, path: Path) -> bool:
        """Return whether a folder inside `path` holds audio."""
        return path.is_dir() and any(has_audio(speaker) for speaker in subfolders(path))

    def utterances(self, path: Path) -> Iterator[Utterance]:
        """Yield the utterances, named by their path below `path` without the suffix."""
        for speaker in subfolders(path):
            for file in audio_files(speaker):
                session = file.parent.relative_to(speaker).as_posix()
                yield Utterance(
                    speaker=speaker.name,
                    utterance=file.relative_to(path).with_suffix("").as_posix(),
                    path=str(file),
                    session="" if session == "." else session,
                )
