"""What others published and `voxid import` takes: where it lies, its terms, bringing it here. No torch."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import Field

from voxid.config import Config
from voxid.corpora.fetch import WAITS_S, fetch, forget
from voxid.corpora.unpack import unpack
from voxid.embed import HUB, hub_folder
from voxid.errors import BadConfig, ChecksumMismatch, UnknownModel, did_you_mean
from voxid.files import output_error

SOURCE_FILE = "source.json"  # beside a download: what the catalogue says of it


class Published(Config):
    """One line of the catalogue.

    >>> entry = available()[0]
    >>> entry.name, entry.kind, entry.checked
    ('wespeaker-resnet34-lm', 'wespeaker', False)
    """

    name: str
    kind: str  # as `voxid import --kind` has it
    network: str
    address: str
    sha256: str = ""  # "": nobody publishes one
    checked: bool = False  # whether we tried address and digest
    licence: str
    forbids: str = ""  # a use that the licence does not allow
    trained_on: str
    language: str
    parameters: float = Field(gt=0)
    eer: float | None = None  # %, on VoxCeleb1-O, as published
    eer_by: str = ""

    @property
    def file(self) -> str:
        """The name of the file at the address."""
        return unquote(Path(urlsplit(self.address).path).name)

    @property
    def megabytes(self) -> float:
        """About how large it is: four bytes a parameter."""
        return 4 * self.parameters / 1e6


@dataclass(frozen=True)
class Downloaded:
    """Where a download lies: a folder for `voxid import`, and the SHA-256 of what came ("" from the Hub).

    >>> Downloaded(Path("resnet34"), "", False).folder.name
    'resnet34'
    """

    folder: Path
    sha256: str
    verified: bool  # against a digest of the catalogue


def available(path: Path | None = None) -> list[Published]:
    """Return the catalogue; raise BadConfig for a file of one's own that is none.

    >>> {entry.kind for entry in available()} >= {"wespeaker", "speechbrain"}
    True
    """
    path = path or Path(__file__).with_name("catalogue.toml")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("model", [])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadConfig(f"{path} is not a catalogue: {error}. It is TOML with [[model]] tables.") from None
    return [Published.parse(table, f"model.{number}") for number, table in enumerate(tables)]


def find(name: str, entries: Sequence[Published] | None = None) -> Published:
    """Return the entry called `name`; raise UnknownModel with the known names.

    >>> find("speechbrain-ecapa").licence
    'Apache-2.0'
    """
    known = {entry.name: entry for entry in (available() if entries is None else entries)}
    if name not in known:
        raise UnknownModel(
            f"no published model {name!r}. Known: {', '.join(known)}.{did_you_mean(name, list(known))} "
            f"A repository of the Hugging Face Hub is named {HUB}owner/name."
        )
    return known[name]


def terms(entry: Published) -> list[str]:
    """Return what is said before anything is downloaded: the licence, and what nobody could check."""
    lines = [f"{entry.name}: licence {entry.licence}; trained on {entry.trained_on}"]
    if entry.forbids:
        lines.append(f"its licence does not allow {entry.forbids}")
    if not entry.checked:
        lines.append("voxid's authors could not try this address; it is the one that its project gives")
    return lines


def download_model(
    entry: Published,
    out: str | os.PathLike[str],
    *,
    accept_licence: bool = False,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] | None = None,
    waits_s: tuple[float, ...] = WAITS_S,
) -> Downloaded:
    """Bring a published model into the folder `out`/NAME; what is there already is left alone.

    A download that broke off goes on where it was. The bytes are held against the catalogue's digest; where
    it has none, `say` gets their SHA-256. Raise BadConfig where the licence forbids a use and
    `accept_licence` is not given; DownloadError, ChecksumMismatch (the bytes are deleted), BadArchive,
    NotWritable or OutputError.

    >>> download_model(find("speechbrain-ecapa"), "models").folder  # doctest: +SKIP
    PosixPath('models/speechbrain-ecapa')
    """
    tell, folder = say or (lambda line: None), Path(out).expanduser() / entry.name
    for line in terms(entry):
        tell(line)
    if entry.forbids and not accept_licence:
        raise BadConfig(
            f"the licence of {entry.name} ({entry.licence}) does not allow {entry.forbids}. If it "
            "allows your use, add --accept-licence."
        )
    if (folder / SOURCE_FILE).is_file():
        tell(f"{entry.name} is already in {folder}: nothing to do")
        kept = json.loads((folder / SOURCE_FILE).read_text(encoding="utf-8"))
        return Downloaded(folder, kept.get("sha256", ""), bool(entry.sha256))
    partial = Path(out).expanduser() / f"{entry.name}.partial"
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, partial.parent) from error
    fetch((entry.address,), partial, None, progress, waits_s)
    with partial.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if entry.sha256 and digest != entry.sha256:
        forget(partial)
        raise ChecksumMismatch(
            f"{entry.address} is not the file that the catalogue knows: its SHA-256 is {digest}, expected "
            f"{entry.sha256}. What arrived is deleted. Try again; if it stays so, its project changed it."
        )
    if not entry.sha256:
        tell(f"nobody publishes a checksum of {entry.file}. Its SHA-256 is {digest}: compare it with others'")
    _put(partial, folder, entry, digest)
    return Downloaded(folder, digest, bool(entry.sha256))


def _put(partial: Path, folder: Path, entry: Published, digest: str) -> None:
    """Put the file, or what is in the archive, into the folder, whole or not at all."""
    staging = folder.with_name(f".unpacking-{entry.name}")
    shutil.rmtree(staging, ignore_errors=True)  # of a run that was killed
    made = staging
    if entry.file.endswith(".zip"):
        unpack(partial, staging)
        inside = [path for path in staging.iterdir() if not path.name.startswith("__MACOSX")]
        if len(inside) == 1 and inside[0].is_dir():  # the archive's one folder is the model's
            made = inside[0]
    else:
        staging.mkdir()
        partial.rename(staging / entry.file)
    said = {**entry.model_dump(mode="json"), "sha256": digest}
    (made / SOURCE_FILE).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)  # without a source.json it is no whole download
    made.rename(folder)
    shutil.rmtree(staging, ignore_errors=True)
    forget(partial)


def download_from_hub(name: str) -> Downloaded:
    """Bring a repository of the Hugging Face Hub, hub:owner/name or hub:owner/name@revision, into its cache.

    `voxid.load("hub:owner/name")` then finds it, if it is a model folder. Raise MissingExtra without
    huggingface_hub; UnknownModel where it does not come.

    >>> download_from_hub("hub:owner/model").folder  # doctest: +SKIP
    """
    return Downloaded(hub_folder(name, fetch=True), "", False)


def as_row(entry: Published) -> dict[str, object]:
    """Return an entry as plain values, for --json.

    >>> as_row(available()[0])["file"]
    'voxceleb_resnet34_LM.zip'
    """
    return {**entry.model_dump(mode="json"), "file": entry.file, "megabytes": round(entry.megabytes, 1)}
