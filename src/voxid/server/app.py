"""The application: who may ask, what is around every request, health, metrics and the page."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import voxid
from voxid.errors import VoxidError
from voxid.server import metrics
from voxid.server.answers import HealthOut
from voxid.server.live import live
from voxid.server.openapi import described
from voxid.server.problems import Refusal, problem, remedy_of
from voxid.server.routes import administration, people, questions
from voxid.server.routes.shared import PROBLEMS, SLASH
from voxid.server.service import Service
from voxid.server.settings import Settings

PAGE = Path(__file__).parent / "page"
LOCAL = {"localhost", "127.0.0.1", "::1", "[::1]"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
CODES = {
    404: "NotFound",
    405: "MethodNotAllowed",
    408: "BodyTooSlow",
    413: "BodyTooLarge",
    429: "TooManyBytes",
}
log = logging.getLogger("voxid.serve")


def create_app(settings: Settings) -> FastAPI:
    """Return the application; its lifespan opens the store, and loads the model meanwhile."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = app.state.service = Service(settings)
        loading = asyncio.create_task(service.thread(service.start))
        loading.add_done_callback(_told)
        yield
        await asyncio.wait([loading])
        await service.stop()

    app = FastAPI(
        title="voxid",
        version=voxid.__version__,
        summary="Who is speaking: enroll people, verify and identify them.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.openapi = lambda: described(app)  # type: ignore[method-assign]
    for part in (questions, people, administration):
        app.include_router(part.router)
    app.add_api_websocket_route("/v1/collections/{collection}/live", live)
    _errors(app)
    _own(app, settings)
    app.add_middleware(Around, settings=settings)
    return app


def _told(loading: asyncio.Task[None]) -> None:
    if not loading.cancelled() and (error := loading.exception()) is not None:
        log.critical("the service cannot start: %s", str(error) or type(error).__name__)
        os.kill(os.getpid(), signal.SIGTERM)


def _own(app: FastAPI, settings: Settings) -> None:
    """Add what is not of the library: health, metrics, the page."""

    @app.get("/health/live", tags=["health"], response_model=HealthOut, summary="Whether the process answers")
    async def alive() -> dict[str, str]:
        return {"status": "alive"}

    @app.get(
        "/health/ready",
        tags=["health"],
        response_model=HealthOut,
        summary="Whether it can decide",
        responses={503: PROBLEMS[503]},
    )
    async def ready(request: Request) -> Response:
        try:
            request.app.state.service.need_ready()
        except Refusal as refusal:
            return problem(refusal)
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", tags=["health"], summary="What Prometheus reads", response_class=PlainTextResponse)
    async def counted(request: Request) -> Response:
        return Response(metrics.exposition(settings.workers > 1), media_type="text/plain; version=0.0.4")

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(PAGE / "index.html")

    app.mount("/page", StaticFiles(directory=PAGE))


def _errors(app: FastAPI) -> None:
    """Let every error become a problem document."""

    def id_of(request: Request) -> str:
        return request.scope.get("request_id", "")

    @app.exception_handler(VoxidError)
    async def of_library(request: Request, error: VoxidError) -> Response:
        return remedy_of(error, id_of(request))

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        return problem(error, id_of(request))

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> Response:
        code = CODES.get(error.status_code, "BadRequest")
        said = {
            404: "there is nothing at this address. /openapi.json lists all.",
            405: "this address takes another method. /openapi.json lists all.",
        }.get(error.status_code, str(error.detail))
        answer = problem(Refusal(error.status_code, code, said), id_of(request))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = f"{where}: {first['msg']}; got {first.get('input')!r:.80}."
        return problem(Refusal(400, "BadRequest", said), id_of(request))

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=499)


