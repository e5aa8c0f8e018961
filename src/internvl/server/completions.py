"""POST /v1/completions: texts and ids that go to the model as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import torch
from fastapi import APIRouter, Request

from internvl.chat.openai_answer import answer_head
from internvl.chat.openai_body import BodyError
from internvl.server.body import JsonRoute
from internvl.server.caller import Caller, CallerDep
from internvl.server.chat import stream
from internvl.server.conversation import Conversing, read_conversation
from internvl.server.openapi import ERRORS, streamed
from internvl.server.running import Running
from internvl.server.schemas.chat import ChatUsage, PromptTokensDetails
from internvl.server.schemas.completions import (
    Completion,
    CompletionChoice,
    CompletionLogprobs,
    CompletionRequest,
)
from internvl.server.service import Service, ServiceDep
from internvl.server.sse import DONE, event, unless_gone
from internvl.server.texts import LogprobTexts, reason_of, usage_of
from internvl.types import ModelInputs, Response

router = APIRouter(route_class=JsonRoute, tags=["answers"], responses=ERRORS)

#: Prompts times answers of one request.
_MAX_ANSWERS = 128
#: Fields that only this endpoint has.
_OWN = ("prompt", "logprobs", "echo", "suffix", "best_of")


@router.post(
    "/v1/completions",
    response_model=Completion,
    response_model_exclude_unset=True,
    responses=streamed("Pieces of answers, if `stream` is true; the last event is `[DONE]`."),
)
async def create_completion(
    body: CompletionRequest, request: Request, service: ServiceDep, caller: CallerDep
) -> Any:
    """Go on from finished prompts, without a template and without pictures."""
    asked, inputs = _read(body, service)
    if not asked.body.stream:
        return await unless_gone(request, _complete(inputs, asked, service, caller))
    held = AsyncExitStack()
    runnings = await unless_gone(request, _start(inputs, asked, service, caller, held))
    return stream(_pieces(runnings, asked, service), held, request, service)


async def complete(body: CompletionRequest, service: Service, caller: Caller) -> Completion:
    """Return whole answers."""
    asked, inputs = _read(body, service)
    return await _complete(inputs, asked, service, caller)


def _read(body: CompletionRequest, service: Service) -> tuple[Conversing, list[ModelInputs]]:
    """Return how to answer, where the fields mean what they mean in a chat, and the prompts."""
    service.check_model(body.model)
    fields = body.model_dump(exclude_unset=True)
    shared = {name: value for name, value in fields.items() if name not in _OWN}
    if body.logprobs is not None:
        shared |= {"logprobs": True, "top_logprobs": body.logprobs}
    asked = read_conversation({**shared, "messages": [{"role": "user", "content": ""}]}, service)
    given: Any = body.prompt
    prompts = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    if len(prompts) * asked.gen_config.n > _MAX_ANSWERS:
        raise BodyError(
            f"{len(prompts)} prompts with n={asked.gen_config.n} are more than {_MAX_ANSWERS} answers", "n"
        )
    return asked, [_inputs(prompt, f"prompt[{n}]", service) for n, prompt in enumerate(prompts)]


def _inputs(prompt: str | list[int], where: str, service: Service) -> ModelInputs:
    tokenizer = service.processor.tokenizer
    if isinstance(prompt, str):
        service.answering.check_text_length(len(prompt))
    ids = tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
    vocab_size = service.engine.model.config.text.vocab_size
    if not ids:
        raise BodyError(f"{where} is empty; expected at least one token", "prompt")
    if max(ids) >= vocab_size:
        raise BodyError(f"{where} holds the id {max(ids)}; the model's are 0 to {vocab_size - 1}", "prompt")
    if service.processor.image_token_id in ids:
        raise BodyError(
            f"{where} holds the image token; pictures are asked about with /v1/chat/completions", "prompt"
        )
    return ModelInputs(input_ids=torch.tensor(ids, dtype=torch.int64))


async def _start(
    inputs: Sequence[ModelInputs], asked: Conversing, service: Service, caller: Caller, held: AsyncExitStack
) -> list[Running]:
    runnings = []
    try:
        for each in inputs:
            running = await service.answering.start(
                each,
                asked.gen_config,
                fit_answer=asked.body.fit_answer,
                caller=caller,
                adapter=asked.task.adapter,
                cache_salt=asked.body.cache_salt,
            )
            runnings.append(await held.enter_async_context(running))
    except BaseException:
        await held.aclose()
        raise
    return runnings


async def _complete(
    inputs: Sequence[ModelInputs], asked: Conversing, service: Service, caller: Caller
) -> Completion:
    held = AsyncExitStack()
    try:
        answers: dict[int, Response] = {}
        runnings = await _start(inputs, asked, service, caller, held)
        async for index, delta in _merged(runnings, asked.gen_config.n):
            answers[index] = answers[index].extend(delta) if index in answers else delta
    finally:
        await held.aclose()
    logprobs = LogprobTexts(service.processor, asked.gen_config.stop_token_ids)
    choices = [
        CompletionChoice(
            index=index,
            text=answer.text,
            logprobs=_logprobs(answer, logprobs, 0),
            finish_reason=_reason(answer),
        )
        for index, answer in sorted(answers.items())
    ]
    return Completion(
        **_head(asked, service),
        choices=choices,
        usage=_usage(answers, asked.gen_config.n),
    )


async def _pieces(runnings: Sequence[Running], asked: Conversing, service: Service) -> AsyncIterator[bytes]:
    head = _head(asked, service)
    logprobs = LogprobTexts(service.processor, asked.gen_config.stop_token_ids)
    last: dict[int, Response] = {}
    offsets: dict[int, int] = {}

    def piece(choices: list[CompletionChoice], usage: ChatUsage | None = None) -> bytes:
        shown: dict[str, Any] = {"usage": usage} if asked.body.include_usage else {}
        return event(Completion(**head, choices=choices, **shown))

    async for index, delta in _merged(runnings, asked.gen_config.n):
        last[index] = delta
        found = _logprobs(delta, logprobs, offsets.get(index, 0))
        offsets[index] = offsets.get(index, 0) + len(delta.text)
        reason = None if delta.finish_reason is None else _reason(delta)
        yield piece([CompletionChoice(index=index, text=delta.text, logprobs=found, finish_reason=reason)])
    if asked.body.include_usage:
        yield piece([], _usage(last, asked.gen_config.n))
    yield DONE


async def _merged(runnings: Sequence[Running], n: int) -> AsyncIterator[tuple[int, Response]]:
    """Yield the deltas of several requests as they come, with the number of the answer."""
    arrived: asyncio.Queue[tuple[int, Response] | BaseException | None] = asyncio.Queue()

    async def forward(place: int, running: Running) -> None:
        try:
            async for delta in running:
                arrived.put_nowait((place * n + delta.choice, delta))
            arrived.put_nowait(None)
        except Exception as error:  # noqa: BLE001  # raised below, where somebody waits
            arrived.put_nowait(error)

    tasks = [asyncio.create_task(forward(place, running)) for place, running in enumerate(runnings)]
    try:
        num_open = len(tasks)
        while num_open:
            item = await arrived.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                num_open -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _usage(answers: dict[int, Response], n: int) -> ChatUsage:
    """Return what all prompts cost together."""
    ordered = [answers[index] for index in sorted(answers)]
    each = [usage_of(ordered[start : start + n]) for start in range(0, len(ordered), n)]
    prompt, completion = (
        sum(getattr(usage, name) for usage in each) for name in ("prompt_tokens", "completion_tokens")
    )
    cached = sum(usage.prompt_tokens_details.cached_tokens for usage in each)
    return ChatUsage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=cached, image_tokens=0),
        media=[],
    )


def _logprobs(answer: Response, texts: LogprobTexts, offset: int) -> CompletionLogprobs | None:
    found = texts.of(answer)
    if found is None or found.content is None:
        return None
    offsets = []
    for token in found.content:
        offsets.append(offset)
        offset += len(token.token)
    return CompletionLogprobs(
        tokens=[token.token for token in found.content],
        token_logprobs=[token.logprob for token in found.content],
        top_logprobs=[{top.token: top.logprob for top in token.top_logprobs} for token in found.content],
        text_offset=offsets,
    )


def _reason(answer: Response) -> Any:
    return reason_of(answer)


def _head(asked: Conversing, service: Service) -> dict[str, Any]:
    return answer_head("cmpl-", "text_completion", service.shown_name(asked.body.model))
