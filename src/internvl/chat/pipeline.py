"""The Python face: `pipeline(model)` -> answers, in every call form of LMDeploy's.

A thin layer: it loads model and processor, reads what the caller passed (`call_forms`) and hands it to the
one `Engine`. Who calls: user code; `internvl chat`.

>>> pipe = pipeline("nano")                                            # doctest: +SKIP
>>> pipe(("What does the sign say?", "examples/sign.png")).text        # doctest: +SKIP
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from internvl.chat.call_forms import Batch, read_prompts
from internvl.chat.options import AnswerReader, ChatOptions, read_chat_options
from internvl.chat.session import Session
from internvl.checkpoint.load import load_model, load_processor
from internvl.engine.config import EngineConfig
from internvl.engine.engine import Engine, collect_answers
from internvl.errors import ConfigError, RequestError
from internvl.media.limits import DEFAULT_LIMITS, DEFAULT_POLICY, AddressPolicy, MediaLimits
from internvl.models.pack import Packing
from internvl.preprocess.messages import nearest
from internvl.types import GenerationConfig, Message, ModelInputs, Response

logger = logging.getLogger(__name__)

#: LMDeploy's keywords that cannot be honoured: the values that ask for nothing, and what to do instead.
_REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "trust_remote_code": (
        (False, None),
        "this package never runs code that comes with a checkpoint, and needs none: leave it out",
    ),
    "speculative_config": ((None,), "there is no speculative decoding yet: leave it out"),
    "max_log_len": ((None,), "prompts are never logged: leave it out"),
    "vision_config": ((None,), "set EngineConfig.vision_batch_size"),
    "model_name": (
        (None,),
        "the template is chosen from the checkpoint; use template='...' to choose another",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTemplateConfig:
    """LMDeploy's way to choose a template and a default system message."""

    model_name: str | None = None
    """Name of a template; None = the checkpoint's own."""
    meta_instruction: str | None = None
    """System message of conversations that bring none; None = the template's own, "" = an empty one."""


def pipeline(
    path_or_id: str | Path = "nano",
    backend_config: EngineConfig | None = None,
    chat_template_config: ChatTemplateConfig | None = None,
    log_level: str | int | None = None,
    *,
    template: str | None = None,
    allowed_media_domains: Sequence[str] | None = None,
    media_limits: MediaLimits | None = None,
    address_policy: AddressPolicy | None = None,
    **options: Any,
) -> Pipeline:
    """Load a model and return what answers with it.

    Args:
        path_or_id: "nano" (shipped with the package), a directory, or a hub id.
        backend_config: `EngineConfig`, or LMDeploy's spellings of it.
        chat_template_config: Another template or default system message.
        log_level: Level of this package's logger ("INFO", "DEBUG", ...).
        template: Name of another template, short for `ChatTemplateConfig(model_name=...)`.
        allowed_media_domains: Hosts that pictures may be fetched from; None = any public one.
        media_limits: Sizes and times that pictures may take.
        address_policy: Where pictures may be read from; `allowed_media_domains` is its most used part.
        options: Fields of `EngineConfig` (dtype, device, session_len, max_tiles, ...), stronger than
            `backend_config`.

    Raises:
        ConfigError: A keyword that is unknown or cannot be honoured, by name, with what to use.
        CheckpointError: The files do not make a model.
    """
    config = _engine_config(backend_config or EngineConfig(), options)
    chat = chat_template_config or ChatTemplateConfig()
    if log_level is not None:
        logging.getLogger("internvl").setLevel(log_level)
    policy = address_policy or DEFAULT_POLICY
    if allowed_media_domains is not None:
        policy = replace(policy, allowed_domains=tuple(allowed_media_domains))
    processor = load_processor(path_or_id, revision=config.revision, template=template or chat.model_name)
    processor.limits, processor.policy = media_limits or DEFAULT_LIMITS, policy
    model = load_model(
        path_or_id,
        # "fast" reads bfloat16 files as float32 on CPUs without bfloat16 kernels, if memory holds that
        dtype="fast" if config.dtype == "auto" else config.dtype,  # type: ignore[arg-type]  # EngineConfig checked it
        device=_device(config.device),
        revision=config.revision,
        attention=config.attention,  # type: ignore[arg-type]  # load_model checks it
        packing=Packing(quantize=config.quantize),
    )
    return Pipeline(Engine(model, processor, config), system=chat.meta_instruction)


def _engine_config(config: EngineConfig, options: dict[str, Any]) -> EngineConfig:
    """Return `config` with the keywords that name its fields; refuse the others."""
    if not isinstance(config, EngineConfig):
        raise ConfigError(
            f"backend_config is {type(config).__name__}; expected EngineConfig, TurbomindEngineConfig or"
            " PytorchEngineConfig of this package"
        )
    own = [field.name for field in fields(EngineConfig)]
    changes = {}
    for name, value in options.items():
        if name in own:
            changes[name] = value
        elif name not in _REFUSED:
            known = [*own, "template", "allowed_media_domains", "media_limits", "address_policy"]
            raise ConfigError(f"pipeline: unknown keyword {name!r}. {nearest(name, known)}")
        elif value not in _REFUSED[name][0]:
            raise ConfigError(f"pipeline: {name}={value!r} is refused: {_REFUSED[name][1]}")
    return replace(config, **changes)