class Exchange:
    """A request on its way in, its answer on the way out, and what is counted and logged of both."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, settings: Settings) -> None:
        self._scope, self._receive, self._send, self._settings = scope, receive, send, settings
        self._began, self._status = perf_counter(), 500
        self._size, self._whole = 0, False
        self._latest = asyncio.get_running_loop().time() + settings.body_s

    async def received(self) -> Message:
        """Return the next part of the body, JSON too, which FastAPI reads before it asks for a key.

        Raise HTTPException for a body that comes too slowly or is too large, since FastAPI takes others for
        a body that it cannot parse.
        """
        try:
            async with asyncio.timeout_at(None if self._whole else self._latest):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(
                408, f"the body did not arrive within {self._settings.body_s:g} s. Send it again."
            ) from None
        size, service = len(message.get("body", b"")), self._scope["app"].state.service
        self._size += size
        service.held_bytes += size
        self._whole = not message.get("more_body", False)
        if self._size > self._settings.body_mb * 1e6:
            raise HTTPException(413, too_large(self._settings).detail)
        if service.held_bytes > self._settings.bodies_mb * 1e6:
            full = "other requests fill the memory for recordings. Try again."
            raise HTTPException(429, full, {"Retry-After": "1"})
        return message

    async def sent(self, message: Message) -> None:
        """Send a part of the answer, the first with our headers where it has none of their names."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            own = {**HEADERS, "X-Request-Id": self._scope["request_id"]}
            if self._scope["scheme"] == "https":
                own["Strict-Transport-Security"] = "max-age=31536000"
            there = {key.lower() for key, _ in message["headers"]}
            added = [(key.lower().encode(), value.encode()) for key, value in own.items()]
            message["headers"] = [*message["headers"], *(pair for pair in added if pair[0] not in there)]
        await self._send(message)

    async def failed(self) -> None:
        """Answer what nobody foresaw, if no answer has begun."""
        if self._status == 500:
            said = "an error of the service; its log says more."
            answer = problem(Refusal(500, "ServiceError", said), self._scope["request_id"])
            await answer(self._scope, self.received, self.sent)

    def told(self, *, refused: bool) -> None:
        """Count the request, and write its line into the log."""
        scope, took = self._scope, perf_counter() - self._began
        service = scope["app"].state.service
        service.held_bytes -= self._size
        service.leave(scope, self._status < 400)
        route = getattr(scope.get("route"), "path", "refused at the door" if refused else "none")
        metrics.REQUESTS.labels(route, scope["method"], str(self._status)).inc()
        metrics.TIME.labels(route).observe(took)
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "request": scope["request_id"],
            "method": scope["method"],
            "route": route,  # names of people are in paths, and stay out of the log
            "status": self._status,
            "ms": round(took * 1000, 1),
            "key": scope.get("caller", ""),
        }
        log.log(logging.DEBUG if route.startswith("/health") else logging.INFO, "%s", json.dumps(line))


class Around:
    """What is around every request: its id, its path, the headers of the answer, counting, the log."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._hosts = {*LOCAL, settings.host, f"[{settings.host}]", *settings.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = {key.decode("latin1"): value.decode("latin1") for key, value in scope["headers"]}
        raw = scope.get("raw_path") or scope["path"].encode()
        scope["path"] = "/".join(
            unquote(part, errors="replace").replace("/", SLASH) for part in raw.decode("latin1").split("/")
        )
        scope["request_id"] = uuid4().hex[:16]
        refusal = self._foreign(scope, headers) or self._full(scope, headers)
        if scope["type"] == "websocket":
            if refusal is None:
                await self._app(scope, receive, send)
                return
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.code})
            return
        exchange = Exchange(scope, receive, send, self._settings)
        try:
            if refusal is None:
                await self._app(scope, exchange.received, exchange.sent)
            else:
                await problem(refusal, scope["request_id"])(scope, receive, exchange.sent)
        except Exception:
            log.exception("request %s failed", scope["request_id"])
            await exchange.failed()
        finally:
            exchange.told(refused=refusal is not None)

    def _foreign(self, scope: Scope, headers: dict[str, str]) -> Refusal | None:
        """Return why a request is none of ours: a page of another site may not use a service without keys."""
        origin = headers.get("origin")
        host = headers.get("host", "")
        changes = scope.get("method", "GET") != "GET"
        crosses = headers.get("sec-fetch-site") == "cross-site" and changes
        if crosses or (origin is not None and urlsplit(origin).netloc != host):
            return Refusal(403, "OtherOrigin", "pages of other sites may not use this service.")
        name = urlsplit(f"//{host}").hostname or ""
        if not self._settings.keyed and name not in self._hosts and f"[{name}]" not in self._hosts:
            return Refusal(
                421,
                "OtherHost",
                f"{host!r:.100} is not a name of this service. Start it with --hosts NAME if it should be.",
            )
        return None

    def _full(self, scope: Scope, headers: dict[str, str]) -> Refusal | None:
        """Return why a request is refused by its size alone, before a byte of its body is read."""
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self._settings.body_mb * 1e6:
            return too_large(self._settings)
        if headers.get("content-type", "application/json").startswith("application/json"):
            return None  # it brings no recording
        service = scope["app"].state.service
        try:
            service.queue.check(service.promised_s(scope))
        except Refusal as full:
            return full
        return None


def too_large(settings: Settings) -> Refusal:
    """Return the refusal of a body that is too large."""
    most = f"a request brings at most {settings.body_mb:g} MB. Send fewer recordings, or FLAC or Opus."
    return Refusal(413, "BodyTooLarge", most)
