"""`voxid serve` and `voxid keys`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from voxid.cli import _complete
from voxid.cli._common import JsonFlag, echo, emit, some
from voxid.cli.people import DB, DbOption

ACTIONS = {"create": "NAME", "list": "", "revoke": "ID"}


def serve(
    host: Annotated[
        str | None, typer.Option("--host", help="The address to listen on. Default: 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", help="The port. Default: 8000; 0 takes a free one.")
    ] = None,
    db: Annotated[
        str | None,
        typer.Option("--db", envvar="VOXID_DB", help="Where people are kept: a file, or an address."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="A model that comes with voxid, or a calibrated model folder.",
            autocompletion=_complete.models,
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="Where to compute: cpu, cuda, mps, or auto. Default: cpu.")
    ] = None,
    vad: Annotated[
        str | None, typer.Option("--vad", help="What finds speech: energy, or silero. Default: energy.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="How many processes answer. Default: 1.")
    ] = None,
    tls_cert: Annotated[str | None, typer.Option("--tls-cert", help="The certificate, PEM.")] = None,
    tls_key: Annotated[str | None, typer.Option("--tls-key", help="Its private key, PEM.")] = None,
    proxy: Annotated[bool | None, typer.Option("--proxy", help="A proxy in front does TLS.")] = None,
    keys: Annotated[
        bool | None,
        typer.Option(
            "--keys/--no-keys", help="Whether requests need a key. Default: yes, but not on 127.0.0.1."
        ),
    ] = None,
    far: Annotated[float | None, typer.Option("--far", help="The false-alarm rate to decide by.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A TOML file of settings.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any other setting: --set queue_s=60.")
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print all settings as TOML, and stop.")
    ] = False,
) -> None:
    """Serve a page and an HTTP API: enroll, verify, identify. Ctrl-C stops it.

    Settings come from options, else the environment (VOXID_SERVE_PORT), else the file. On an address that
    other machines reach it needs keys (`voxid keys create`) and TLS. Needs the extra `serve`.

    Example: `voxid serve --db people.db`
    """
    from voxid.server.run import serve as run
    from voxid.server.settings import as_toml, read_settings

    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "db": db,
        "model": model,
        "device": device,
        "vad": vad,
        "workers": workers,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "proxy": proxy,
        "keys": keys,
        "far": far,
    }
    for pair in set_ or []:
        name, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"--set takes NAME=VALUE; got {pair!r}.")
        given[name.strip()] = value.strip()
    settings = read_settings(given, config)
    if print_config:
        echo(as_toml(settings))
        return
    run(settings, lambda text: echo(text, err=True))


def keys(
    action: Annotated[str, typer.Argument(help=" | ".join(ACTIONS))] = "list",
    words: Annotated[
        list[str] | None, typer.Argument(help="The name or the id that the action needs.")
    ] = None,
    scope: Annotated[str, typer.Option("--scope", help="create: read, enroll or admin.")] = "read",
    collection: Annotated[
        str, typer.Option("--collection", help="create: the one collection it is for. Default: all.")
    ] = "",
    db: DbOption = DB,
    json: JsonFlag = False,
) -> None:
    """Make, list and revoke the keys of a service.

    `create NAME` (the key is shown only once) · `list` · `revoke ID`. `read` may ask, `enroll` may add
    recordings too, `admin` may do everything.

    Example: `voxid keys create door --scope read --collection staff --db people.db`
    """
    given = words or []
    if action not in ACTIONS or len(given) != len(ACTIONS[action].split()):
        raise typer.BadParameter(
            "give one of: voxid keys create NAME, voxid keys list, voxid keys revoke ID."
        )
    from voxid import stores
    from voxid.server.keys import make_key

    with stores.open(db) as store:
        if action == "create":
            shown, kept = make_key(store, given[0], scope, collection)
            answer = {"key": shown, **_row(kept)}
            lines = [shown, "keep it: it is not shown again"]
        elif action == "revoke":
            answer = _row(store.revoke_key(given[0]))
            lines = [f"{answer['name']!r} ({answer['id']}) is revoked"]
        else:
            rows = [_row(key) for key in store.api_keys()]
            answer = {"keys": rows}
            lines = [
                f"{row['id']}  {row['name']!r}: {row['scope']}, {row['collection'] or 'every collection'}, "
                f"since {row['created']:%Y-%m-%d}{', revoked' if row['revoked'] else ''}"
                for row in rows
            ] or ["no keys"]
    emit(answer, json, lambda: echo("\n".join(lines)))


def _row(key: Any) -> dict[str, Any]:
    return some(key, "id", "name", "scope", "collection", "created", "revoked")
