"""Who is enrolled: people, their voiceprints, and the trail of what happened to them."""

from voxid.stores.protocol import (
    DEFAULT,
    AuditEntry,
    Change,
    Changes,
    CollectionInfo,
    Enrolment,
    Erasure,
    Matrix,
    Neighbour,
    Person,
    Store,
    Upgrade,
    Voiceprint,
    voiceprint,
)

__all__ = [
    "DEFAULT",
    "AuditEntry",
    "Change",
    "Changes",
    "CollectionInfo",
    "Enrolment",
    "Erasure",
    "Matrix",
    "Neighbour",
    "Person",
    "Store",
    "Upgrade",
    "Voiceprint",
    "voiceprint",
]
