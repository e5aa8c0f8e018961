"""`internvl chat`: one question about pictures and videos, or a conversation."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from internvl.chat.call_forms import looks_like_media
from internvl.chat.reasoning import THINKING_DEFAULTS
from internvl.cli.answers import AnswerPrinter
from internvl.cli.options import (
    DEFAULTS,
    ChosenAdapters,
    Device,
    Dtype,
    MaxTiles,
    ModelName,
    Quantize,
    Revision,
    SessionLen,
    TilePolicy,
    named_adapters,
)
from internvl.errors import ConfigError
from internvl.types import LOOP_GUARD, GenerationConfig

if TYPE_CHECKING:
    from internvl.chat.pipeline import Pipeline


def command(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="Pictures and videos (paths or URLs) and the question. Without a question: a conversation."
        ),
    ] = None,
    model: ModelName = "nano",
    adapter: ChosenAdapters = None,
    max_tiles: MaxTiles = None,
    tile_policy: TilePolicy = DEFAULTS.tile_policy,
    num_frames: Annotated[
        int | None, typer.Option(help="Frames of a video, evenly spread. [default: 8]", min=1)
    ] = None,
    start: Annotated[float | None, typer.Option(help="Seconds at which the clip begins.", min=0)] = None,
    end: Annotated[float | None, typer.Option(help="Seconds at which the clip ends.", min=0)] = None,
    system: Annotated[
        str | None, typer.Option(help='System message; "" for none. [default: the model family\'s]')
    ] = None,
    language: Annotated[
        str | None, typer.Option("--language", "-l", help="Language of the answers: de, German, Deutsch, ...")
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(help="Longest answer. [default: 512, or what the context has room for]", min=1),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Sample: higher is more varied, 0 is greedy.", min=0)
    ] = None,
    top_p: Annotated[float | None, typer.Option(help="Sample from the likeliest share.", max=1)] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Sample from the k likeliest tokens; 0 = all.", min=0)
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Drop tokens below this share of the likeliest.", min=0, max=1)
    ] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="Above 1: repeat less.", min=0.01)] = None,
    seed: Annotated[int | None, typer.Option(help="Sample reproducibly.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End the answer before this text.")] = None,
    json_schema: Annotated[
        Path | None, typer.Option(help="The answer is JSON that this schema (a file) admits.", dir_okay=False)
    ] = None,
    regex: Annotated[str | None, typer.Option(help="The answer matches this expression.")] = None,
    choice: Annotated[str | None, typer.Option(help="The answer is one of these: yes,no,unsure.")] = None,
    think: Annotated[
        bool | None,
        typer.Option("--think/--no-think", help="Ask for thoughts before the answer; they go to stderr."),
    ] = None,
    loop_guard: Annotated[bool, typer.Option(help="End answers that go in circles.")] = True,
    session_len: SessionLen = None,
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    device: Device = DEFAULTS.device,
    revision: Revision = None,
    interactive: Annotated[
        bool, typer.Option("--interactive", "-i", help="A conversation, even when stdin is a pipe.")
    ] = False,
    multiline: Annotated[
        bool, typer.Option("--multiline", help="An empty line (double Enter) sends a message.")
    ] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Show tiles, tokens and seconds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per answer.")] = False,
) -> None:
    """Ask about pictures and videos: one question, or a conversation.

    internvl chat photo.jpg "What does the sign say?"

    internvl chat clip.mp4 "What happens?" --num-frames 16 --start 10 --end 25

    internvl chat left.png right.png "What differs?" --json

    internvl chat invoice.png "Read the invoice." --json-schema invoice.json

    echo "What is shown?" | internvl chat photo.jpg

    internvl chat --model OpenGVLab/InternVL3-2B-hf photo.jpg

    internvl chat receipt.png "What is the total?" --adapter receipts=runs/receipts/final

    The first adapter answers; in a conversation /adapter NAME asks another one, or, without NAME, the model itself.
    """
    from internvl.cli.chat_session import Conversation
    from internvl.cli.shown import ClipOptions, open_shown

    asked = read_words(words or [])
    clip = ClipOptions(num_frames=num_frames, start=start, end=end)
    one_shot = not interactive and (bool(asked.question) or not sys.stdin.isatty())
    # Before the model, and before the question: a name that is wrong should not cost the wait.
    pictures = [open_shown(name, clip) for name in asked.pictures] if one_shot else []
    if one_shot and not asked.question:
        asked = Asked(asked.pictures, sys.stdin.read().strip())
        if not asked.question:
            raise typer.BadParameter("no question: give one as an argument or on stdin, or use --interactive")
    adapters = named_adapters(adapter or [])
    options = {
        "adapters": adapters,
        "max_tiles": max_tiles,
        "tile_policy": tile_policy,
        "session_len": session_len,
        "dtype": dtype,
        "quantize": quantize,
        "device": device,
        "revision": revision,
    }
    sampling = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "min_p": min_p}
    others: dict[str, Any] = {
        "max_new_tokens": max_new_tokens,
        "repetition_penalty": repetition_penalty,
        "random_seed": seed,
    }
    form = read_format(json_schema, regex, choice)
    others |= {"stop_words": stop or None, **form}
    gen_config = make_gen_config(sampling, others, loop_guard=loop_guard, think=bool(think))
    with open_pipeline(model, options) as pipe:
        conversation = Conversation(
            partial(pipe.session, enable_thinking=think),
            gen_config,
            AnswerPrinter(model=model, as_json=as_json, with_stats=stats),
            system=system,
            language=language,
            fit_answer=max_new_tokens is None,
            clip=clip,
            adapters=tuple(adapters),
        )
        if one_shot:
            answer = conversation.ask(asked.question, pictures)
            if any(form.values()) and answer.finish_reason in ("length", "repetition"):
                print("the answer ended before it had the form that was asked for", file=sys.stderr)
                raise typer.Exit(1)
        else:
            conversation.run(asked.pictures, asked.question, multiline=multiline)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the words of the command line mean."""

    pictures: list[str]
    question: str


