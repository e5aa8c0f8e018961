"""The page: Gradio's components, how they lie, and which of `chat`'s updates changes which of them."""

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
from internvl.demo.seen import show_cost, show_tiles
from internvl.demo.settings import MAX_NEW_TOKENS, AskSettings
from internvl.demo.snippets import KINDS, snippet
from internvl.demo.strings import GRADIO_LOCALES, Strings, choose_language, tables
from internvl.errors import InternVLError

#: Answers that windows may wait for at the same time; the engine decodes them together.
MAX_OPEN_ANSWERS = 32
#: Requests that may wait for their turn; one more is refused.
MAX_QUEUE = 256

_HERE = Path(__file__).parent
_EXAMPLES = ("object", "shapes", "sign")
_HEADER = """\
<a id="skip-link" href="#composer"></a>
<h1>internvl</h1>
<div class="tools">
<button id="theme-button" type="button"><svg viewBox="0 0 24 24" width="18" height="18" aria-hidden="true">\
<circle cx="12" cy="12" r="8.5" fill="none" stroke="currentColor" stroke-width="2"/>\
<path d="M12 3.5a8.5 8.5 0 0 1 0 17z" fill="currentColor"/></svg></button>
<select id="language-menu"></select>
</div>"""


def _word_table(table: dict[str, str]) -> dict[str, str]:
    """Return a language's words for Gradio, under names that no user's text will be mistaken for."""
    joined = {"welcome_page": f"## {table['welcome']}\n{table['welcome_text']}"}
    return {f"internvl_{key}": text for key, text in (table | joined).items()}


I18N = gr.I18n(**{GRADIO_LOCALES.get(code, code): _word_table(table) for code, table in tables().items()})