def _device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


class Pipeline:
    """Answers prompts with one engine. A context manager; `close` frees the engine's thread."""

    def __init__(self, engine: Engine, *, system: str | None = None) -> None:
        """`system`: message for conversations that bring none; None leaves it to the template."""
        self.engine = engine
        self._system = system
        self._hinted = False

    def __call__(
        self,
        prompts: Any,
        gen_config: GenerationConfig | Sequence[GenerationConfig] | None = None,
        *,
        do_preprocess: bool = True,
        adapter_name: str | None = None,
        use_tqdm: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        parallel_tool_calls: bool | None = None,
        enable_thinking: bool | None = None,
    ) -> Any:
        """Answer one prompt (-> Response) or a list of prompts (-> list of Response, same order).

        With `n` > 1 the result is a list: the n answers of the first prompt, then of the second, ...

        Args:
            prompts: Any form of `call_forms`.
            gen_config: One for all, or one per prompt; None: greedy.
            do_preprocess: False: `prompts` are finished prompt texts, no template is put around them.
            adapter_name: Which of `EngineConfig.adapters` answers; None: the model itself.
            use_tqdm: Show progress on stderr.
            tools: Functions that the model may ask for, in OpenAI's form. Calls come in
                `Response.tool_calls`; answer them with messages of the role "tool".
            tool_choice: OpenAI's: "none", "auto", "required", one function, or "allowed_tools".
            parallel_tool_calls: Several calls in one answer; None: yes.
            enable_thinking: True: ask for thoughts, which come in `Response.reasoning_content`; False: do not
                ask, but keep them apart all the same; None: whatever the model writes is text.

        Raises:
            RequestError, MediaError: A single prompt that cannot be answered. In a list such a prompt gives a
                Response with finish_reason "error" and `error_message`, and the others are answered.
        """
        batch = self._read(prompts, do_preprocess)
        adapter = self._adapter(adapter_name)
        options = read_chat_options(
            tools=tools,
            tool_choice=tool_choice,
            parallel_tool_calls=parallel_tool_calls,
            enable_thinking=enable_thinking,
        )
        deltas = self._deltas(batch, gen_config, options, adapter)
        if batch.single:
            responses = collect_answers(deltas)
            return responses[0] if len(responses) == 1 else responses
        with _Progress(len(batch.prompts), shown=use_tqdm) as progress:
            return collect_answers(deltas, on_finished=progress.advance)

    def stream_infer(
        self,
        prompts: Any,
        gen_config: GenerationConfig | Sequence[GenerationConfig] | None = None,
        *,
        do_preprocess: bool = True,
        adapter_name: str | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        parallel_tool_calls: bool | None = None,
        enable_thinking: bool | None = None,
    ) -> Iterator[Response]:
        """Yield deltas as they come: `text` is what is new, `index` tells which prompt it answers.

        The last delta of each answer has a finish_reason. Arguments and errors as in calling the pipeline;
        leaving the iteration early aborts what is open.
        """
        batch = self._read(prompts, do_preprocess)
        adapter = self._adapter(adapter_name)
        options = read_chat_options(
            tools=tools,
            tool_choice=tool_choice,
            parallel_tool_calls=parallel_tool_calls,
            enable_thinking=enable_thinking,
        )
        return self._deltas(batch, gen_config, options, adapter)

    def session(
        self,
        system: str | None = None,
        *,
        enable_thinking: bool | None = None,
        adapter_name: str | None = None,
    ) -> Session:
        """Return a new conversation; `system` is its system message (None = the default, "" = an empty
        one), `enable_thinking` and `adapter_name` as in calling the pipeline."""
        system = self._system if system is None else system
        adapter = self._adapter(adapter_name)
        return Session(self.engine, system=system, enable_thinking=enable_thinking, adapter=adapter)

    def chat(
        self,
        prompt: Any,
        session: Session | None = None,
        gen_config: GenerationConfig | None = None,
        *,
        stream_response: bool = False,
    ) -> Session:
        """Ask the next question of a conversation and return the conversation, with `.response` and
        `.history`.

        Args:
            prompt: 'text' or ('text', pictures); earlier pictures need not be given again.
            session: The conversation; None starts one.
            gen_config: How to answer.
            stream_response: Return at once; iterating over the session yields the deltas.
        """
        session = session or self.session()
        self._hint(gen_config)
        session.generator = session.ask(prompt, gen_config)
        if not stream_response:
            for _ in session.generator:
                pass
        return session

    def close(self) -> None:
        """End open answers with finish_reason "abort" and the engine's thread. More than once is fine."""
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _adapter(self, name: str | None) -> str | None:
        """Raise ConfigError unless this is an adapter of the engine's, or None."""
        if name is not None and name not in self.engine.adapters:
            raise ConfigError(
                f"adapter_name={name!r}: this pipeline has {', '.join(self.engine.adapters) or 'no adapters'}; "
                "name them when it is made: pipeline(model, adapters={'name': 'directory'})"
            )
        return name

    def _read(self, prompts: Any, do_preprocess: bool) -> Batch:
        if not do_preprocess:
            return self._read_raw(prompts)
        batch = read_prompts(prompts)
        if self._system is None:
            return batch
        return Batch([_with_system(prompt, self._system) for prompt in batch.prompts], single=batch.single)

    def _read_raw(self, prompts: Any) -> Batch:
        """Finished prompt texts -> ids; special tokens count as such."""
        single = isinstance(prompts, str)
        texts = [prompts] if single else list(prompts)
        inputs: list[list[Message] | ModelInputs] = []
        for n, text in enumerate(texts):
            if not isinstance(text, str):
                raise RequestError(
                    f"prompts[{n}] is {type(text).__name__}; do_preprocess=False takes texts only"
                )
            ids = self.engine.processor.tokenizer.encode(text)
            inputs.append(ModelInputs(input_ids=torch.tensor(ids, dtype=torch.int64), prompt=text))
        return Batch(inputs, single=single)

    def _deltas(
        self,
        batch: Batch,
        gen_config: GenerationConfig | Sequence[GenerationConfig] | None,
        options: ChatOptions,
        adapter: str | None = None,
    ) -> Iterator[Response]:
        """Submit what was read and return the deltas of all its answers, taken apart where that was asked for.

        A single prompt that fails raises; in a batch it gives a response with finish_reason "error".
        """
        self._hint(gen_config)
        if options.plain:
            prompts: list[Any] = list(batch.prompts)
            configs: Any = gen_config
        else:
            prompts = [options.conversation(_messages(prompt)) for prompt in batch.prompts]
            configs = _adapted(gen_config, lambda each: options.gen_config(each, self.engine.processor))
        if batch.single:
            request = self.engine.submit(
                prompts[0], _one(configs), fit_answer=gen_config is None, adapter=adapter
            )
            deltas = self.engine.stream(request)
        else:
            deltas = self.engine.stream_all(prompts, configs, fit_answer=gen_config is None, adapter=adapter)
        return deltas if options.plain else self._taken_apart(deltas, options)

    def _taken_apart(self, deltas: Generator[Response], options: ChatOptions) -> Iterator[Response]:
        readers: dict[tuple[int, int], AnswerReader] = {}
        with closing(deltas):  # leaving early aborts
            for delta in deltas:
                key = delta.index, delta.choice
                if key not in readers:
                    readers[key] = options.reader(self.engine.processor)
                yield readers[key].read(delta)

    def _hint(self, gen_config: GenerationConfig | Sequence[GenerationConfig] | None) -> None:
        """Say once that sampling fields without do_sample change nothing; it surprises LMDeploy's users
        too."""
        configs = [gen_config] if isinstance(gen_config, GenerationConfig) else list(gen_config or ())
        if self._hinted or not any(map(_samples_in_vain, configs)):
            return
        self._hinted = True
        logger.warning(
            "temperature, top_p, top_k and min_p have no effect with do_sample=False (the default):"
            " the answer is greedy. Set GenerationConfig(do_sample=True) to sample."
        )


