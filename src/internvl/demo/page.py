"""The page: what happens when somebody uses its components, and which of `chat`'s updates changes which of them."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from internvl.demo.chat import Asker, Chat, Draft, Update
from internvl.demo.conversation import Conversation
from internvl.demo.export import to_json, to_markdown
from internvl.demo.layout import Layout
from internvl.demo.seen import show_cost, show_tiles
from internvl.demo.settings import AskSettings
from internvl.demo.snippets import KINDS, snippet
from internvl.demo.strings import Strings, choose_language, tables
from internvl.errors import InternVLError

#: Answers that windows may wait for at the same time; the engine decodes them together.
MAX_OPEN_ANSWERS = 32
#: Requests that may wait for their turn; one more is refused.
MAX_QUEUE = 256

_HERE = Path(__file__).parent
_EXAMPLES = ("object", "shapes", "sign")


def asker_of(request: gr.Request) -> Asker:
    """Return whose browser window asks, and its language."""
    language = choose_language(request.cookies, request.headers.get("accept-language", ""))
    return Asker(window=request.session_hash or "", strings=Strings(language))


class Page:
    """One page over one `Chat`: `Page(chat).build()`."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    def build(self) -> gr.Blocks:
        """Return the page."""
        with gr.Blocks(
            title=tables()["en"]["title"],
            analytics_enabled=False,
            fill_height=True,
            fill_width=True,
        ) as blocks:
            layout = Layout(self._chat.models.names)
            self._connect(blocks, layout)
        blocks.queue(max_size=MAX_QUEUE, default_concurrency_limit=8, api_open=False)
        return blocks

    # -- what happens

    def _connect(self, blocks: gr.Blocks, layout: Layout) -> None:
        answering: dict[str, Any] = {
            "outputs": layout.shown,
            "show_progress": "hidden",
            "concurrency_limit": MAX_OPEN_ANSWERS,
            "concurrency_id": "answers",
            "api_visibility": "private",
            "trigger_mode": "once",
        }
        quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        layout.composer.submit(self._ask, [layout.kept, layout.composer, *layout.settings], **answering)
        layout.chatbot.example_select(self._ask_example, [layout.kept, *layout.settings], **answering)
        layout.chatbot.retry(self._retry, [layout.kept, *layout.settings], **answering)
        layout.chatbot.edit(self._edit, [layout.kept, *layout.settings], **answering)
        layout.composer.stop(self._stop, None, None, concurrency_limit=None, **quick)
        for trigger in (layout.chatbot.clear, layout.new.click):
            trigger(self._clear, None, layout.shown, **quick)
        layout.camera_button.click(lambda: gr.Image(visible=True, value=None), None, layout.camera, **quick)
        layout.camera.input(
            self._photographed, [layout.composer, layout.camera], [layout.composer, layout.camera], **quick
        )
        code = [layout.kept, layout.kind, *layout.settings]
        for trigger in (layout.code_tab.select, layout.kind.change, layout.kept.change):
            trigger(self._show_code, code, layout.code, **quick)
        for button, kind in ((layout.save_markdown, "md"), (layout.save_json, "json")):
            button.click(self._exporter(kind), [layout.kept, *layout.settings], layout.download, **quick)
        blocks.load(self._load, layout.kept, layout.shown, **quick)
        blocks.unload(self._unload)

    # The handlers get what Gradio read from the browser. It finds the request and the event by their types, and only in
    # front of the inputs. Most answer with one value for each of `Layout.shown`.

    def _ask(self, request: gr.Request, kept: Any, message: Any, *settings: Any) -> Iterator[Any]:
        draft = _read_draft(message)
        yield from self._draw(
            request, lambda asker: self._chat.ask(asker, kept, draft, read_settings(settings))
        )

    def _ask_example(
        self, request: gr.Request, event: gr.SelectData, kept: Any, *settings: Any
    ) -> Iterator[Any]:
        """The browser says which example; what is asked comes from here."""
        name = _EXAMPLES[_index(event.index) % len(_EXAMPLES)]
        upload = self._new_folder() / f"{name}.png"
        upload.write_bytes((_HERE / "examples" / f"{name}.png").read_bytes())
        draft = Draft(asker_of(request).strings(f"example_{name}"), (str(upload),))
        yield from self._draw(
            request, lambda asker: self._chat.ask(asker, kept, draft, read_settings(settings))
        )

    def _retry(self, request: gr.Request, event: gr.RetryData, kept: Any, *settings: Any) -> Iterator[Any]:
        index = _index(event.index)
        yield from self._draw(
            request, lambda asker: self._chat.ask_again(asker, kept, index, read_settings(settings))
        )

    def _edit(self, request: gr.Request, event: gr.EditData, kept: Any, *settings: Any) -> Iterator[Any]:
        index, text = _index(event.index), _edited_text(event.value)
        yield from self._draw(
            request, lambda asker: self._chat.ask_again(asker, kept, index, read_settings(settings), text)
        )

    def _stop(self, request: gr.Request) -> None:
        self._chat.stop(asker_of(request))

    def _unload(self, request: gr.Request) -> None:
        """The window was closed or loaded anew."""
        self._chat.stop(asker_of(request))

    def _clear(self, request: gr.Request) -> list[Any]:
        self._chat.stop(asker_of(request))
        empty = show_tiles([], 0, asker_of(request).strings)
        return [[], _composer(Draft(), answering=False), Conversation().to_json(), "", empty]

    def _load(self, request: gr.Request, kept: Any) -> list[Any]:
        asker = asker_of(request)
        update = self._chat.restore(asker, kept)
        self._tell(update)
        chatbot = gr.Chatbot(
            value=self._messages(update, asker),
            examples=[self._example(name, asker.strings) for name in _EXAMPLES],
        )
        composer = _composer(None, answering=False)
        return [
            chatbot,
            composer,
            update.conversation.to_json(),
            show_cost(update.cost, asker.strings),
            gr.skip(),
        ]

    def _photographed(self, message: Any, path: Any) -> list[Any]:
        """Put a photograph into the message box."""
        draft = _read_draft(message)
        files = [*draft.files, path] if isinstance(path, str) else list(draft.files)
        return [
            gr.MultimodalTextbox(value={"text": draft.text, "files": files}),
            gr.Image(visible=False, value=None),
        ]

    def _show_code(self, request: gr.Request, kept: Any, kind: Any, *settings: Any) -> Any:
        kind = kind if kind in KINDS else "curl"
        conversation = self._chat.restore(asker_of(request), kept).conversation
        asked = read_settings(settings)
        code = snippet(
            kind,
            conversation,
            asked,
            file_name=self._chat.store.file_name,
            adapter_of=self._chat.models.adapter_of(asked.model),
        )
        return gr.Code(code, language=KINDS[kind][1])

    def _exporter(self, kind: str) -> Callable[..., Any]:
        def export(request: gr.Request, kept: Any, *settings: Any) -> str:
            asker, asked, store = asker_of(request), read_settings(settings), self._chat.store
            conversation = self._chat.restore(asker, kept).conversation
            if kind == "md":
                text = to_markdown(conversation, partial(store.data_url, shown=True), asker.strings)
            else:
                system = asked.system_message
                text = to_json(conversation, store.data_url, model=asked.model, system=system)
            path = self._new_folder() / f"conversation.{kind}"
            path.write_text(text, encoding="utf-8")
            return f'<a href="gradio_api/file={path}" download="{path.name}" tabindex="-1" aria-hidden="true"></a>'

        return export

    def _new_folder(self) -> Path:
        """Return a folder for a file of ours among the uploads: it goes with them."""
        return Path(tempfile.mkdtemp(dir=self._chat.store.uploads_dir))

    # -- updates

    def _draw(self, request: gr.Request, answer: Callable[[Asker], Iterator[Update]]) -> Iterator[list[Any]]:
        """Yield one value for each of `Layout.shown`, update by update."""
        asker = asker_of(request)
        try:
            updates = answer(asker)
        except InternVLError as error:  # settings that cannot be
            raise gr.Error(html.escape(str(error)), print_exception=False) from error
        for update in updates:
            self._tell(update)
            messages = self._messages(update, asker)
            composer: Any = gr.skip()
            if update.draft is not None or not update.answering:
                composer = _composer(update.draft, answering=update.answering)
            elif len(messages) % 2:  # the question alone: what follows does not touch the message box
                composer = _composer(None, answering=True)
            yield [
                messages,
                composer,
                gr.skip() if update.answering else update.conversation.to_json(),
                gr.skip() if update.answering else show_cost(update.cost, asker.strings),
                gr.skip() if update.seen is None else update.seen,
            ]

    def _messages(self, update: Update, asker: Asker) -> list[Any]:
        """Return the conversation as the chat window takes it."""
        messages = self._chat.drawn(update.conversation, asker.strings, complete=not update.answering)
        for message in messages:
            message["content"] = [
                part if isinstance(part, str) else _image(**part) for part in message["content"]
            ]
        return messages

    def _tell(self, update: Update) -> None:
        if update.problem is not None:
            # Gradio takes the message for HTML
            gr.Warning(html.escape(update.problem), duration=20)
        if update.notice is not None:
            gr.Info(html.escape(update.notice), duration=10)

    def _example(self, name: str, strings: Strings) -> Any:
        path = str(_HERE / "examples" / f"{name}.png")
        text = strings(f"example_{name}")
        return {"text": text, "display_text": text, "files": [path], "icon": path}


