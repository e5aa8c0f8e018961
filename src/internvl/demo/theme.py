"""The page's colours, sizes and fonts. The fonts are the reader's own: none is fetched."""

from __future__ import annotations

from importlib.resources import files

import gradio as gr
from gradio.themes.utils import colors, sizes
from gradio.themes.utils.fonts import Font

#: What the theme has no word for.
STYLE = files("internvl.demo").joinpath("static/style.css")

_FONT = (
    "system-ui",
    "-apple-system",
    "Segoe UI",
    "Noto Sans",
    "Noto Sans CJK SC",
    "Noto Sans Arabic",
    "sans-serif",
)
_MONOSPACE = ("ui-monospace", "SF Mono", "Cascadia Mono", "Noto Sans Mono", "monospace")

#: A calm blue-green, dark enough for white letters on it.
_ACCENT = colors.Color(
    name="accent",
    c50="#effaf8",
    c100="#d6f2ed",
    c200="#b0e5dd",
    c300="#7dd2c7",
    c400="#46b5aa",
    c500="#1f8f86",
    c600="#17766f",
    c700="#155f5a",
    c800="#144c49",
    c900="#12403e",
    c950="#062625",
)


def make_theme() -> gr.themes.Base:
    """Return the demo's theme."""
    return gr.themes.Base(
        primary_hue=_ACCENT,
        secondary_hue=_ACCENT,
        neutral_hue=colors.slate,
        radius_size=sizes.radius_lg,
        spacing_size=sizes.spacing_md,
        text_size=sizes.text_md,
        font=[Font(name) for name in _FONT],
        font_mono=[Font(name) for name in _MONOSPACE],
    ).set(
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        body_background_fill="#f7f8fa",
        body_background_fill_dark="#0e1217",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#151b22",
        background_fill_secondary="#f1f4f6",
        background_fill_secondary_dark="#1b232c",
        block_background_fill="#ffffff",
        block_background_fill_dark="#151b22",
        block_border_color="#e3e8ec",
        block_border_color_dark="#263039",
        border_color_primary="#dfe5e9",
        border_color_primary_dark="#2a343e",
        block_border_width="1px",
        block_shadow="none",
        block_label_background_fill="transparent",
        block_label_border_width="0px",
        input_background_fill="#ffffff",
        input_background_fill_dark="#10161c",
        input_border_width="1px",
        input_border_color="#d5dde2",
        input_border_color_dark="#2f3a45",
        input_border_color_focus="*primary_500",
        input_border_color_focus_dark="*primary_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_dark="#1b232c",
        button_secondary_background_fill_hover="#f1f4f6",
        button_secondary_background_fill_hover_dark="#232d38",
        button_secondary_border_color="#d5dde2",
        button_secondary_border_color_dark="#2f3a45",
        button_border_width="1px",
        color_accent="*primary_600",
        color_accent_soft="*primary_50",
        color_accent_soft_dark="#123230",
        chatbot_text_size="*text_md",
    )