class _Progress:
    """A progress bar on stderr, or nothing."""

    def __init__(self, total: int, *, shown: bool) -> None:
        self._bar = None
        if shown:
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True))
            self._task = self._bar.add_task("answers", total=total)

    def advance(self, response: Response) -> None:
        """Count one finished answer; of several to one prompt only the first."""
        if self._bar is not None and response.choice == 0:
            self._bar.advance(self._task)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def _messages(prompt: list[Message] | ModelInputs) -> list[Message]:
    if isinstance(prompt, ModelInputs):
        raise RequestError("tools and thinking need messages; this prompt is finished already")
    return prompt


def _adapted(
    gen_config: GenerationConfig | Sequence[GenerationConfig] | None,
    adapt: Callable[[GenerationConfig | None], GenerationConfig],
) -> GenerationConfig | list[GenerationConfig]:
    """Apply `adapt` to one configuration or to each."""
    if gen_config is None or isinstance(gen_config, GenerationConfig):
        return adapt(gen_config)
    return [adapt(each) for each in gen_config]


def _one(gen_config: GenerationConfig | Sequence[GenerationConfig] | None) -> GenerationConfig | None:
    """Return the configuration for a single prompt; a list of one is fine."""
    if gen_config is None or isinstance(gen_config, GenerationConfig):
        return gen_config
    if len(gen_config) != 1:
        raise RequestError(f"{len(gen_config)} gen_configs for one prompt; give one")
    return gen_config[0]


def _with_system(prompt: list[Message] | ModelInputs, system: str) -> list[Message] | ModelInputs:
    if isinstance(prompt, ModelInputs) or prompt[0].get("role") == "system":
        return prompt
    return [{"role": "system", "content": system}, *prompt]


def _samples_in_vain(config: GenerationConfig) -> bool:
    default = GenerationConfig()
    names = ("temperature", "top_p", "top_k", "min_p")
    return not config.do_sample and any(getattr(config, name) != getattr(default, name) for name in names)