def read_words(words: list[str]) -> Asked:
    """Tell pictures and videos (files, URLs, names that end like them) from the question's words; order is kept."""
    pictures = [word for word in words if looks_like_media(word)]
    return Asked(pictures, " ".join(word for word in words if word not in pictures))


def read_format(json_schema: Path | None, regex: str | None, choice: str | None) -> dict[str, Any]:
    """Return the fields of `GenerationConfig` that say what an answer looks like. Raises typer.BadParameter."""
    schema = None
    if json_schema is not None:
        try:
            schema = json_schema.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"--json-schema: {error}") from error
    choices = None if choice is None else tuple(each.strip() for each in choice.split(","))
    return {"json_schema": schema, "regex": regex, "choice": choices}


def make_gen_config(
    sampling: dict[str, Any], others: dict[str, Any], *, loop_guard: bool, think: bool = False
) -> GenerationConfig:
    """Return how to answer; any sampling option asks for sampling. Raises typer.BadParameter.

    Thoughts are sampled where nothing was said, as the model cards recommend, and get more room.
    """
    if think:
        others = {
            **others,
            "max_new_tokens": others.get("max_new_tokens") or THINKING_DEFAULTS["max_new_tokens"],
        }
        if all(value is None for value in sampling.values()):
            sampling = {"temperature": THINKING_DEFAULTS["temperature"]}
    given = {name: value for name, value in {**sampling, **others}.items() if value is not None}
    sample = any(value is not None for value in sampling.values()) or "random_seed" in given
    try:
        return GenerationConfig(**given, do_sample=sample, **(LOOP_GUARD if loop_guard else {}))
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


def open_pipeline(model: str, options: dict[str, Any]) -> Pipeline:
    """Load the model; on a terminal say so meanwhile. Raises typer.BadParameter for a wrong option."""
    from internvl.engine.config import EngineConfig

    try:
        config = EngineConfig(**options)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error
    note = f"loading {model} ..." if sys.stderr.isatty() else ""
    print(note, end="", file=sys.stderr, flush=True)
    try:
        from internvl.chat.pipeline import pipeline

        return pipeline(model, config)
    finally:
        print("\r" + " " * len(note) + "\r" if note else "", end="", file=sys.stderr, flush=True)
