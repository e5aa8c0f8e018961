"""Turns -> the exact prompt of each family; one small table per template.

In: `Turn`s. Out: `Segment`s: the template's own words, in which special tokens count, and the text of the
conversation, in which they do not. Source: the recorded conversation templates of the released checkpoints
(their config.json names one) and transformers' chat template. Called by `preprocess.processor`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from internvl.config.model import HF_TEMPLATE, ModelConfig
from internvl.errors import ConfigError, RequestError
from internvl.preprocess.messages import Markup, Picture, Role, Turn, nearest, place_pictures
from internvl.preprocess.tokenizer import Segment

SHUSHENG = (
    "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，"
    "英文名叫InternVL, 是一个有用无害的人工智能助手。"
)
"""Default system message up to V2."""
SHUSHENG_WANXIANG = (
    "你是书生·万象，英文名是InternVL，"
    "是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
)
"""Default system message of V2.5, V3 and V3.5."""
GPT_OSS_SYSTEM = (
    "You are InternVL, a large language model trained by Shanghai AI Laboratory.\nKnowledge cutoff: 2024-06\n"
    "Current date: 2025-08-06\n\nReasoning: low\n\n"
    "# Valid channels: final. Channel must be included for every message."
)


class Frame(NamedTuple):
    """What stands before and after a message of one role."""

    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTemplate:
    """How one family writes a conversation."""

    name: str
    system: Frame
    user: Frame
    assistant: Frame
    default_system: str | None = None
    """The system message when the conversation has none; None: then there is no system turn."""
    stop_tokens: tuple[str, ...]
    """Tokens that end an answer; the first is the one that training ends it with."""
    closing: str | None = None
    """Ends a finished conversation instead of `assistant.after` (GPT-OSS)."""
    drops_empty: bool = True
    """An empty message is only its header, without `after` (the reference treats it as none)."""
    pictures: Literal["numbered", "inline"] = "numbered"
    """Where pictures stand that no placeholder asks for, see `messages.place_pictures`."""

    def render(
        self,
        turns: Sequence[Turn],
        *,
        show: Callable[[Picture], str],
        spellable: Mapping[Role, frozenset[str]],
        add_generation_prompt: bool = True,
    ) -> list[Segment]:
        """Return the prompt as segments.

        Args:
            turns: The conversation, system turn first if there is one.
            show: Picture -> its image tokens.
            spellable: Which added tokens the text of each role may name.
            add_generation_prompt: End with the header of the answer; False: end with the last message.

        Raises:
            RequestError: The answer would follow an answer, or a placeholder has no picture.
        """
        if add_generation_prompt and turns[-1].role not in ("user", "tool"):
            raise RequestError(
                f"the last message has the role {turns[-1].role!r}; expected a user message to answer. "
                "Add one, or render with add_generation_prompt=False."
            )
        if turns[0].role != "system" and self.default_system is not None:
            turns = [Turn(role="system", parts=(self.default_system,)), *turns]
        segments: list[Segment] = []
        for n, turn in enumerate(turns):
            frame = self._frame(turn.role)
            if turn.header is not None:
                frame = frame._replace(before=turn.header)
            content = [
                _segment(part, show, spellable[turn.role]) for part in place_pictures(turn, self.pictures)
            ]
            empty = self.drops_empty and turn.role != "system" and not any(text for text, _ in content)
            if empty:
                segments.append(Segment(frame.before.rstrip(" ")))
                continue
            last = n == len(turns) - 1 and turn.role == "assistant"
            after = self.closing if last and self.closing is not None else frame.after
            segments += [Segment(frame.before), *content, Segment(after)]
        if add_generation_prompt:
            # without the space that internvl_zh has between "<bot>:" and an answer
            segments.append(Segment(self.assistant.before.rstrip(" ")))
        return segments

    def _frame(self, role: Role) -> Frame:
        frames = {"system": self.system, "user": self.user, "assistant": self.assistant, "tool": self.user}
        return frames[role]


def _segment(part: str | Picture, show: Callable[[Picture], str], spellable: frozenset[str]) -> Segment:
    if isinstance(part, Picture):
        return Segment(show(part))
    return Segment(str(part)) if isinstance(part, Markup) else Segment(part, spellable)


def _chatml(name: str, separator: str, default_system: str | None, **more: object) -> ChatTemplate:
    """ChatML, the form of InternLM2, Qwen and Yi; the families differ by the line end after `<|im_end|>`."""
    fields: dict[str, object] = {"stop_tokens": ("<|im_end|>",), **more}
    return ChatTemplate(
        name=name,
        system=Frame("<|im_start|>system\n", separator),
        user=Frame("<|im_start|>user\n", separator),
        assistant=Frame("<|im_start|>assistant\n", separator),
        default_system=default_system,
        **fields,  # type: ignore[arg-type]
    )


def _harmony(name: str, default_system: str | None, **more: object) -> ChatTemplate:
    """GPT-OSS. The reference writes past answers without a channel ("assistant" + text); kept for parity."""
    fields: dict[str, object] = {"stop_tokens": ("<|return|>",), "closing": "<|return|>", **more}
    return ChatTemplate(
        name=name,
        system=Frame("<|start|>system<|message|>", "<|end|>"),
        user=Frame("<|start|>user<|message|>", "<|end|>"),
        assistant=Frame("<|start|>assistant", "<|end|>"),
        default_system=default_system,
        **fields,  # type: ignore[arg-type]
    )


_ALL = (
    # V1.2, V2-1B, V2-40B, V2-76B; Hermes models were also trained to end with <|endoftext|>
    _chatml("Hermes-2", "<|im_end|>", SHUSHENG, stop_tokens=("<|im_end|>", "<|endoftext|>")),
    _chatml("internlm2-chat", "<|im_end|>", SHUSHENG),
    _chatml("internvl2_5", "<|im_end|>\n", SHUSHENG_WANXIANG),
    ChatTemplate(
        name="phi3-chat",
        system=Frame("<|system|>\n", "<|end|>"),
        user=Frame("<|user|>\n", "<|end|>"),
        assistant=Frame("<|assistant|>\n", "<|end|>"),
        default_system=SHUSHENG,
        stop_tokens=("<|end|>",),
    ),
    # V1.1; its empty system message still leaves the space before the first question
    ChatTemplate(
        name="internvl_zh",
        system=Frame("", " "),
        user=Frame("<human>: ", " "),
        assistant=Frame("<bot>: ", "</s>"),
        default_system="",
        stop_tokens=("</s>",),
    ),
    _harmony("internvl3_5_gpt_oss", GPT_OSS_SYSTEM),
    # transformers' chat template of the -HF checkpoints: no system message of its own, pictures in part order
    _chatml(HF_TEMPLATE, "<|im_end|>\n", None, drops_empty=False, pictures="inline"),
    _harmony(f"{HF_TEMPLATE}_gpt_oss", None, drops_empty=False, pictures="inline"),
)
TEMPLATES: Mapping[str, ChatTemplate] = {template.name: template for template in _ALL}


def find_template(name: str) -> ChatTemplate:
    """Return a template by name, with or without the "@gpt_oss" of the second package's copy.

    Raises:
        ConfigError: No such template.
    """
    template = TEMPLATES.get(name.removesuffix("@gpt_oss"))
    if template is None:
        raise ConfigError(
            f"there is no chat template {name!r}. {nearest(name, TEMPLATES)} Known: {', '.join(TEMPLATES)}."
        )
    return template


def template_of(config: ModelConfig) -> ChatTemplate:
    """Return the template that a checkpoint was published with, by its layout, family and config."""
    # what `internvl convert` writes names its template in either layout; other directories in transformers'
    # layout have only transformers' own
    if config.template == HF_TEMPLATE and config.text.family == "gpt_oss":
        return find_template(f"{HF_TEMPLATE}_gpt_oss")
    return find_template(config.template)
