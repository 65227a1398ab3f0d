"""Fetch one large file over HTTP so that a broken connection, or a Ctrl-C, costs nothing already received.

Bytes gather in `NAME.partial`; beside it `NAME.partial.etag` keeps what the server calls this version of the
file (RFC 9110: a strong ETag), so that halves of two versions are never joined.
"""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from voxid import __version__
from voxid.errors import DownloadError, printable
from voxid.files import output_error

BLOCK = 1 << 18  # bytes read at a time: short enough for a lively progress bar
TIMEOUT_S = 20.0  # of silence before a connection counts as dropped
WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0)  # pauses before trying again; any new byte starts the list afresh
UNKNOWN_MOST = 4 << 30  # bytes of a file whose size nobody published: beyond them it is not what it should be
NOT_WORTH_REPEATING = {400, 401, 403, 404, 405, 410, 451}  # HTTP statuses another try does not change


class _Dropped(Exception):
    """The connection broke, or the server was busy: worth another try."""


class _Unreachable(_Dropped):
    """No connection came about: no network, no such host, nobody listening."""


class _Refused(Exception):
    """This address does not have the file, or has another one."""


def fetch(
    urls: tuple[str, ...],
    path: Path,
    size: int | None,
    progress: Callable[[int, int], None] | None = None,
    waits_s: tuple[float, ...] = WAITS_S,
) -> None:
    """Bring the `size` bytes at one of `urls` into `path`, going on from what is there already.

    With a size of None the server says how long the file is, or that it has come to its end.
    A dropped connection is tried again after each of `waits_s`; an address that does not have the file, or
    cannot be reached, gives way to the next. What arrived stays in `path`, also on an error and on Ctrl-C.
    The bytes are not verified here. `progress` gets the bytes there and the size, 0 while nobody knows it.

    Raise DownloadError, NotWritable, DiskFull or OutputError.
    """
    report = progress or (lambda done, total: None)
    complaints: list[str] = []
    for url in urls:
        try:
            _fetch_from(url, path, size, report, waits_s)
        except _Refused as refusal:
            complaints.append(str(refusal))
        else:
            return
    have = _length(path)
    kept = f" The {have} bytes that arrived are kept in {path}." if have else ""
    raise DownloadError(
        f"could not download {path.name.removesuffix('.partial')}: {'; '.join(complaints)}.{kept} "
        "Check the network, name another mirror (us, eu, cn, a URL, or a folder that holds the archives), "
        "and run the same command again: it goes on from there."
    )


def forget(path: Path) -> None:
    """Delete a partial file and what is known about it."""
    for gone in (path, _etag_file(path)):
        with suppress(FileNotFoundError):
            gone.unlink()


def _fetch_from(
    url: str, path: Path, size: int | None, report: Callable[[int, int], None], waits_s: tuple[float, ...]
) -> None:
    """Fetch from one address until the file is whole; raise _Refused when that cannot be."""
    failures, answered = 0, False
    if size is not None and _length(path) > size:
        forget(path)
    while size is None or _length(path) < size:
        have = _length(path)
        try:
            size = _one_request(url, path, size, report)
        except _Dropped as drop:
            if isinstance(drop, _Unreachable) and not answered:  # without a network, say so at once
                raise _Refused(f"{url}: {drop}") from drop
            answered = True
            failures = 1 if _length(path) > have else failures + 1
            if failures > len(waits_s):
                raise _Refused(f"{url}: {drop}, {failures} times in a row") from drop
            time.sleep(waits_s[failures - 1])
    report(size, size)


