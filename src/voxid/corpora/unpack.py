"""Unpack an archive a stranger made: everything lands inside one folder, or nothing does."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from voxid.errors import BadArchive, UnsafeArchive
from voxid.files import output_error


def unpack(
    archive: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Unpack a .tar.gz into the new folder `folder` and return it.

    Only plain files and folders are written, with this user's usual permissions. A member with an absolute
    name, a `..`, a link, a device or a pipe is refused, and `folder` is removed again, as on any other error
    and on Ctrl-C. `progress` gets the compressed bytes read so far and their total.

    Raise UnsafeArchive, BadArchive (damaged, not a .tar.gz), NotWritable, DiskFull or OutputError.
    """
    source, target = Path(archive), Path(folder)
    try:
        target.mkdir(parents=True)
    except OSError as error:
        raise output_error(error, target) from error
    try:
        _unpack_into(source, target, progress or (lambda done, total: None))
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return target


def _unpack_into(source: Path, target: Path, progress: Callable[[int, int], None]) -> None:
    size = source.stat().st_size
    try:
        with source.open("rb") as file, gzip.open(file) as plain:
            with tarfile.open(fileobj=plain, mode="r|") as tar:
                while member := tar.next():
                    tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue] -- or it grows
                    path = target / _safe_name(member, source)
                    if member.isdir():
                        _make_folder(path)
                    else:
                        _make_folder(path.parent)
                        _write_member(tar, member, path)
                    progress(file.tell(), size)
            while plain.read(1 << 20):  # tarfile stops before the end, where gzip keeps its checksum
                pass
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise BadArchive(
            f"{source} cannot be unpacked: {error}. Expected a whole .tar.gz. "
            "Delete it and download it again."
        ) from error


def _safe_name(member: tarfile.TarInfo, source: Path) -> PurePosixPath:
    """Return the member's path inside the folder; raise UnsafeArchive when it is not one."""
    name = PurePosixPath(member.name)
    flaw = None
    if name.is_absolute() or ".." in name.parts:
        flaw = "a name that leads outside the folder"
    elif "\\" in member.name or re.match("[A-Za-z]:", member.name):
        flaw = "a name that means another place on some systems"
    elif member.issym() or member.islnk():
        flaw = f"a link to {member.linkname!r}"
    elif not (member.isreg() or member.isdir()):
        flaw = "a device or a pipe"
    if flaw:
        raise UnsafeArchive(
            f"{source} holds {member.name!r}, {flaw}. Allowed are plain files and folders inside it. "
            "Nothing was unpacked. Do not trust where it came from."
        )
    return name


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, path) from error


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    """Write one plain file; errors of reading stay what they are, errors of writing become OutputErrors."""
    content = tar.extractfile(member)
    assert content is not None, "plain files have content"
    try:
        file = path.open("wb")
    except OSError as error:
        raise output_error(error, path) from error
    with file:
        while block := content.read(1 << 20):
            try:
                file.write(block)
            except OSError as error:
                raise output_error(error, path) from error
