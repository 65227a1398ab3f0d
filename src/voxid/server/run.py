"""Start the service: refuse what is not safe, then listen."""

from __future__ import annotations

import json
import logging
import os
import socket
import ssl
import sys
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING

from voxid import stores
from voxid.audio.front import speech_meter
from voxid.errors import BadConfig, NotWritable
from voxid.server.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

HANDED = "VOXID_SERVE_SETTINGS_OF_WORKERS"  # settings, as JSON, for the processes of a service with several
SWITCH_S = 0.0005  # a thread that computes lets go of Python's lock so soon: requests do not wait for 5 ms
METRICS = "PROMETHEUS_MULTIPROC_DIR"


def check(settings: Settings) -> None:
    """Raise BadConfig for a service that anybody could listen to, or use; MissingExtra without its `vad`."""
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise BadConfig("TLS needs both files: --tls-cert CERT.pem --tls-key KEY.pem.")
    if settings.tls_cert and settings.tls_key:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                settings.tls_cert, settings.tls_key
            )
        except (OSError, ssl.SSLError) as error:
            raise BadConfig(
                f"the certificate in {settings.tls_cert} and the key in {settings.tls_key} cannot be used "
                f"({error}). Give PEM files that belong together."
            ) from None
    public = not settings.loopback
    if public and not settings.tls_cert and not settings.proxy:
        raise BadConfig(
            f"{settings.host} can be reached from other machines, and without TLS anybody on the way can "
            "listen. Give --tls-cert and --tls-key; or say --proxy if a proxy in front does TLS; or listen "
            "on 127.0.0.1."
        )
    if (public or settings.proxy) and settings.keys is False:
        raise BadConfig(
            f"{settings.host} can be reached from other machines, so keys are needed. Leave --no-keys out."
        )
    speech_meter(settings.vad)  # a wrong name, or a missing extra, is told here
    with stores.open(settings.db) as store:
        if settings.keyed and all(key.revoked is not None for key in store.api_keys()):
            raise BadConfig(
                f"requests need a key, and {store.url} holds none. Make one first: voxid keys create NAME "
                f"--scope admin --db {store.url}"
            )


def serve(settings: Settings, say: Callable[[str], None] = lambda text: None) -> None:
    """Run the service until it is stopped (Ctrl-C, SIGTERM); it finishes what it accepted.

    Raise BadConfig for what is not safe, and as `voxid.stores.open` does.
    """
    import uvicorn

    check(settings)
    listening = _listen(settings)
    settings = settings.model_copy(update={"port": listening.getsockname()[1]})
    scheme = "https" if settings.tls_cert else "http"
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    say(f"voxid is at {scheme}://{shown}:{settings.port} (people in {settings.db}). Ctrl-C stops it.")
    os.environ[HANDED] = json.dumps(settings.model_dump(mode="json"))
    config = uvicorn.Config(
        "voxid.server.run:app_of_environment",
        factory=True,
        workers=settings.workers,
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=settings.proxy,
        forwarded_allow_ips=os.environ.get("FORWARDED_ALLOW_IPS", "*"),  # they only say that it was https
        timeout_keep_alive=30,
        timeout_graceful_shutdown=round(settings.shutdown_s),
        timeout_worker_healthcheck=30,  # a busy machine is no dead process
        ws_max_size=1 << 20,
        ws_max_queue=8,
        backlog=1024,
    )
    if settings.workers == 1:
        uvicorn.Server(config).run(sockets=[listening])
        return
    from uvicorn.supervisors import Multiprocess

    with tempfile.TemporaryDirectory(prefix="voxid-metrics-") as counted:
        os.environ.setdefault(METRICS, counted)
        Multiprocess(config, [listening]).run()


def app_of_environment() -> FastAPI:
    """Return the application by the settings that `serve` handed on."""
    settings = Settings.parse(json.loads(os.environ[HANDED]), where="serve")
    logging.basicConfig(stream=sys.stderr, level=settings.log.upper(), format="%(message)s", force=True)
    for name in ("uvicorn", "uvicorn.error", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    sys.setswitchinterval(SWITCH_S)
    from voxid.server.app import create_app

    return create_app(settings)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # with the protocol named, asyncio sends small answers at once; else they wait 40 ms for each other
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise NotWritable(
            f"cannot listen on {settings.host} port {settings.port} ({error.strerror}). Is another service "
            "there? Give another --port; 0 takes a free one."
        ) from None
    listening.set_inheritable(True)
    return listening