def _one_request(url: str, path: Path, size: int | None, report: Callable[[int, int], None]) -> int:
    """Ask for what is missing, append what comes, return how long the whole file is.

    Raise _Dropped or _Refused.
    """
    have = _length(path)
    headers = {"User-Agent": f"voxid/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if etag := _read_etag(path, url):
            headers["If-Range"] = etag  # another version of the file comes whole instead, as a 200
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            if size is None and error.headers.get("Content-Range", "") == f"bytes */{have}":
                return have  # nothing is missing
            forget(path)  # the file ends before what we have: ours is not the start of it
            raise _Dropped("the server has a shorter file than was begun") from error
        kind = _Refused if error.code in NOT_WORTH_REPEATING else _Dropped
        place = f"{url}: " if kind is _Refused else ""
        raise kind(f"{place}the server answered {error.code} {printable(str(error.reason))}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Unreachable(f"no connection ({printable(str(getattr(error, 'reason', error)))})") from error
    except ValueError as error:  # a redirect to what is no address
        raise _Refused(f"{url}: the server's answer cannot be followed ({printable(str(error))})") from error
    with response:
        start = have if response.status == 206 else 0
        total = _check_answer(response, url, start, size)
        return _append(response, url, path, start, total, report)


def _check_answer(response: http.client.HTTPResponse, url: str, start: int, size: int | None) -> int | None:
    """Return how long the file is, None if its end will tell.

    Raise _Refused when the server speaks of a file that cannot be the published one.
    """
    if response.status == 206:
        given = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", given)
        if not match or int(match[1]) != start:
            raise _Refused(f"{url}: asked for bytes from {start} on, got {given!r}")
        total = size if match[2] == "*" else int(match[2])
    else:
        length = response.headers.get("Content-Length") or ""
        if length and not re.fullmatch(r"\d{1,18}", length):
            raise _Refused(
                f"{url}: the server says the file has {length[:40]!r} bytes, which is not a number"
            )
        total = int(length) if length else None  # a file has a length; a web page may not
    if size is None:
        kind = response.headers.get_content_type()
        if kind == "text/html":
            raise _Refused(f"{url}: expected an archive, got a web page (the log-in page of a network?)")
        if total is not None and total > UNKNOWN_MOST:
            raise _Refused(f"{url}: a file of {total} bytes, more than the {UNKNOWN_MOST} it may have")
    elif total != size:
        got = "a page of no stated length" if total is None else f"{total} bytes"
        raise _Refused(
            f"{url}: expected a file of {size} bytes, got {got} "
            "(another version, or the log-in page of a network)"
        )
    return total


def _append(
    response: http.client.HTTPResponse,
    url: str,
    path: Path,
    start: int,
    size: int | None,
    report: Callable[[int, int], None],
) -> int:
    """Append the body to `path`, return how long the file is now; raise _Dropped when that is too short."""
    try:
        with path.open("ab" if start else "wb") as file:
            _write_etag(path, url, response.headers.get("ETag", ""))
            done = start
            report(done, size or 0)
            most = UNKNOWN_MOST if size is None else size
            while done < most and (block := _read(response)):
                file.write(block[: most - done])
                done += len(block)
                report(min(done, most), size or 0)
    except OSError as error:
        raise output_error(error, path) from error
    if size is None and done >= UNKNOWN_MOST:
        forget(path)
        raise _Refused(f"{url}: a file without an end; what arrived, {UNKNOWN_MOST} bytes, is deleted")
    if size is not None and done < size:
        raise _Dropped(f"the connection ended after {done} of {size} bytes")
    return done if size is None else size


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(BLOCK)
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: the size of a chunk
        raise _Dropped(f"the connection broke ({error})") from error


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise output_error(error, path) from error


def _etag_file(path: Path) -> Path:
    return path.with_name(path.name + ".etag")


def _write_etag(path: Path, url: str, etag: str) -> None:
    strong = etag if etag.startswith('"') else ""  # a weak one (W/"...") may not guard a range
    _etag_file(path).write_text(f"{url}\n{strong}\n", encoding="utf-8")


def _read_etag(path: Path, url: str) -> str:
    """Return the ETag under which `url` gave the partial file, or "": other mirrors have other ones."""
    try:
        of_url, etag = _etag_file(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return ""
    return etag if of_url == url else ""