def i18n(key: str) -> Any:
    """Return what stands for a text until a browser puts in its own language's."""
    return I18N(f"internvl_{key}")


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
            self._kept = gr.BrowserState(None, storage_key="internvl-conversation", secret="internvl-demo")
            gr.Markdown(_HEADER, elem_id="header", sanitize_html=False)
            with gr.Row(elem_id="main"):
                with gr.Column(scale=7, min_width=320, elem_id="talk"):
                    self._lay_out_talk()
                with gr.Column(scale=4, min_width=300, elem_id="side"), gr.Tabs(elem_id="tabs"):
                    self._lay_out_side()
            self._connect(blocks)
        blocks.queue(max_size=MAX_QUEUE, default_concurrency_limit=8, api_open=False)
        return blocks

    # -- how it lies

    def _lay_out_talk(self) -> None:
        self._chatbot = gr.Chatbot(
            label=i18n("conversation"),
            show_label=False,
            elem_id="chat",
            height="100%",
            layout="bubble",
            editable="user",
            buttons=["copy"],
            feedback_options=None,
            allow_tags=False,
            group_consecutive_messages=False,
            placeholder=str(i18n("welcome_page")),
            latex_delimiters=[
                {"left": "$$", "right": "$$", "display": True},
                {"left": "\\(", "right": "\\)", "display": False},
                {"left": "\\[", "right": "\\]", "display": True},
            ],
        )
        self._composer = gr.MultimodalTextbox(
            elem_id="composer",
            label=i18n("message"),
            show_label=False,
            placeholder=str(i18n("message_hint")),
            sources=["upload"],
            file_types=["image", "video"],
            file_count="multiple",
            max_lines=8,
            max_plain_text_length=100_000,
            autofocus=True,
        )
        with gr.Row(elem_id="below"):
            self._camera_button = gr.Button(i18n("camera"), size="sm", elem_id="camera-button")
            self._new = gr.Button(i18n("new"), size="sm", elem_id="new-button")
        self._camera = gr.Image(
            label=i18n("camera_label"),
            sources=["webcam"],
            type="filepath",
            format="png",
            visible=False,
            elem_id="camera",
            buttons=[],
        )

    def _lay_out_side(self) -> None:
        names = self._chat.models.names
        with gr.Tab(i18n("seen"), id="seen"):
            self._cost = gr.Markdown("", elem_id="cost", sanitize_html=False)
            empty = f'<p class="hint">{i18n("nothing_seen")}</p>'
            self._seen = gr.Markdown(empty, elem_id="seen", sanitize_html=False)
        with gr.Tab(i18n("settings"), id="settings"):
            self._model = gr.Dropdown(
                list(names),
                value=names[0],
                label=i18n("model"),
                info=i18n("model_info"),
                visible=len(names) > 1,
                filterable=False,
                elem_id="model",
            )
            self._system = gr.Textbox(
                "", label=i18n("system"), info=i18n("system_info"), lines=2, max_lines=8, elem_id="system"
            )
            self._temperature = gr.Slider(
                0,
                2,
                0,
                step=0.05,
                label=i18n("temperature"),
                info=i18n("temperature_info"),
                elem_id="temperature",
            )
            self._top_p = gr.Slider(0.05, 1, 1, step=0.05, label=i18n("top_p"), info=i18n("top_p_info"))
            self._max_new_tokens = gr.Slider(
                1, MAX_NEW_TOKENS, 512, step=1, label=i18n("max_new_tokens"), elem_id="max-new-tokens"
            )
            self._max_tiles = gr.Slider(
                0, 40, 0, step=1, label=i18n("max_tiles"), info=i18n("max_tiles_info"), elem_id="max-tiles"
            )
        with gr.Tab(i18n("code"), id="code") as self._code_tab:
            self._kind = gr.Radio(
                [(title, kind) for kind, (title, _) in KINDS.items()],
                value="curl",
                label=i18n("code_kind"),
                info=i18n("code_hint"),
                elem_id="code-kind",
            )
            self._code = gr.Code(
                "", language="shell", interactive=False, show_label=False, elem_id="code", lines=8
            )
        with gr.Tab(i18n("save"), id="save"):
            gr.Markdown(str(i18n("save_hint")))
            self._save_markdown = gr.Button(i18n("save_markdown"), elem_id="save-markdown")
            self._save_json = gr.Button(i18n("save_json"), elem_id="save-json")
            # the page's script follows the link that comes here
            self._download = gr.Markdown("", elem_id="download", sanitize_html=False)

    # -- what happens

    def _connect(self, blocks: gr.Blocks) -> None:
        settings = [
            self._model,
            self._system,
            self._temperature,
            self._top_p,
            self._max_new_tokens,
            self._max_tiles,
        ]
        shown = [self._chatbot, self._composer, self._kept, self._cost, self._seen]
        answering: dict[str, Any] = {
            "outputs": shown,
            "show_progress": "hidden",
            "concurrency_limit": MAX_OPEN_ANSWERS,
            "concurrency_id": "answers",
            "api_visibility": "private",
            "trigger_mode": "once",
        }
        quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        self._composer.submit(self._ask, [self._kept, self._composer, *settings], **answering)
        self._chatbot.example_select(self._ask_example, [self._kept, *settings], **answering)
        self._chatbot.retry(self._retry, [self._kept, *settings], **answering)
        self._chatbot.edit(self._edit, [self._kept, *settings], **answering)
        self._composer.stop(self._stop, None, None, concurrency_limit=None, **quick)
        for trigger in (self._chatbot.clear, self._new.click):
            trigger(self._clear, None, shown, **quick)
        self._camera_button.click(lambda: gr.Image(visible=True, value=None), None, self._camera, **quick)
        self._camera.input(
            self._photographed, [self._composer, self._camera], [self._composer, self._camera], **quick
        )
        code = [self._kept, self._kind, *settings]
        for trigger in (self._code_tab.select, self._kind.change, self._kept.change):
            trigger(self._show_code, code, self._code, **quick)
        for button, kind in ((self._save_markdown, "md"), (self._save_json, "json")):
            button.click(self._exporter(kind), [self._kept, *settings], self._download, **quick)
        blocks.load(self._load, self._kept, shown, **quick)
        blocks.unload(self._unload)

    # The handlers get what Gradio read from the browser. It finds the request and the event by their types, and only in
    # front of the inputs. Most answer with one value for each of `shown`.

    def _ask(self, request: gr.Request, kept: Any, message: Any, *settings: Any) -> Iterator[Any]:
        draft = _read_draft(message)
        yield from self._draw(request, lambda asker: self._chat.ask(asker, kept, draft, _settings(settings)))

    def _ask_example(
        self, request: gr.Request, event: gr.SelectData, kept: Any, *settings: Any
    ) -> Iterator[Any]:
        """The browser says which example; what is asked comes from here."""
        names = [name for name in _EXAMPLES if name == _EXAMPLES[_index(event.index) % len(_EXAMPLES)]]
        asker = asker_of(request)
        upload = self._chat.store.uploads_dir / f"{names[0]}.png"
        upload.write_bytes((_HERE / "examples" / f"{names[0]}.png").read_bytes())
        draft = Draft(asker.strings(f"example_{names[0]}"), (str(upload),))
        yield from self._draw(request, lambda asker: self._chat.ask(asker, kept, draft, _settings(settings)))

    def _retry(self, request: gr.Request, event: gr.RetryData, kept: Any, *settings: Any) -> Iterator[Any]:
        index = _index(event.index)
        yield from self._draw(
            request, lambda asker: self._chat.ask_again(asker, kept, index, _settings(settings))
        )

    def _edit(self, request: gr.Request, event: gr.EditData, kept: Any, *settings: Any) -> Iterator[Any]:
        index, text = _index(event.index), _edited_text(event.value)
        yield from self._draw(
            request, lambda asker: self._chat.ask_again(asker, kept, index, _settings(settings), text)
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
        self._tell(asker, update)
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
        code = snippet(kind, conversation, _settings(settings), file_name=self._chat.store.file_name)
        return gr.Code(code, language=KINDS[kind][1])

    def _exporter(self, kind: str) -> Callable[..., Any]:
        def export(request: gr.Request, kept: Any, *settings: Any) -> str:
            asker, asked, store = asker_of(request), _settings(settings), self._chat.store
            conversation = self._chat.restore(asker, kept).conversation
            if kind == "md":
                text = to_markdown(conversation, partial(store.data_url, shown=True), asker.strings)
            else:
                system = asked.system_message
                text = to_json(conversation, store.data_url, model=asked.model, system=system)
            folder = Path(tempfile.mkdtemp(dir=store.uploads_dir))
            path = folder / f"conversation.{kind}"
            path.write_text(text, encoding="utf-8")
            return f'<a href="gradio_api/file={path}" download="{path.name}" tabindex="-1" aria-hidden="true"></a>'

        return export

    # -- updates

    def _draw(self, request: gr.Request, answer: Callable[[Asker], Iterator[Update]]) -> Iterator[list[Any]]:
        """Yield one value for each of `shown`, update by update."""
        asker = asker_of(request)
        try:
            updates = answer(asker)
        except InternVLError as error:  # settings that cannot be
            raise gr.Error(html.escape(str(error)), print_exception=False) from error
        for update in updates:
            self._tell(asker, update)
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

    def _tell(self, asker: Asker, update: Update) -> None:
        if update.problem is not None:
            # Gradio takes the message for HTML
            gr.Warning(html.escape(update.problem), title=asker.strings("failed"), duration=20)
        if update.notice is not None:
            gr.Info(html.escape(update.notice), title=asker.strings("model"), duration=10)

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


def _settings(values: tuple[Any, ...]) -> AskSettings:
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
