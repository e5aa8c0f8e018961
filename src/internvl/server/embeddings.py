"""POST /v1/embeddings."""

from __future__ import annotations

import base64
from contextlib import AsyncExitStack
from typing import Any

import torch
from fastapi import APIRouter, Request

from internvl.chat.openai_body import BodyError
from internvl.errors import MediaError, RequestError
from internvl.preprocess.processor import IMAGE_CONTEXT, IMAGE_END, IMAGE_START
from internvl.server.body import JsonRoute
from internvl.server.caller import Caller, CallerDep
from internvl.server.openapi import ERRORS
from internvl.server.schemas.embeddings import (
    Embedding,
    EmbeddingList,
    EmbeddingRequest,
    EmbeddingUsage,
    Pooling,
)
from internvl.server.schemas.messages import TextPart
from internvl.server.service import Service, ServiceDep
from internvl.server.sse import unless_gone
from internvl.types import Conversation, ModelInputs

MAX_TOKENS = 8192
"""Of one input, as at OpenAI."""

router = APIRouter(route_class=JsonRoute, tags=["answers"], responses=ERRORS)


@router.post("/v1/embeddings", response_model_exclude_unset=True)
async def create_embeddings(
    body: EmbeddingRequest, request: Request, service: ServiceDep, caller: CallerDep
) -> EmbeddingList:
    """Return pooled features of texts, pictures and videos.

    The models were trained to answer, not to compare: features of one kind with one pooling can be compared
    with each other, a text's with a picture's only roughly.
    """
    return await unless_gone(request, complete(body, service, caller))


async def complete(body: EmbeddingRequest, service: Service, caller: Caller) -> EmbeddingList:
    """Return the features of all inputs, one after the other."""
    service.check_model(body.model, adapters=False)
    given: Any = body.input
    one = not isinstance(given, list) or isinstance(given[0], int)
    data, num_tokens, num_tiles = [], 0, 0
    for index, each in enumerate([given] if one else given):
        async with AsyncExitStack() as held:
            inputs = await _inputs(each, f"input[{index}]", service, caller, held)
            _check_length(inputs, f"input[{index}]", body.pooling, service)
            num_tokens += len(inputs.input_ids)
            num_tiles += sum(item.num_tiles for item in inputs.media)
            vector = await service.features.of(inputs, body.pooling, normalize=body.normalize)
        if body.dimensions not in (None, len(vector)):
            raise BodyError(
                f"dimensions is {body.dimensions}; these vectors have {len(vector)} and mean nothing when cut",
                "dimensions",
            )
        data.append(Embedding(object="embedding", index=index, embedding=_encoded(vector, body)))
    usage = EmbeddingUsage(prompt_tokens=num_tokens, total_tokens=num_tokens, tiles=num_tiles)
    return EmbeddingList(object="list", model=service.model_name, data=data, usage=usage)


async def _inputs(
    each: Any, where: str, service: Service, caller: Caller, held: AsyncExitStack
) -> ModelInputs:
    """Return the ids of a text, or of pictures and the marks around them; no template."""
    tokenizer = service.processor.tokenizer
    if isinstance(each, TextPart):
        each = each.text
    if isinstance(each, str):
        service.answering.check_text_length(len(each))
        ids = tokenizer.encode(each, special=False)
    elif isinstance(each, list):
        ids = each
        vocab_size = service.engine.model.config.text.vocab_size
        if max(ids) >= vocab_size:
            raise BodyError(
                f"{where} holds the id {max(ids)}; the model's are 0 to {vocab_size - 1}", "input"
            )
        if service.processor.image_token_id in ids:
            raise BodyError(f"{where} holds the image token; send pictures as parts", "input")
    else:
        inputs = await _pictures(each, where, service, caller, held)
        marks: list[Any] = [tokenizer.token_to_id(mark) for mark in (IMAGE_START, IMAGE_CONTEXT, IMAGE_END)]
        start, context, end = marks  # a processor has all three
        ids = [token for item in inputs.media for token in (start, *[context] * item.num_tokens, end)]
        return ModelInputs(
            input_ids=torch.tensor(ids, dtype=torch.int64),
            pixel_values=inputs.pixel_values,
            media=inputs.media,
        )
    return ModelInputs(input_ids=torch.tensor(ids, dtype=torch.int64))


def _check_length(inputs: ModelInputs, where: str, pooling: Pooling, service: Service) -> None:
    """Bound what goes through the language model at once; an answer's prompt goes in chunks, this does not."""
    longest = min(service.engine.session_len, MAX_TOKENS)
    if pooling in ("mean", "last") and not 1 <= len(inputs.input_ids) <= longest:
        raise BodyError(
            f"{where} has {len(inputs.input_ids)} tokens; expected 1 to {longest}. Cut the text, or ask for fewer"
            " tiles or frames",
            "input",
        )


async def _pictures(
    part: Any, where: str, service: Service, caller: Caller, held: AsyncExitStack
) -> ModelInputs:
    """Return the tiles of a part; what is wrong with it is said of `where`."""
    talk = Conversation(messages=[{"role": "user", "content": [part.model_dump(exclude_unset=True)]}])
    try:
        return await service.answering.prepare(talk, caller, held)
    except (MediaError, RequestError) as error:
        raise type(error)(str(error).replace("messages[0].content[0]", where)) from error


def _encoded(vector: torch.Tensor, body: EmbeddingRequest) -> list[float] | str:
    if body.encoding_format != "base64":
        return vector.tolist()
    return base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode()
