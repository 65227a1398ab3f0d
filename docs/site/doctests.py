"""Show the doctests of a docstring as code: Markdown would take `>>>` for quotations and lists for links."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension

DOCTEST = re.compile(r"(?:^>>> .*\n?(?:^(?!\s*$).*\n?)*)", re.M)


class Doctests(Extension):
    """Put each doctest, with what it prints, into a fence."""

    def on_object(self, *, obj: Any, **kwargs: Any) -> None:
        """Rewrite the docstring of anything that has one."""
        if obj.docstring and ">>> " in obj.docstring.value:
            value = DOCTEST.sub(lambda m: f"\n```pycon\n{m[0].rstrip()}\n```\n", obj.docstring.value)
            obj.docstring.value = value
