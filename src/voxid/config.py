"""The base of every config: frozen, and an unknown key is an error with a suggestion."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from voxid.errors import BadConfig, did_you_mean


class Config(BaseModel):
    """A frozen set of options that refuses keys it does not know.

    Subclass it beside the class it configures:

    >>> class MeanConfig(Config):
    ...     width: int = 3
    >>> MeanConfig.parse({"width": 5}, where="pooling").width
    5
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def parse(cls, values: dict[str, Any], where: str) -> Self:
        """Return the config made of `values`; raise BadConfig that names the key as `where.key`."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise BadConfig(_explain(cls, error, where)) from None


class GrownConfig(Config):
    """A config that gained options after models were written: `later` names them.

    Where such an option has its default it is not written, so an older model stays the same model, with the
    same fingerprint, and an older voxid reads a model that does not use it.

    >>> class WidthConfig(GrownConfig):
    ...     later = frozenset({"height"})
    ...     width: int = 3
    ...     height: int = 1
    >>> WidthConfig().model_dump(), WidthConfig(height=2).model_dump()
    ({'width': 3}, {'width': 3, 'height': 2})
    """

    later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _as_written_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, object]:
        fields = type(self).model_fields
        return {
            key: value
            for key, value in dump(self).items()
            if key not in self.later or getattr(self, key) != fields[key].default
        }


def _explain(cls: type[Config], error: ValidationError, where: str) -> str:
    lines = []
    for problem in error.errors():
        key = ".".join([where, *map(str, problem["loc"])])
        if problem["type"] == "extra_forbidden":
            known = sorted(cls.model_fields)
            hint = did_you_mean(str(problem["loc"][-1]), known)
            lines.append(f"{key}: no such option. Known: {', '.join(known)}.{hint}")
        elif problem["type"] == "missing":
            lines.append(f"{key}: is missing, and has no default.")
        elif problem["type"] == "value_error":  # of a validator of ours: its words as they are
            said = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{key}: {said}{_given(said, problem['input'])}.")
        else:
            lines.append(f"{key}: {problem['msg'].lower()}, got {problem['input']!r}.")
    return " ".join(lines)


def _given(said: str, values: Any) -> str:
    """Return what was given, unless `said` says so: of a table, the options that are spoken of."""
    if "got " in said:
        return ""
    if not isinstance(values, dict):
        return f", got {values!r}"
    words = set(re.findall(r"\w+", said))
    named = [f"{name} = {value!r}" for name, value in values.items() if name in words]
    return f" (got {', '.join(named)})" if named else ""
