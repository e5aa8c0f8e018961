"""The conversation behind `internvl chat`: reads messages, obeys /commands, asks, prints."""

from __future__ import annotations

import contextlib
import importlib
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from internvl.chat.call_forms import looks_like_media
from internvl.cli.answers import AnswerPrinter
from internvl.cli.languages import instruction
from internvl.cli.shown import ClipOptions, Shown, describe, open_shown
from internvl.errors import InternVLError
from internvl.types import GenerationConfig, Response

if TYPE_CHECKING:
    from internvl.chat.session import Session

HELP = """\
/image PATH ...   show pictures or videos with the next message (a path at its beginning does, too)
/clear            start over
/system TEXT      start over with this system message (without TEXT: the family's own)
/language NAME    answer in this language (without NAME: as asked)
/adapter NAME     let this adapter answer (without NAME: the model itself)
/stats            show tiles, tokens and seconds, or do not
/help             this list
/exit             leave; so does Ctrl-D
Enter sends a message; a line that ends in \\ goes on in the next one. With --multiline an empty line
(double Enter) sends it. Ctrl-C stops an answer."""

LEAVE = ("/exit", "/quit", "exit", "quit", "end")


class Conversation:
    """Asks questions in one session after another, at a terminal or in a pipe."""

    def __init__(
        self,
        start: Callable[..., Session],
        gen_config: GenerationConfig,
        printer: AnswerPrinter,
        *,
        system: str | None = None,
        language: str | None = None,
        fit_answer: bool = False,
        clip: ClipOptions | None = None,
        adapters: Sequence[str] = (),
    ) -> None:
        """`start` makes a session with a system message and an `adapter_name`; `fit_answer` as in `Engine.submit`;
        `clip`: which frames of videos; `adapters`: the first one answers."""
        self._start = start
        self._gen_config = gen_config
        self._printer = printer
        self._system = system
        self._language = language
        self._fit_answer = fit_answer
        self._clip = clip or ClipOptions()
        self._adapters = tuple(adapters)
        self._adapter = self._adapters[0] if adapters else None
        self._model = printer.model
        self._session = start(system, adapter_name=self._adapter)
        self._pictures: list[Shown] = []
        self._commands: dict[str, Callable[[str], object]] = {
            "/image": lambda rest: self._attach(_split(rest)),
            "/clear": lambda rest: self._clear(),
            "/system": self._set_system,
            "/language": self._set_language,
            "/adapter": self._set_adapter,
            "/stats": lambda rest: self._toggle_stats(),
            "/help": lambda rest: print(HELP),
        }

    def ask(self, question: str, pictures: Sequence[Shown] = ()) -> Response:
        """Ask once, print the answer and return it; what fails is raised."""
        if self._language:
            question = f"{question}\n{instruction(self._language)}"
        self._printer.model = self._adapter or self._model
        prompt = (question, list(pictures)) if pictures else question
        return self._printer.print(self._session.ask(prompt, self._gen_config, fit_answer=self._fit_answer))

    def run(self, pictures: Sequence[str] = (), question: str = "", *, multiline: bool = False) -> None:
        """Converse until /exit or the end of the input; `pictures` and `question` come first."""
        read = _reader(multiline)
        if sys.stdin.isatty():
            print(f"{self._printer.model}: ask away. /help lists the commands, /exit or Ctrl-D leaves.")
        self._attach(pictures)
        if question:
            self._try(question)
        while True:
            try:
                message = read().strip()
            except EOFError:
                return
            except KeyboardInterrupt:
                print("\n(/exit or Ctrl-D leaves)")
                continue
            if message in LEAVE:
                return
            if message:
                self._handle(message)

    def _handle(self, message: str) -> None:
        command, _, rest = message.partition(" ")
        if command in self._commands:
            self._commands[command](rest.strip())
            return
        if command.startswith("/") and not looks_like_media(command):
            print(f"there is no command {command}\n{HELP}")
            return
        pictures, question = _leading_pictures(message)
        if self._attach(pictures) and question:
            self._try(question)

    def _try(self, question: str) -> None:
        """Ask; a failure is printed, and the pictures wait for the next try."""
        try:
            self.ask(question, self._pictures)
        except InternVLError as error:
            print(f"error: {error}", file=sys.stderr)
            return
        except KeyboardInterrupt:
            print("(stopped)", file=sys.stderr)
        self._pictures = []

    def _attach(self, names: Sequence[str]) -> bool:
        """Open pictures and videos for the next message; say which one cannot be read."""
        for name in names:
            try:
                shown = open_shown(name, self._clip)
            except InternVLError as error:
                print(f"error: {error}", file=sys.stderr)
                return False
            self._pictures.append(shown)
            print(f"({describe(name, shown)})")
        return True

    def _clear(self) -> None:
        self._session = self._start(self._system, adapter_name=self._adapter)
        self._pictures = []
        print("(a new conversation)")

    def _set_system(self, text: str) -> None:
        self._system = text or None
        self._clear()

    def _set_language(self, name: str) -> None:
        self._language = name or None
        print(f"({instruction(name)})" if name else "(language: as asked)")

    def _set_adapter(self, name: str) -> None:
        """Let another adapter go on with the conversation."""
        if name and name not in self._adapters:
            known = ", ".join(self._adapters) or "none; start with --adapter NAME=DIRECTORY"
            print(f"there is no adapter {name}; there are: {known}", file=sys.stderr)
            return
        self._adapter = self._session.adapter = name or None
        print(f"({name or self._model} answers)")

    def _toggle_stats(self) -> None:
        self._printer.with_stats = not self._printer.with_stats
        print(f"(stats {'on' if self._printer.with_stats else 'off'})")


def _leading_pictures(message: str) -> tuple[list[str], str]:
    """Split "a.png b.png what differs?" into its pictures and its question."""
    words = message.split(" ")
    count = next((i for i, word in enumerate(words) if not looks_like_media(word)), len(words))
    return words[:count], " ".join(words[count:]).strip()


def _split(names: str) -> list[str]:
    """Split as a shell does, so that names with spaces can be quoted; an odd quote is part of the name."""
    try:
        return shlex.split(names)
    except ValueError:
        return names.split()


def _reader(multiline: bool) -> Callable[[], str]:
    """Return what reads one message from stdin; it raises EOFError at the end."""
    terminal = sys.stdin.isatty()
    if terminal:
        with contextlib.suppress(ImportError):  # no readline on Windows: input() works without
            importlib.import_module("readline")
    first, more = (">>> ", "... ") if terminal else ("", "")

    def read() -> str:
        lines = [input(first)]
        while lines[-1] and (multiline or lines[-1].endswith("\\")):
            if not multiline:
                lines[-1] = lines[-1][:-1]
            try:
                lines.append(input(more))
            except EOFError:
                break
        return "\n".join(lines)

    return read
