"""VoxCeleb 1 and 2 (Nagrani et al., Interspeech 2017; Chung et al., 2018): id00012/session/00001.wav."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from voxid.corpora.files import audio_files, lines, sex_of, subfolders
from voxid.types import Utterance

SPEAKER = re.compile(r"id\d{4,6}")
BETWEEN = {"dev", "test", "wav", "aac", "m4a"}  # folders between the corpus and its speakers
META = "vox*_meta.csv"  # speaker, ..., gender; commas or tabs


class VoxCeleb:
    """The folder that holds the id* folders, or one that holds it under names such as dev/wav."""

    def detect(self, path: Path) -> bool:
        """Return whether there are id*/session folders in `path`."""
        return path.is_dir() and bool(_homes(path))

    def utterances(self, path: Path) -> Iterator[Utterance]:
        """Yield the utterances; sex comes from vox1_meta.csv or vox2_meta.csv when it lies beside them."""
        sexes: dict[str, str] = {}
        for folder in (path.parent, path):
            for meta in sorted(folder.glob(META)):
                sexes.update(_sexes(meta))
        for home in _homes(path):
            for speaker in _speakers(home):
                for session in subfolders(speaker):
                    for file in audio_files(session):
                        yield Utterance(
                            speaker=speaker.name,
                            utterance=f"{speaker.name}/{session.name}/{file.stem}",
                            path=str(file),
                            sex=sexes.get(speaker.name, ""),
                            session=session.name,
                        )


def _homes(path: Path) -> list[Path]:
    """Return the folders that hold speakers: `path` itself, or some below known names."""
    speakers = _speakers(path)
    if speakers:
        return [path] if any(subfolders(speaker) for speaker in speakers) else []
    return [home for child in subfolders(path) if child.name in BETWEEN for home in _homes(child)]


def _speakers(folder: Path) -> list[Path]:
    return [child for child in subfolders(folder) if SPEAKER.fullmatch(child.name)]


def _sexes(meta: Path) -> dict[str, str]:
    """Return speaker -> "m" or "f" of a published list; {} when it has no gender column."""
    rows = [re.split(r"[\t,]", line) for _, line in lines(meta)]
    header = [field.strip().lower() for field in rows[0]] if rows else []
    if "gender" not in header:
        return {}
    column = header.index("gender")
    return {row[0].strip(): sex_of(row[column]) for row in rows[1:] if len(row) > column}
