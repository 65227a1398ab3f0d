"""Unpack an archive a stranger made: everything lands inside one folder, or nothing does."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

from voxid.errors import BadArchive, DiskFull
from voxid.files import output_error


def unpack(
    archive: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Unpack a .tar.gz or a .zip into the new folder `folder` and return it.

    Only plain files and folders are written, with this user's usual permissions. A member with an absolute
    name, a `..`, a link, a device or a pipe is refused, and `folder` is removed again, as on any other error
    and on Ctrl-C. `progress` gets the compressed bytes read so far and their total.

    Raise BadArchive (damaged, neither of the two), NotWritable, DiskFull or OutputError.
    """
    source, target = Path(archive), Path(folder)
    try:
        target.mkdir(parents=True)
    except OSError as error:
        raise output_error(error, target) from error
    try:
        report = progress or (lambda done, total: None)
        (_unzip_into if _is_zip(source) else _untar_into)(source, target, report)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return target


def _is_zip(source: Path) -> bool:
    with source.open("rb") as file:
        return file.read(2) == b"PK"


def _untar_into(source: Path, target: Path, progress: Callable[[int, int], None]) -> None:
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


def _unzip_into(source: Path, target: Path, progress: Callable[[int, int], None]) -> None:
    """Unpack a zip; its own list says beforehand what it holds, so an unsafe one writes nothing at all."""
    size, done = source.stat().st_size, 0
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
            names = [_safe_zip_name(member, source) for member in members]
            needed, free = sum(member.file_size for member in members), shutil.disk_usage(target).free
            if needed > free:
                raise DiskFull(
                    f"{source.name} holds {needed / 1e9:,.1f} GB, and {target.parent} has "
                    f"{free / 1e9:,.1f} GB free. Free some space, or choose another folder."
                )
            for member, name in zip(members, names, strict=True):
                if member.is_dir():
                    _make_folder(target / name)
                else:
                    _make_folder((target / name).parent)
                    with archive.open(member) as content:
                        _write(content, target / name)
                done += member.compress_size
                progress(min(done, size), size)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadArchive(
            f"{source} cannot be unpacked: {error}. Expected a whole .zip. Delete it and download it again."
        ) from error


def _safe_name(member: tarfile.TarInfo, source: Path) -> PurePosixPath:
    """Return the member's path inside the folder; raise BadArchive when it is not one."""
    flaw = _flaw(member.name)
    if flaw is None and (member.issym() or member.islnk()):
        flaw = f"a link to {member.linkname!r}"
    elif flaw is None and not (member.isreg() or member.isdir()):
        flaw = "a device or a pipe"
    return _checked(member.name, flaw, source)


def _safe_zip_name(member: zipfile.ZipInfo, source: Path) -> PurePosixPath:
    """Return the member's path inside the folder; raise BadArchive when it is not one."""
    flaw, mode = _flaw(member.orig_filename), stat.S_IFMT(member.external_attr >> 16)
    if flaw is None and mode == stat.S_IFLNK:
        flaw = "a link"
    elif flaw is None and mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        flaw = "a device or a pipe"
    return _checked(member.orig_filename, flaw, source)


def _flaw(name: str) -> str | None:
    """Return what is wrong with a member's name, None if nothing is."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        return "a name that leads outside the folder"
    if "\\" in name or "\0" in name or re.match("[A-Za-z]:", name):
        return "a name that means another place on some systems"
    return None


def _checked(name: str, flaw: str | None, source: Path) -> PurePosixPath:
    if flaw:
        raise BadArchive(
            f"{source} holds {name!r}, {flaw}. Allowed are plain files and folders inside it. "
            "Nothing was unpacked. Do not trust where it came from."
        )
    return PurePosixPath(name)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, path) from error


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    """Write one plain file of a tar."""
    content = tar.extractfile(member)
    assert content is not None, "plain files have content"
    _write(content, path)


def _write(content: IO[bytes], path: Path) -> None:
    """Write a member; errors of reading stay what they are, errors of writing become OutputErrors."""
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
