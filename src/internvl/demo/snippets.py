"""The page's last question as a program: curl, Python with OpenAI's client, Python with this package.

What users typed is put into code that somebody else will run, so it is quoted for the language it lands in. Pictures
stand there as files, picture-1.png, video-2.mp4 and so on, in the order of the conversation.
"""

from __future__ import annotations

import json
import pprint
from collections.abc import Callable
from typing import Any, Literal

from internvl.demo.conversation import Conversation
from internvl.demo.settings import AskSettings
from internvl.types import Message

Kind = Literal["curl", "openai", "internvl"]
#: How each kind is called in the page, and what it is written in.
KINDS: dict[Kind, tuple[str, Literal["shell", "python"]]] = {
    "curl": ("curl", "shell"),
    "openai": ("Python, openai", "python"),
    "internvl": ("Python, internvl", "python"),
}
#: Where `internvl serve` listens unless told.
SERVER = "http://127.0.0.1:23333"


def snippet(
    kind: Kind,
    conversation: Conversation,
    settings: AskSettings,
    *,
    file_name: Callable[[str, int], str],
    server: str = SERVER,
    adapter_of: str | None = None,
) -> str:
    """Return a program that asks the conversation's last question again.

    Args:
        kind: Which program.
        conversation: An answer at its end is left out.
        settings: How it is to be answered.
        file_name: Returns what to call a picture's file, by its id and its number in the conversation.
        server: Where a server listens.
        adapter_of: The model whose adapter the settings name; None: they name a model.
    """
    if conversation.turns and conversation.turns[-1].role == "assistant":
        conversation = Conversation(conversation.turns[:-1])
    numbers = iter(range(1, len(conversation.pictures) + 1))
    messages = conversation.messages(
        lambda picture: file_name(picture, next(numbers)),
        system=settings.system_message,
        max_tiles=settings.tiles,
    )
    if kind == "curl":
        return _curl(messages, settings, server)
    if kind == "openai":
        return _openai(messages, settings, server)
    return _internvl(messages, settings, adapter_of)


def _curl(messages: list[Message], settings: AskSettings, server: str) -> str:
    mark = "FILE"
    while mark in json.dumps(messages):
        mark += "E"
    files: list[str] = []

    def url(path: str) -> str:
        files.append(path)
        return f"<{mark}{len(files)}>"

    body = {
        "model": settings.model,
        "messages": _with_urls(messages, url),
        **_options(settings),
        "stream": True,
    }
    text = json.dumps(body, ensure_ascii=False, indent=2)
    # inside an unquoted here-document the shell looks for these
    for letter in "\\$`":
        text = text.replace(letter, f"\\{letter}")
    for n, path in enumerate(files, start=1):
        text = text.replace(f"<{mark}{n}>", f"data:{_mime(path)};base64,$(base64 < {path} | tr -d '\\n')")
    end = "END"
    while end in text.splitlines():
        end += "D"
    return (
        f"curl -sN {server}/v1/chat/completions \\\n"
        f"  -H 'Content-Type: application/json' --data-binary @- <<{end}\n"
        f"{text}\n{end}\n"
    )


def _openai(messages: list[Message], settings: AskSettings, server: str) -> str:
    shown = _python(_with_urls(messages, _DataUrl))
    options = "".join(f"    {name}={value!r},\n" for name, value in _options(settings).items())
    helper = ""
    if any(isinstance(message["content"], list) for message in messages):
        helper = (
            "\n\ndef data_url(path):\n"
            '    kind = "video" if path.startswith("video") else "image"\n'
            '    data = base64.b64encode(open(path, "rb").read()).decode()\n'
            "    return f\"data:{kind}/{path.rpartition('.')[2]};base64,{data}\"\n\n"
        )
    return (
        f"{'import base64' + chr(10) * 2 if helper else ''}from openai import OpenAI\n{helper}\n"
        f'client = OpenAI(base_url="{server}/v1", api_key="none")\n'
        f"messages = {shown}\n"
        "stream = client.chat.completions.create(\n"
        f"    model={settings.model!r},\n    messages=messages,\n{options}    stream=True,\n)\n"
        "for chunk in stream:\n"
        '    print(chunk.choices[0].delta.content or "", end="", flush=True)\n'
    )


def _internvl(messages: list[Message], settings: AskSettings, adapter_of: str | None) -> str:
    opened, asked = repr(settings.model), ""
    if adapter_of is not None:
        opened = f"{adapter_of!r}, adapters={{{settings.model!r}: 'its directory'}}"
        asked = f", adapter_name={settings.model!r}"
    options = [f"max_new_tokens={settings.max_new_tokens}"]
    if settings.temperature > 0:
        options += ["do_sample=True", f"temperature={settings.temperature!r}", f"top_p={settings.top_p!r}"]
    return (
        "import internvl\n\n"
        f"messages = {_python(messages)}\n"
        f"pipe = internvl.pipeline({opened})\n"
        f"gen_config = internvl.GenerationConfig({', '.join(options)})\n"
        f"for delta in pipe.stream_infer(messages, gen_config=gen_config{asked}):\n"
        '    print(delta.text, end="", flush=True)\n'
    )


class _DataUrl(str):
    """A file's name that prints as the call which reads it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"data_url({str(self)!r})"


def _with_urls(messages: list[Message], url: Callable[[str], str]) -> list[Message]:
    """Turn pictures into OpenAI's parts; our own options of a part stay beside it."""

    def part(old: dict[str, Any]) -> dict[str, Any]:
        kind = old["type"]
        if kind == "text":
            return old
        others = {name: value for name, value in old.items() if name not in ("type", kind)}
        return {"type": f"{kind}_url", f"{kind}_url": {"url": url(old[kind])}, **others}

    return [
        {**message, "content": [part(old) for old in message["content"]]}
        if isinstance(message["content"], list)
        else message
        for message in messages
    ]


def _mime(path: str) -> str:
    kind = "video" if path.startswith("video") else "image"
    return f"{kind}/{path.rpartition('.')[2]}"


def _options(settings: AskSettings) -> dict[str, Any]:
    """OpenAI's names of the settings."""
    sampling = {"top_p": settings.top_p} if settings.temperature > 0 else {}
    return {"temperature": settings.temperature, **sampling, "max_tokens": settings.max_new_tokens}


def _python(value: Any) -> str:
    return pprint.pformat(value, width=100, sort_dicts=False)
