"""Write files so that they are whole or not there at all."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from voxid.errors import DiskFull, NotWritable, OutputError

TRIES, PAUSE_S = 5, 0.2  # of a read from elsewhere; the pause doubles each time


def user_cache() -> Path:
    """Return the folder for what can be made again: $VOXID_CACHE, else ~/.cache/voxid."""
    return Path(os.environ.get("VOXID_CACHE") or Path.home() / ".cache" / "voxid")


def place_id(path: str | os.PathLike[str]) -> str:
    """Return a short digest of where `path` is: tells whether two paths are one, and nothing else.

    >>> place_id("corpora/../corpora/train") == place_id("corpora/train")
    True
    """
    return hashlib.sha256(os.path.realpath(Path(path).expanduser()).encode()).hexdigest()[:16]


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb", *, private: bool = False) -> Iterator[IO]:
    """Yield a file that replaces `path` when the block ends well; otherwise `path` stays as it was.

    The bytes are on the disk before the name changes, so neither a crash nor a full disk costs the old file.
    What is no file (a pipe, /dev/stdout, /dev/null) is written into, never replaced. `private`: the file is
    for its owner alone (mode 600). Raise DiskFull, NotWritable or OutputError.
    """
    target = Path(path)
    if target.exists() and not target.is_file() and not target.is_dir():
        with _into(target, mode) as file:
            yield file
        return
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        allowed = 0o600 if private else 0o666
        with open(
            partial,
            mode,
            encoding=None if "b" in mode else "utf-8",
            opener=lambda name, flags: os.open(name, flags, allowed),
        ) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        raise output_error(error, target) from error
    finally:
        with suppress(OSError):
            partial.unlink()


@contextmanager
def _into(device: Path, mode: str) -> Iterator[IO]:
    """Yield a pipe or a device, opened for writing."""
    try:
        with open(device, mode, encoding=None if "b" in mode else "utf-8") as file:  # noqa: PTH123
            yield file
    except BrokenPipeError:
        raise  # whoever read it has enough: no error, and the command line ends quietly
    except OSError as error:
        raise output_error(error, device) from error


def output_error(error: OSError, path: str | os.PathLike[str]) -> OutputError:
    """Return the OutputError that says what `error` means for a user who wanted `path` written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFull(
            f"no room to write {path} ({error.strerror}). What was there before is untouched. "
            "Free some space, or choose another folder."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
        return NotWritable(f"cannot write {path} ({error.strerror}). Choose a folder you may write to.")
    return OutputError(f"cannot write {path}: {error.strerror or error}.")


def fetched(url: str | os.PathLike[str], start: int = 0, end: int | None = None) -> bytes:
    """Return bytes `start` to `end` of a file on disk or at an address that fsspec reads (s3://..., gs://...).

    A read that times out, is refused (503) or comes back short is tried again, after ever longer pauses.
    Raise the OSError of the last try; a file that is not there is not asked for twice.
    """
    import fsspec

    files, path = fsspec.core.url_to_fs(os.fspath(url))
    for attempt in range(TRIES):
        try:
            content = files.cat_file(path, start=start, end=end)
            if end is not None and len(content) != end - start:
                raise OSError(errno.EIO, f"got {len(content)} bytes of {end - start}", os.fspath(url))
            return content
        except (FileNotFoundError, PermissionError):
            raise
        except Exception as error:  # every file system of fsspec has its own
            if attempt + 1 == TRIES:
                raise OSError(errno.EIO, f"{type(error).__name__}: {error}", os.fspath(url)) from error
            time.sleep(PAUSE_S * 2**attempt)
    raise AssertionError