def _image(path: str, alt_text: str) -> dict[str, Any]:
    """Return a picture of a message. As a plain file it would lose its description on the way to the browser."""
    file = FileData(path=path, mime_type="image/webp", orig_name=alt_text)
    return {
        "type": "component",
        "component": "image",
        "value": file.model_dump(),
        "constructor_args": {},
        "props": {"alt_text": alt_text},
    }


def _composer(draft: Draft | None, *, answering: bool) -> Any:
    """Return the message box with a send or a stop button; `draft` is what it is to hold, None leaves that."""
    value: dict[str, Any] = (
        {} if draft is None else {"value": {"text": draft.text, "files": list(draft.files)}}
    )
    return gr.MultimodalTextbox(submit_btn=not answering, stop_btn=answering, **value)


def _read_draft(message: Any) -> Draft:
    message = message if isinstance(message, dict) else {}
    return Draft(str(message.get("text") or ""), tuple(message.get("files") or ()))


def read_settings(values: tuple[Any, ...]) -> AskSettings:
    """Return the settings from the controls, in the order of the page. Raises RequestError."""
    model, system, temperature, top_p, max_new_tokens, max_tiles = values
    return AskSettings(
        model=model,
        system=system or "",
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        max_tiles=max_tiles,
    )


def _index(value: Any) -> int:
    """Return the place of a message; Gradio may send it with the place of a part behind it."""
    value = value[0] if isinstance(value, list | tuple) and value else value
    return value if isinstance(value, int) and value >= 0 else 0


def _edited_text(value: Any) -> str:
    """Return the words of an edited message: a text, or parts of which some are texts."""
    if isinstance(value, str):
        return value
    parts = value if isinstance(value, list) else []
    return "".join(
        str(part["text"]) for part in parts if isinstance(part, dict) and part.get("type") == "text"
    )
