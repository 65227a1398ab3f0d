"""A corpus -> a prepared folder, in one pass: decode, validate, pack. Memory does not grow with the corpus.

Decoding, resampling and hashing are C code that lets go of Python's lock, so threads share the work as well
as processes would, with nothing to start, to fork or to send from one to the other.
"""

# S samples

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path

import numpy as np

from voxid import audio
from voxid.corpora import Scan, scan
from voxid.corpora.seen import Seen
from voxid.data.pack import VERSION, Packed, PackWriter, is_prepared, to_int16
from voxid.errors import AudioError, CorpusError, EmptyCorpus, NotWritable
from voxid.files import output_error, user_cache
from voxid.parallel import ordered
from voxid.types import Dropped, Utterance

LONG_S = 120.0  # longer recordings are decoded twice, measured and then packed, and never held whole
FAINT_PEAK = 0.05  # of full scale; with a higher peak, 16 bits hold what 24 do (docs/audio.md)
LOUD_PEAK = 0.5  # of a faint recording, once scaled
FINE = ("FLOAT", "DOUBLE", "PCM_24", "PCM_32")  # formats that hold more than 16 bits
WAITING_PER_WORKER = 3  # decoded recordings that wait to be packed: at most 4 MB each

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `prepare` kept (`seconds` of speech) and dropped (counts by reason; see dropped.csv)."""

    folder: Path
    kept: int
    speakers: int
    seconds: float
    dropped: dict[str, int]
    warnings: list[str]
    fingerprint: str


def prepare(
    utterances: Iterable[Utterance],
    out: str | os.PathLike[str],
    *,
    workers: int = 2,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> Prepared:
    """Return what was kept and dropped; `out` then is a prepared folder that `Packed.open` reads.

    Every recording is decoded and checked (`voxid.audio.inspect`), compared with all before it, and appended
    as 16-bit samples. What cannot be used is dropped, counted by reason and listed in dropped.csv. The folder
    gets its name when it is complete, so a stop at any time leaves nothing half-made there. `overwrite`
    replaces an earlier prepared folder. Raise EmptyCorpus when nothing is left, a CorpusError of the scan,
    DiskFull, NotWritable or OutputError.

    >>> prepare(scan("LibriSpeech/dev-clean"), "prepared/dev").dropped  # doctest: +SKIP
    {'too_short': 2}
    """
    target = Path(os.path.abspath(out))  # noqa: PTH100 - resolve() would follow a link that the user made
    _refuse_to_spoil(target, overwrite)
    total = _count(utterances) if progress else 0
    with _temporary(target) as folder:
        with PackWriter(folder) as writer:
            packer = _Packer(writer)
            decoding = ordered(_decode, utterances, workers=workers, ahead=WAITING_PER_WORKER * workers)
            with closing(decoding) as recordings:
                for done, decoded in enumerate(recordings, 1):
                    packer.take(decoded)
                    if progress:
                        progress(done, max(done, total))
            sources, warned = (
                (utterances.sources, utterances.warnings) if isinstance(utterances, Scan) else ([], [])
            )
            try:
                info = writer.finish(sources, [*warned, *packer.warnings()])
            except EmptyCorpus as error:
                first = f" The first: {packer.first_dropped}" if packer.first_dropped else ""
                raise EmptyCorpus(f"{error}{first}") from None
        _rename(folder, target, overwrite)
    return Prepared(
        folder=target,
        kept=info["n_utterances"],
        speakers=info["n_speakers"],
        seconds=info["seconds"],
        dropped=info["dropped"],
        warnings=info["warnings"],
        fingerprint=info["fingerprint"],
    )


def ensure_prepared(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    layout: str = "auto",
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Return a prepared folder for `paths`: the path itself when it is one, else one in the cache.

    The cache is `cache`, else $VOXID_CACHE, else ~/.cache/voxid. An entry belongs to the corpus' lists and to
    the size and time of change of its files; when one of them changes, the corpus is prepared anew. Raise as
    `prepare` and `scan` do.
    """
    if isinstance(paths, str) and "://" in paths:
        return Packed.open(paths).folder
    given = [Path(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    try:
        prepared = [path for path in given if is_prepared(path)]
    except OSError:
        prepared = []  # no way in: the scan says so
    if prepared and len(given) == 1:
        return given[0]
    if prepared:
        raise CorpusError(
            f"{prepared[0]} is prepared already, and cannot be joined with other data. Give that folder "
            "alone, or all corpora as they are on disk."
        )
    count, key = _fingerprint(scan(given, layout))
    target = (cache or user_cache()) / "prepared" / f"{given[0].absolute().name}-{key[:16]}"
    if not is_prepared(target):
        counted = (lambda done, _: progress(done, count)) if progress else None
        prepare(scan(given, layout), target, progress=counted)
    return target


# -- decoding and packing ------------------------------------------------------------------------------


@dataclass(slots=True)
class _Decoded:
    """An utterance with its samples (int16), the error it met, or neither: too long to be held."""

    utterance: Utterance
    wave_S: np.ndarray | None = None
    error: AudioError | None = None
    part: audio.Part | None = None  # what of the recording was heard
    unlike: bool = False  # two channels of different sound were averaged
    gain: float = 1.0  # to fit into 16 bits

    @property
    def cancels(self) -> bool:
        """Whether channels cancel each other, and one was taken."""
        return self.part is not None and self.part.channel != self.utterance.channel


def _decode(utterance: Utterance) -> _Decoded:
    """Return an utterance checked and measured; a long one is decoded again when it is packed."""
    try:
        found = audio.inspect(utterance, vad=None, keep_s=LONG_S)
    except AudioError as error:
        return _Decoded(utterance, error=error)
    gain = _gain(found.peak, found.over > 0, found.format.endswith(FINE))
    wave_S = None if found.wave is None else to_int16(found.wave if gain == 1 else gain * found.wave)
    said = replace(utterance, sample_rate=found.sample_rate)
    return _Decoded(said, wave_S, part=found.part, unlike=found.unlike, gain=gain)


def _gain(peak: float, over: bool, fine: bool) -> float:
    """Return by how much to scale a recording: 16 bits clip what is over full scale, lose what is faint."""
    if over and peak > 1:
        return 1 / peak
    return LOUD_PEAK / peak if fine and peak < FAINT_PEAK else 1.0


def _long_blocks(decoded: _Decoded) -> Iterator[np.ndarray]:
    """Yield the blocks of a long recording, scaled."""
    for block_S in audio.blocks(decoded.part or decoded.utterance):
        yield block_S if decoded.gain == 1 else decoded.gain * block_S


def _written(utterance: Utterance) -> Utterance:
    """Return an utterance as a list can hold it: file names need not be UTF-8, and are escaped."""
    texts = {name: value for name, value in asdict(utterance).items() if isinstance(value, str)}
    if all(value.isascii() for value in texts.values()):
        return utterance
    return replace(
        utterance, **{n: os.fsencode(value).decode(errors="backslashreplace") for n, value in texts.items()}
    )


class _Packer:
    """Decides what is kept, in the order of the corpus."""

    def __init__(self, writer: PackWriter) -> None:
        self._writer = writer
        self._names, self._sounds = Seen(), Seen()
        self._speakers: Counter[str] = Counter()
        self._unlike: list[str] = []
        self._cancelling: list[str] = []
        self._scaled: list[str] = []
        self.first_dropped = ""

    def take(self, decoded: _Decoded) -> None:
        """Pack the utterance, or drop it with its reason."""
        reason, detail = self._pack(decoded)
        if reason:
            self.first_dropped = self.first_dropped or detail
            said = _written(decoded.utterance)
            self._writer.drop(Dropped(said.utterance, said.path, reason, detail))

    def _pack(self, decoded: _Decoded) -> tuple[str, str]:
        """Return why the utterance cannot be packed and a sentence about it, or pack it and return ""."""
        utterance = _written(decoded.utterance)
        name = hashlib.sha256(utterance.utterance.encode()).digest()
        try:
            if decoded.error:
                raise decoded.error
            if (row := self._names.find(name)) is not None:
                return "duplicate_name", f"row {row} of the manifest has this name already"
            wave = decoded.wave_S if decoded.wave_S is not None else _long_blocks(decoded)
            row = self._writer.add(utterance, wave, self._sounds)
        except AudioError as error:
            return error.reason, str(error)
        if row is not None:
            return "duplicate_audio", f"the same samples as row {row} of the manifest"
        self._names.add(name, self._writer.n - 1)
        self._speakers[utterance.speaker] += 1
        self._unlike += [utterance.utterance] * decoded.unlike
        self._cancelling += [utterance.utterance] * decoded.cancels
        self._scaled += [utterance.utterance] * (decoded.gain != 1)
        return "", ""

    def warnings(self) -> list[str]:
        """Return a sentence on each kind of utterance that somebody should know of, if there are any."""
        lone = sorted(speaker for speaker, count in self._speakers.items() if count == 1)
        who = "speaker has" if len(lone) == 1 else "speakers have"
        said = [
            (lone, f"{len(lone)} {who} one utterance: kept, but never a pair of the same speaker"),
            (
                self._unlike,
                f"{len(self._unlike)} recordings hold different sound on two channels, as a call does, and "
                "were averaged: name the channel that is meant in a column 'channel'",
            ),
            (
                self._cancelling,
                f"{len(self._cancelling)} recordings have channels that cancel each other: one was taken",
            ),
            (
                self._scaled,
                f"{len(self._scaled)} recordings were scaled to fit into 16 bits: over full scale or faint",
            ),
        ]
        return [f"{text} ({', '.join(some[:5])}{', ...' * (len(some) > 5)})." for some, text in said if some]


# -- the folder ----------------------------------------------------------------------------------------


def _refuse_to_spoil(target: Path, overwrite: bool) -> None:
    """Raise NotWritable where something stands that is not ours to replace."""
    try:
        prepared = is_prepared(target)
        occupied = target.exists() and not (target.is_dir() and not any(target.iterdir()))
    except OSError as error:
        raise output_error(error, target) from error
    if prepared and not overwrite:
        raise NotWritable(
            f"{target} holds prepared data. Add --overwrite (overwrite=True), or choose another folder."
        )
    if occupied and not prepared:
        raise NotWritable(f"{target} exists and is not a prepared folder. Choose a new or an empty folder.")


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """Yield a folder beside `target` that is gone afterwards unless it was renamed."""
    folder = target.with_name(f"{_partial_prefix(target)}{os.getpid()}.partial")
    try:
        _clear_stale(target)
        yield folder
    except OSError as error:
        raise output_error(error, target) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _clear_stale(target: Path) -> None:
    """Remove what processes of this machine that were killed have left beside `target`."""
    if not target.parent.is_dir():
        return
    prefix = _partial_prefix(target)
    for folder in target.parent.iterdir():
        owner = folder.name.removeprefix(prefix).removesuffix(".partial")
        if folder.name == f"{prefix}{owner}.partial" and owner.isdigit() and not _alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _partial_prefix(target: Path) -> str:
    """Return how names of temporary folders start; folders may be shared, and process numbers are not."""
    return f".{target.name}.{platform.node()}."


def _alive(process: int) -> bool:
    if os.name != "posix":  # elsewhere signal 0 is no question: it ends the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is there, and another user's
        return True
    return True


def _rename(folder: Path, target: Path, overwrite: bool) -> None:
    """Give `folder` its final name; another process that was faster with the same data is fine."""
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    try:
        if overwrite and is_prepared(target):
            target.rename(old)
        folder.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        if not is_prepared(target):
            raise
    finally:
        with suppress(OSError):
            shutil.rmtree(old)


def _count(utterances: Iterable[Utterance]) -> int:
    if isinstance(utterances, Scan):
        return utterances.count()
    return len(utterances) if isinstance(utterances, Sized) else 0


def _fingerprint(utterances: Iterable[Utterance]) -> tuple[int, str]:
    """Return the number of utterances, and a hash over them and the state of their files."""
    digest = hashlib.sha256(f"voxid {VERSION}\n".encode())
    count = 0
    for count, utterance in enumerate(utterances, 1):  # noqa: B007 - read after the loop
        try:
            status = Path(utterance.path).stat()
            state = (status.st_size, status.st_mtime_ns)
        except OSError:
            state = (-1, -1)
        digest.update(repr((*astuple(utterance), state)).encode())
    return count, digest.hexdigest()
