"""Numbers and values as text for people."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any

NOTHING = "–"


def percent(rate: float | None, digits: int = 2) -> str:
    """Return a fraction as per cent without the sign.

    >>> percent(0.1234), percent(None)
    ('12.34', '–')
    """
    return NOTHING if rate is None else f"{100 * rate:.{digits}f}"


def cost(value: float | None) -> str:
    """Return a cost with three digits, or a dash."""
    return NOTHING if value is None else f"{value:.3f}"


def count(number: float | None) -> str:
    """Return a whole number with commas, or a dash."""
    return NOTHING if number is None else f"{int(number):,}"


def signed(value: float | None, digits: int) -> str:
    """Return a number with a true minus sign, or a dash.

    >>> signed(-1.5, 2), signed(None, 2)
    ('−1.50', '–')
    """
    return NOTHING if value is None else f"{value:.{digits}f}".replace("-", "−")


def moment(made: str) -> str:
    """Return an ISO 8601 time for people: "2026-01-31 at 09:05 UTC".

    >>> moment("2026-01-31T09:05:59+00:00")
    '2026-01-31 at 09:05 UTC'
    """
    try:
        time = datetime.fromisoformat(made)
    except ValueError:
        return made
    return f"{time:%Y-%m-%d at %H:%M} {time.tzname() or 'UTC'}"


def p_value(p: float) -> str:
    """Return "= 0.012", or "< 0.001" for less: more digits would claim more than resampling knows."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def facts(values: dict[str, Any] | None, skip: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Return the plain values of a dictionary as (name, text), nested ones as "outer inner"."""
    rows: list[tuple[str, str]] = []
    for name, value in (values or {}).items():
        if name in skip or value is None or value in ("", [], (), {}):
            continue
        title = name.replace("_", " ")
        if isinstance(value, dict):
            rows += [(f"{title}: {inner}", text) for inner, text in facts(value)]
        elif isinstance(value, list | tuple):
            rows.append((title, ", ".join(map(_plain, value))))
        else:
            rows.append((title, str(value) if name == "seed" else _plain(value)))
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else str(value)
    return str(value)
