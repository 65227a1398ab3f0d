"""What routes share: who asks, how it is to be decided, names from the path, how OpenAPI shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AfterValidator

from voxid.server.keys import Caller
from voxid.server.problems import MEDIA_TYPE, TITLES
from voxid.server.service import Service
from voxid.stores import acting

SLASH = "\udc2f"  # stands for %2F in a path: half a character, which no name holds
MOST_PAGE = 1_000
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": said,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, said in TITLES.items()
    if status != 405  # of addresses that OpenAPI does not list
}


def audio(*fields: str, several: bool = False) -> dict[str, Any]:
    """Return how OpenAPI describes a body of recordings."""
    one = {"type": "string", "format": "binary"}
    parts = {name: {"type": "array", "items": one} if several else one for name in fields}
    schema = {"type": "object", "properties": parts, "required": list(fields)}
    content: dict[str, Any] = {"multipart/form-data": {"schema": schema}}
    if fields == ("file",):
        content |= {kind: {"schema": one} for kind in ("audio/wav", "audio/flac", "audio/ogg", "audio/mpeg")}
    return {"requestBody": {"required": True, "content": content}}


# Dependencies are coroutines, those that wait for nothing, too: FastAPI calls others in threads.


async def service_of(request: Request) -> Service:
    """Return the service."""
    return request.app.state.service


At = Annotated[Service, Depends(service_of)]
_bearer = HTTPBearer(auto_error=False, description="A key that `voxid keys create` made.")


def needs(scope: str, *, hears: bool = False) -> Any:
    """Return the dependency of a route that needs a key of this scope, for its collection.

    A request that brings recordings (`hears`) takes its place in the queue here, before anything is read.
    """

    async def check(
        request: Request,
        service: At,
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None,
    ) -> Caller:
        caller = await service.caller(given.credentials if given else request.headers.get("x-api-key"))
        request.scope["caller"] = caller.name
        where = request.path_params.get("collection")
        caller.may(scope, where and spelled(where))
        if hears:
            service.enter(request)
        return caller

    return Depends(check)


Reader = Annotated[Caller, needs("read")]
Enroller = Annotated[Caller, needs("enroll")]
Admin = Annotated[Caller, needs("admin")]
ReaderHeard = Annotated[Caller, needs("read", hears=True)]
EnrollerHeard = Annotated[Caller, needs("enroll", hears=True)]
AdminHeard = Annotated[Caller, needs("admin", hears=True)]


async def asked_of(
    prior: Annotated[float | None, Query(description="Probability of 'same speaker' beforehand.")] = None,
    cost_miss: Annotated[float | None, Query(description="What a wrong 'no' costs.")] = None,
    cost_false_alarm: Annotated[float | None, Query(description="What a wrong 'yes' costs.")] = None,
    far: Annotated[float | None, Query(description="In place of costs: the false-alarm rate.")] = None,
) -> dict[str, float | None]:
    """Return how a request wants it decided."""
    return {"prior": prior, "cost_miss": cost_miss, "cost_false_alarm": cost_false_alarm, "far": far}


Rules = Annotated[dict[str, Any], Depends(asked_of)]


def spelled(part: str) -> str:
    """Return a part of the path as it was meant."""
    return part.replace(SLASH, "/")


Channel = Annotated[str | None, Query(description="One channel, counted from 0; or mix.")]
Name = Annotated[str, AfterValidator(spelled)]  # from the path, as `collection` is
Collection = Annotated[str, AfterValidator(spelled)]


async def done_by(
    service: Service, caller: Caller, work: Callable[..., Any], *arguments: Any, **options: Any
) -> Any:
    """Return what work comes to; the audit trail says who did it."""

    def act() -> Any:
        with acting(caller.name):
            return work(*arguments, **options)

    return await service.thread(act)
