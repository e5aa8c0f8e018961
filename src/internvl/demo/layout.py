"""Where Gradio's components lie on the page; nothing happens here, see `page`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from internvl.demo.settings import MAX_NEW_TOKENS
from internvl.demo.snippets import KINDS
from internvl.demo.strings import GRADIO_LOCALES, tables

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


class Layout:
    """The components of one page. Make it inside `with gr.Blocks()`."""

    def __init__(self, model_names: Sequence[str]) -> None:
        self._model_names = model_names
        self.kept = gr.BrowserState(None, storage_key="internvl-conversation", secret="internvl-demo")
        """The conversation, as `conversation` writes it."""
        gr.Markdown(_HEADER, elem_id="header", sanitize_html=False)
        with gr.Row(elem_id="main"):
            with gr.Column(scale=7, min_width=320, elem_id="talk"):
                self._lay_out_talk()
            with gr.Column(scale=4, min_width=300, elem_id="side"), gr.Tabs(elem_id="tabs"):
                self._lay_out_side()

    @property
    def settings(self) -> list[Any]:
        """The controls of the settings tab, in the order of `page.read_settings`."""
        return [
            self.model,
            self.system,
            self.temperature,
            self.top_p,
            self.max_new_tokens,
            self.max_tiles,
        ]

    @property
    def shown(self) -> list[Any]:
        """What an answer changes."""
        return [self.chatbot, self.composer, self.kept, self.cost, self.seen]

    def _lay_out_talk(self) -> None:
        self.chatbot = gr.Chatbot(
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
        self.composer = gr.MultimodalTextbox(
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
            self.camera_button = gr.Button(i18n("camera"), size="sm", elem_id="camera-button")
            self.new = gr.Button(i18n("new"), size="sm", elem_id="new-button")
        self.camera = gr.Image(
            label=i18n("camera_label"),
            sources=["webcam"],
            type="filepath",
            format="png",
            visible=False,
            elem_id="camera",
            buttons=[],
        )

    def _lay_out_side(self) -> None:
        names = self._model_names
        with gr.Tab(i18n("seen"), id="seen"):
            self.cost = gr.Markdown("", elem_id="cost", sanitize_html=False)
            empty = f'<p class="hint">{i18n("nothing_seen")}</p>'
            self.seen = gr.Markdown(empty, elem_id="seen", sanitize_html=False)
        with gr.Tab(i18n("settings"), id="settings"):
            self.model = gr.Dropdown(
                list(names),
                value=names[0],
                label=i18n("model"),
                info=i18n("model_info"),
                visible=len(names) > 1,
                filterable=False,
                elem_id="model",
            )
            self.system = gr.Textbox(
                "", label=i18n("system"), info=i18n("system_info"), lines=2, max_lines=8, elem_id="system"
            )
            self.temperature = gr.Slider(
                0,
                2,
                0,
                step=0.05,
                label=i18n("temperature"),
                info=i18n("temperature_info"),
                elem_id="temperature",
            )
            self.top_p = gr.Slider(0.05, 1, 1, step=0.05, label=i18n("top_p"), info=i18n("top_p_info"))
            self.max_new_tokens = gr.Slider(
                1, MAX_NEW_TOKENS, 512, step=1, label=i18n("max_new_tokens"), elem_id="max-new-tokens"
            )
            self.max_tiles = gr.Slider(
                0, 40, 0, step=1, label=i18n("max_tiles"), info=i18n("max_tiles_info"), elem_id="max-tiles"
            )
        with gr.Tab(i18n("code"), id="code") as self.code_tab:
            self.kind = gr.Radio(
                [(title, kind) for kind, (title, _) in KINDS.items()],
                value="curl",
                label=i18n("code_kind"),
                info=i18n("code_hint"),
                elem_id="code-kind",
            )
            self.code = gr.Code(
                "", language="shell", interactive=False, show_label=False, elem_id="code", lines=8
            )
        with gr.Tab(i18n("save"), id="save"):
            gr.Markdown(str(i18n("save_hint")))
            self.save_markdown = gr.Button(i18n("save_markdown"), elem_id="save-markdown")
            self.save_json = gr.Button(i18n("save_json"), elem_id="save-json")
            # the page's script follows the link that comes here
            self.download = gr.Markdown("", elem_id="download", sanitize_html=False)
