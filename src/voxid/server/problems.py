"""Errors as problem documents (RFC 9457), with the library's codes and remedies."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse

from voxid import errors
from voxid.errors import VoxidError

MEDIA_TYPE = "application/problem+json"
ABOUT = "urn:voxid:problem:"

# the first class of an error's ancestors that is in the table decides
STATUS: dict[type[VoxidError], int] = {
    errors.AudioError: 422,
    errors.AudioUndecodable: 415,
    errors.BadConfig: 400,
    errors.BadName: 400,
    errors.BadScores: 400,  # a false-alarm rate that the calibration does not support
    errors.BadCohort: 422,
    errors.PersonNotFound: 404,
    errors.VoiceprintNotFound: 404,
    errors.PersonExists: 409,
    errors.OptedOut: 409,
    errors.ModelMismatch: 409,
    errors.NotCalibrated: 409,
    errors.StoreBusy: 503,
    errors.StoreUnavailable: 503,
    errors.StoreDamaged: 500,
    errors.NotWritable: 503,
    errors.DiskFull: 507,
    errors.StoreError: 400,
}
TITLES = {
    400: "The request cannot be answered as it is",
    401: "A key is needed",
    403: "This key may not do that",
    404: "Not there",
    405: "Not a method of this address",
    408: "The request took too long to arrive",
    409: "In conflict with what is there",
    413: "Too large",
    415: "Not audio that can be read",
    421: "Not a name of this service",
    422: "The recording cannot be used",
    429: "Too much at once",
    500: "An error of the service",
    503: "Not ready",
    504: "Not answered in time",
    507: "No space left",
}


class Refusal(Exception):
    """A request that is refused before the library is asked; `code` is what programs look for."""

    def __init__(
        self, status: int, code: str, detail: str, *, retry_s: float | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.retry_s, self.more = status, code, detail, retry_s, more


def problem(refusal: Refusal, request_id: str = "") -> JSONResponse:
    """Return the problem document of a refusal."""
    status, retry_s = refusal.status, refusal.retry_s
    headers = {} if retry_s is None else {"Retry-After": str(max(1, round(retry_s + 0.49)))}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    content = {
        "type": ABOUT + refusal.code,
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": refusal.detail,
        "code": refusal.code,
        **({"instance": f"urn:voxid:request:{request_id}"} if request_id else {}),
        **refusal.more,
    }
    return JSONResponse(content, status, headers, MEDIA_TYPE)


def remedy_of(error: VoxidError, request_id: str = "", **more: Any) -> JSONResponse:
    """Return the problem document of an error of the library."""
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    retry_s = 1.0 if status == 503 else None
    return problem(Refusal(status, type(error).__name__, str(error), retry_s=retry_s, **more), request_id)
