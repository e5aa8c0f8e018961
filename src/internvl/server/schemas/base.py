"""The two kinds of models, and what they share.

`Strict` models read what clients send: an unknown field, a wrong type or a value out of range is an error
that names the field (`server.validation` words it). `Sent` models say what this server answers; together they
make the OpenAPI document, which the tests hold against the running server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Tag, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError, core_schema

from internvl.media.source import short_name
from internvl.preprocess.messages import nearest

#: Starts the names of a union's members, so that they can be told from the names of fields.
CHOICE = "~"


class Strict(BaseModel):
    """Part of a request."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _name_unknown_fields(cls, value: Any) -> Any:
        """Refuse all unknown fields at once, each with its nearest known name."""
        if isinstance(value, Mapping):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            unknown = [name for name in value if name not in known]
            if unknown:
                said = "; ".join(
                    f"unknown field {short_name(str(name))!r}. {nearest(name, known)}"
                    for name in unknown[:10]
                )
                raise PydanticCustomError(
                    "unknown_fields", "{said}", {"said": said, "first": str(unknown[0])}
                )
        return value


class Sent(BaseModel):
    """Part of an answer. Fields that were not set are left out."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class NotSupported:
    """Marks a field that clients know but that has no meaning here.

    Its harmless values ask for nothing and are accepted; any other is refused with what to do instead.
    """

    harmless: tuple[Any, ...]
    instead: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {"enum": [None, *self.harmless], "description": f"Not supported: {self.instead}"}

    def _check(self, value: Any) -> Any:
        same = (value == fine and isinstance(value, bool) == isinstance(fine, bool) for fine in self.harmless)
        if value is None or any(same):
            return value
        raise PydanticCustomError("not_supported", "not supported: {instead}", {"instead": self.instead})


def one_of(by: Callable[[Any], str | None], **options: Any) -> Any:
    """Return a union whose member `by` chooses: it maps a value to one of the names in `options`."""

    def tag(value: Any) -> str | None:
        name = by(value)
        return None if name is None else CHOICE + name

    tag.__name__ = by.__name__  # validation.py reads it from pydantic's errors

    union: Any = None
    for name, kind in options.items():
        member = Annotated[kind, Tag(CHOICE + name)]  # type: ignore[valid-type]
        union = member if union is None else union | member
    return Annotated[union, Discriminator(tag)]


def by_field(name: str) -> Callable[[Any], str | None]:
    """Choose by the text of a field, e.g. "type"."""

    def read(value: Any) -> str | None:
        found = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
        return found if isinstance(found, str) else None

    read.__name__ = name
    return read


def by_shape(value: Any) -> str | None:
    """Choose between "text", "list" and "object"."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, list):
        return "list"
    return "object" if isinstance(value, Mapping | BaseModel) else None


class ErrorDetail(Sent):
    """OpenAI's error."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(Sent):
    """What every answer with a status of 400 or more holds."""

    error: ErrorDetail


class Model(Sent):
    """A model that is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int
    """Tokens of one conversation, answer included."""


class ModelList(Sent):
    """The models that are served."""

    object: Literal["list"]
    data: list[Model]


#: A JSON value whose inside is not looked at.
AnyJson = Annotated[Any, WithJsonSchema({})]
