"""What happens in the demo: ask, edit, ask again, stop; as updates of what the page shows. No Gradio here.

`page` draws the updates. Everything in a request comes from a browser and is checked: the conversation, the settings,
the uploads.
"""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from internvl.demo.answering import OpenAnswers
from internvl.demo.boxes import draw_regions, read_regions
from internvl.demo.conversation import Conversation, Cost, Turn, read_conversation
from internvl.demo.export import describe_answer
from internvl.demo.models import ModelShelf
from internvl.demo.pictures import PictureStore, is_video_id
from internvl.demo.seen import MAX_SHOWN, Shown, TileFolder, save_tiles, show_tiles
from internvl.demo.settings import AskSettings
from internvl.demo.strings import Strings
from internvl.errors import InternVLError, RequestError
from internvl.media.video import Video
from internvl.types import Response

logger = logging.getLogger(__name__)

#: Pictures in one question.
MAX_PICTURES_ASKED = 16
#: A page that is drawn more often than this only costs.
_SECONDS_BETWEEN_DRAWINGS = 0.06

#: Markdown that is code, where nothing is to be changed: fenced blocks, and spans between equal runs of backticks.
_CODE = re.compile(
    r"^ {0,3}(`{3,}|~{3,})[^\n]*\n.*?(?:^ {0,3}\1[`~]*[ \t]*$|\Z)"
    r"|(?<![\\`])(`+)(?!`)(?:(?!\n[ \t]*\n).)+?(?<!`)\2(?!`)",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Draft:
    """What the message box holds."""

    text: str = ""
    files: tuple[str, ...] = ()
    """Uploads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """How the page is to look from now on; None leaves a part as it is."""

    conversation: Conversation
    answering: bool
    """Show a stop button instead of a send button."""
    draft: Draft | None = None
    seen: str | None = None
    """HTML of the tiles."""
    problem: str | None = None
    """A message to show: it did not work."""
    notice: str | None = None
    """A message to show: it takes a while."""

    @property
    def cost(self) -> Cost | None:
        """Of the last answer."""
        turns = self.conversation.turns
        return turns[-1].cost if turns else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks, and in which language the page speaks to them."""

    window: str
    strings: Strings = field(default_factory=Strings)


class Chat:
    """The demo's conversations over the models of a shelf. Any thread may call it."""

    def __init__(self, models: ModelShelf, store: PictureStore) -> None:
        self.models = models
        self.store = store
        self.answers = OpenAnswers()
        self._tiles = TileFolder(store.shown_dir)

    # -- what people do

    def ask(self, asker: Asker, kept: Any, draft: Draft, settings: AskSettings) -> Iterator[Update]:
        """Answer a new question: `draft` at the end of the conversation that the browser kept."""
        before = self.restore(asker, kept).conversation
        if not draft.text.strip() and not draft.files:
            yield Update(conversation=before, answering=False, problem=asker.strings("ask_something"))
            return
        try:
            if len(draft.files) > MAX_PICTURES_ASKED:
                raise RequestError(
                    f"{len(draft.files)} pictures in one question; the limit is {MAX_PICTURES_ASKED}"
                )
            pictures = tuple(self.store.add(path) for path in draft.files)
            asked = before.asked(draft.text.strip(), pictures)
        except InternVLError as error:
            yield Update(conversation=before, answering=False, draft=draft, problem=str(error))
            return
        yield Update(conversation=asked, answering=True, draft=Draft())
        yield from self._answer(asker, before, asked, settings, draft)

    def ask_again(
        self, asker: Asker, kept: Any, index: int, settings: AskSettings, text: str | None = None
    ) -> Iterator[Update]:
        """Answer the question at `index`, or the one before it, anew, and let go what followed it; `text` replaces its
        words."""
        old = self.restore(asker, kept).conversation
        try:
            before, question = old.before(index)
            words = question.text if text is None else text.strip()
            if not words and not question.pictures:
                raise RequestError(asker.strings("ask_something"))
            asked = before.asked(words, question.pictures)
        except InternVLError as error:
            yield Update(conversation=old, answering=False, problem=str(error))
            return
        yield Update(conversation=asked, answering=True)
        yield from self._answer(asker, old, asked, settings, None)

    def stop(self, asker: Asker) -> None:
        """End the answers that a window waits for."""
        self.answers.stop(asker.window)

    def restore(self, asker: Asker, kept: Any) -> Update:
        """Return what the browser kept, or a new conversation where that cannot be read."""
        try:
            return Update(conversation=read_conversation(kept), answering=False)
        except RequestError as error:
            logger.info("a kept conversation was refused: %s", error)
            problem = asker.strings("kept_unreadable")
            return Update(conversation=Conversation(), answering=False, problem=problem)

    # -- what they see

    def drawn(self, conversation: Conversation, strings: Strings, *, complete: bool = True) -> list[Any]:
        """Return the conversation as messages for a chat window: {"role", "content": [text or {"path", "alt_text"}]}.

        Args:
            conversation: What to show.
            strings: Of the reader's language.
            complete: The last answer is whole: draw its boxes and say what it cost.
        """
        messages: list[dict[str, Any]] = []
        number = 0
        asked: tuple[str, ...] = ()
        for place, turn in enumerate(conversation.turns):
            if turn.role == "user":
                content: list[Any] = []
                for picture in turn.pictures:
                    number += 1
                    name = strings("video" if is_video_id(picture) else "picture", number=number)
                    content.append(self._shown_picture(picture, name, strings))
                # boxes are places in pictures; a video's frames have none
                asked = tuple(each for each in turn.pictures if not is_video_id(each)) or asked
                content += [turn.text] if turn.text else []
            else:
                whole = complete or place < len(conversation.turns) - 1
                content = self._shown_answer(turn, asked, strings, whole)
            messages.append({"role": turn.role, "content": content})
        return messages

    def _shown_picture(self, picture: str, name: str, strings: Strings) -> Any:
        path = self.store.shown(picture)
        if path is None:
            return f"*{name}: {strings('picture_gone')}*"
        return {"path": str(path), "alt_text": name}

    def _shown_answer(self, turn: Turn, pictures: Sequence[str], strings: Strings, whole: bool) -> list[Any]:
        grounded = read_regions(turn.text, len(pictures))
        content: list[Any] = [plain_markdown(grounded.text)]
        if not whole:
            return content
        for place, picture in enumerate(pictures):
            regions = [region for region in grounded.regions if region.picture == place]
            if regions and self.store.shown(picture) is not None:
                boxes = [(region.number, region.box_xyxy_norm1000) for region in regions]

                def draw(picture: str = picture, regions: Any = regions) -> Image.Image:
                    image = self.store.open(picture)
                    assert isinstance(image, Image.Image)
                    return draw_regions(image, regions)

                path = self.store.derived(f"boxes {picture} {boxes}", draw)
                content.append({"path": str(path), "alt_text": strings("marked")})
        if description := describe_answer(turn, strings):
            content.append(description)
        return content

    # -- answering

    def _answer(
        self,
        asker: Asker,
        before: Conversation,
        asked: Conversation,
        settings: AskSettings,
        draft: Draft | None,
    ) -> Iterator[Update]:
        """Yield updates until the answer is complete; on failure go back to `before` and `draft`."""
        try:
            yield from self._stream(asker, before, asked, settings, draft)
        except InternVLError as error:
            yield Update(conversation=before, answering=False, draft=draft, problem=str(error))
        except Exception:
            logger.exception("an answer failed")
            problem = asker.strings("failed_inside")
            yield Update(conversation=before, answering=False, draft=draft, problem=problem)

    def _stream(
        self,
        asker: Asker,
        before: Conversation,
        asked: Conversation,
        settings: AskSettings,
        draft: Draft | None,
    ) -> Iterator[Update]:
        opened: dict[str, Image.Image | Video] = {}

        def open_picture(picture: str) -> Image.Image | Video:
            if picture not in opened:
                opened[picture] = self.store.open(picture)
            return opened[picture]

        if settings.model in self.models.names and not self.models.is_loaded(settings.model):
            notice = asker.strings("loading", model=settings.model)
            yield Update(conversation=asked, answering=True, notice=notice)
        stream = self.answers.stream(
            asker.window,
            lambda: self.models.get(settings.model).engine,
            lambda: asked.messages(open_picture, system=settings.system_message, max_tiles=settings.tiles),
            settings.gen_config(),
            adapter=self.models.adapter(settings.model),
        )
        seen: str | None = None
        drawn_at = 0.0
        whole = Response()
        with closing(stream):
            for whole in stream:
                if whole.finish_reason is not None:
                    break
                if seen is not None and time.monotonic() - drawn_at < _SECONDS_BETWEEN_DRAWINGS:
                    continue
                first = seen is None
                if first:
                    seen = self._seen(asker, asked, opened, whole, settings)
                yield Update(
                    conversation=_with(asked, whole, settings), answering=True, seen=seen if first else None
                )
                drawn_at = time.monotonic()
        if whole.finish_reason == "abort" and not whole.text:
            # stopped before a word came: as if it had not been asked
            yield Update(conversation=before, answering=False, draft=draft)
            return
        if seen is None:
            seen = self._seen(asker, asked, opened, whole, settings)
        yield Update(conversation=_with(asked, whole, settings), answering=False, seen=seen)

    def _seen(
        self,
        asker: Asker,
        asked: Conversation,
        opened: dict[str, Image.Image | Video],
        whole: Response,
        settings: AskSettings,
    ) -> str:
        """Return the tiles of the prompt's last pictures as HTML."""
        engine = self.models.get(settings.model).engine
        image_size, fit = engine.processor.config.image_size, engine.processor.keeps_shape(engine.tile_limits)
        folder = self._tiles.new_view(asker.window)
        media = deque(whole.usage.media)
        shown = []
        for number, picture in enumerate(asked.pictures, start=1):
            source = opened[picture]
            count = len(source) if isinstance(source, Video) else 1
            own = tuple(media.popleft() for _ in range(count))
            if len(media) >= MAX_SHOWN:
                continue
            images = source if isinstance(source, Video) else (source,)
            urls = []
            for image, usage in zip(images, own, strict=True):
                paths = save_tiles(image, usage, image_size, folder, fit=fit)
                urls.append(tuple(f"gradio_api/file={path}" for path in paths))
            shown.append(Shown(number, own, tuple(urls)))
        return show_tiles(shown, image_size, asker.strings)


def plain_markdown(text: str) -> str:
    """Return an answer as Markdown in which tags are letters and pictures are links.

    What a model says is not to be trusted with a page: no HTML, and no address that a browser opens by itself.

    >>> plain_markdown("<b> ![x](http://y)")
    '&lt;b> !\\\\[x](http://y)'
    """
    pieces, place = [], 0
    for code in _CODE.finditer(text):
        pieces += [_plain(text[place : code.start()]), code[0]]
        place = code.end()
    return "".join([*pieces, _plain(text[place:])])


def _plain(text: str) -> str:
    return text.replace("<", "&lt;").replace("![", "!\\[")


def _with(asked: Conversation, whole: Response, settings: AskSettings) -> Conversation:
    return asked.answered(
        Turn(
            role="assistant",
            text=whole.text,
            finish_reason=whole.finish_reason,
            model=settings.model,
            cost=None if whole.finish_reason is None else Cost.of(whole.usage),
        )
    )
