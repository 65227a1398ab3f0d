"""Keys of the service: `voxid_ID_SECRET`, of which the store keeps a digest of the secret alone.

The secret is 256 random bits, so a plain SHA-256 cannot be searched. Scopes contain each other: `admin` may
do what `enroll` may, which may do what `read` may.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from time import monotonic

from voxid.errors import BadConfig, did_you_mean
from voxid.server.problems import Refusal
from voxid.stores import ApiKey, Store
from voxid.stores.values import collection_name, now

SCOPES = ("read", "enroll", "admin")
PREFIX = "voxid"
MOST_BUCKETS = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: by which key, or anybody on this machine."""

    name: str = ""
    scope: str = "admin"
    collection: str = ""  # "": every collection

    def may(self, scope: str, collection: str | None) -> None:
        """Raise Refusal for what the key does not allow. `collection` None: no collection is asked."""
        if SCOPES.index(scope) > SCOPES.index(self.scope):
            raise Refusal(
                403, "ScopeTooSmall", f"this needs a key of the scope {scope}; this one has {self.scope}."
            )
        if collection is not None and self.collection not in ("", collection):
            raise Refusal(
                403, "OtherCollection", f"this key is for the collection {self.collection!r} alone."
            )


ANYBODY = Caller()


def make_key(store: Store, name: str, scope: str, collection: str = "") -> tuple[str, ApiKey]:
    """Return a new key, which is shown this once, and what is kept of it; raise BadConfig, BadName."""
    if scope not in SCOPES:
        raise BadConfig(
            f"a scope is one of {', '.join(SCOPES)}; got {scope!r}.{did_you_mean(scope, list(SCOPES))}"
        )
    id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    kept = ApiKey(id, _digest(secret), name, scope, collection_name(collection) if collection else "", now())
    store.add_key(kept)
    return f"{PREFIX}_{id}_{secret}", kept


def caller_of(store: Store, given: str) -> Caller:
    """Return who a key stands for; raise Refusal for one that is wrong, unknown or revoked."""
    prefix, _, rest = given.partition("_")
    id, _, secret = rest.partition("_")
    known = store.api_keys(id) if prefix == PREFIX and id.isalnum() and len(id) < 50 else []
    kept = known[0] if known else ApiKey("", _digest(""), "", "read", "", now())
    same = hmac.compare_digest(_digest(secret), kept.digest)  # takes the same time for all
    if not known or not same or kept.revoked is not None:
        raise Refusal(401, "BadKey", "this key is wrong, or was revoked. `voxid keys create` makes one.")
    return Caller(f"{kept.name} ({kept.id})", kept.scope, kept.collection)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class Rates:
    """How many requests each key may still ask: a bucket that fills at its rate, and holds a minute's."""

    def __init__(self, a_minute: float) -> None:
        self._most, self._a_second = max(1.0, a_minute), a_minute / 60
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, name: str) -> None:
        """Count a request; raise Refusal when there are too many."""
        at = monotonic()
        left, since = self._left.get(name, (self._most, at))
        left = min(self._most, left + (at - since) * self._a_second)
        if left < 1:
            raise Refusal(
                429,
                "TooManyRequests",
                f"this key may ask {self._a_second * 60:g} times a minute. Wait a little.",
                retry_s=(1 - left) / self._a_second,
            )
        if len(self._left) > MOST_BUCKETS:
            self._left.clear()
        self._left[name] = (left - 1, at)
