"""/v1/embeddings: texts, ids, pictures and videos -> pooled features."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from internvl.server.schemas.base import Sent, Strict, by_field, one_of
from internvl.server.schemas.messages import FilePart, ImagePart, TextPart, VideoPart
from internvl.server.schemas.sampling import Label, TokenId

MAX_INPUTS = 256
Pooling = Literal["mean", "last", "projected", "vision"]

TextInput = Annotated[str, Field(min_length=1)]
IdsInput = Annotated[list[TokenId], Field(min_length=1)]
PartInput = one_of(by_field("type"), text=TextPart, image_url=ImagePart, video_url=VideoPart, file=FilePart)


def by_input(value: Any) -> str | None:
    """Choose by what one input is."""
    kinds: dict[type, str] = {str: "text", list: "ids", dict: "object"}
    return kinds.get(type(value))


def by_inputs(value: Any) -> str | None:
    """Choose between one input and a list of them; a list of numbers is one."""
    if isinstance(value, list) and not (value and isinstance(value[0], int)):
        return "list"
    return by_input(value)


OneInput = one_of(by_input, text=TextInput, ids=IdsInput, object=PartInput)


SomeInputs = Annotated[list[OneInput], Field(min_length=1, max_length=MAX_INPUTS)]  # type: ignore[valid-type]
Inputs = one_of(by_inputs, text=TextInput, ids=IdsInput, object=PartInput, list=SomeInputs)


class EmbeddingRequest(Strict):
    """Body of POST /v1/embeddings."""

    model: Annotated[str, Field(min_length=1, max_length=512)]
    input: Inputs  # type: ignore[valid-type]
    """Texts, lists of token ids, or parts of chat messages: pictures and videos."""
    pooling: Pooling = "mean"
    """"mean" and "last": of the language model's last hidden states, over the text's or the picture's own tokens;
    "projected": mean of what goes into the language model; "vision" (pictures): mean of the vision tower's patches."""
    normalize: bool = True
    """Give vectors the length 1, as OpenAI does."""
    encoding_format: Literal["float", "base64"] | None = None
    """"base64": little-endian float32."""
    dimensions: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    """Only the vectors' own size is possible."""
    user: Label | None = None


class Embedding(Sent):
    """The features of one input."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(Sent):
    """What it cost."""

    prompt_tokens: int
    total_tokens: int
    tiles: int


class EmbeddingList(Sent):
    """Answer of /v1/embeddings."""

    object: Literal["list"]
    model: str
    data: list[Embedding]
    usage: EmbeddingUsage
