"""Windows and dialogs as they are drawn for the skill `screen`: their looks, their words, and what stands where."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image, ImageDraw, ImageFont

from internvl.data.colours import Rgb
from internvl.data.fonts import find_fonts, load_font
from internvl.data.sample import Split

SIZES = ((560, 420), (640, 480), (512, 384), (448, 448), (600, 400))
_TITLES = (
    "Settings", "Save document", "Print", "New message", "Login", "Sign up", "Network", "Display options",
    "Delete file", "Update available", "Preferences", "Export data", "Open file", "User account", "Printer setup",
    "Backup", "Search", "Import photos", "Language", "Sound", "Calendar event", "Payment",
)  # fmt: skip
_HELD_OUT_TITLES = (
    "Device manager", "Privacy", "Text import", "Add contact", "Power saving", "Rename folder", "Subscription",
    "Colour profile",
)  # fmt: skip
_MENUS = (
    "File", "Edit", "View", "Insert", "Format", "Tools", "Window", "Help", "Project", "History", "Bookmarks",
    "Table",
)  # fmt: skip
_TABS = (
    "General", "Advanced", "View", "Security", "Network", "Users", "Devices", "Colors", "Layout", "Files", "About",
    "Details",
)  # fmt: skip
_ENTRIES = (
    "New", "Open", "Save", "Save as", "Print", "Close", "Undo", "Redo", "Cut", "Copy", "Paste", "Find", "Replace",
    "Zoom in", "Zoom out", "Full screen", "Rename", "Share", "Export", "Quit",
)  # fmt: skip
BUTTONS = (
    "OK", "Cancel", "Save", "Delete", "Apply", "Close", "Next", "Back", "Help", "Yes", "No", "Retry", "Send",
    "Search", "Print", "Open", "Skip", "Finish", "Reset", "Add",
)  # fmt: skip
FIELDS = {
    "Name": "Anna Berg|Tom Reed|Lena Fox|Paul Kern", "E-mail": "anna@mail.org|tom@post.net|info@shop.com",
    "City": "Oslo|Madrid|Boston|Kyoto", "Phone": "555 0142|030 7788|0171 4455",
    "File name": "report.pdf|notes.txt|photo1.png",
    "User": "admin|guest|mkern|lfox", "Address": "Main Street 5|Oak Road 12|Hill Lane 3", "Width": "640|800|1024",
    "Height": "480|600|768", "Copies": "1|2|5|10", "Date": "2024-05-17|2025-11-03|2026-01-29",
    "Subject": "Meeting|Invoice|Hello",
}  # fmt: skip
_OPTIONS = (
    "Remember me", "Show hidden files", "Dark mode", "Send reports", "Auto save", "Use proxy", "Print in color",
    "Enable sound", "Start at login", "Notify me", "Keep originals", "Both sides", "Landscape", "Lock screen",
)  # fmt: skip
_MESSAGES = (
    "Do you want to save the changes?", "The file could not be found.",
    "Are you sure you want to delete this item?", "The download is complete.", "Your password is wrong.",
    "A new version is available.", "The connection was lost.", "The printer is out of paper.",
    "There is not enough space on the disk.", "Restart the computer now?", "The file already exists.",
)  # fmt: skip
_HELD_OUT_MESSAGES = (
    "The battery is almost empty.", "Do you want to leave this page?", "No network was found.",
    "The upload has failed.",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Element:
    """Something on a screen."""

    role: str
    """title, button, field, check box, menu, entry, tab, message."""
    text: str
    box: tuple[int, int, int, int]
    value: str = ""
    """What a field holds."""
    on: bool = False
    """Ticked, highlighted or active."""


@dataclass(slots=True, kw_only=True)
class Screen:
    """A screenshot and its elements."""

    image: Image.Image
    elements: list[Element] = field(default_factory=list)

    def of(self, role: str) -> list[Element]:
        """The elements of one role, in reading order."""
        return [element for element in self.elements if element.role == role]


@dataclass(frozen=True, slots=True)
class _Theme:
    desktop: Rgb
    window: Rgb
    ink: Rgb
    bar: Rgb
    bar_ink: Rgb
    accent: Rgb
    line: Rgb
    radius: int
    font: str
    px: int


_THEMES: tuple[tuple[Rgb, Rgb, Rgb, Rgb, Rgb, Rgb, Rgb], ...] = (
    ((58, 110, 165), (240, 240, 240), (0, 0, 0), (255, 255, 255), (0, 0, 0), (0, 103, 192), (160, 160, 160)),
    ((0, 128, 128), (192, 192, 192), (0, 0, 0), (0, 0, 128), (255, 255, 255), (0, 0, 128), (96, 96, 96)),
    ((36, 36, 40), (48, 48, 54), (236, 236, 236), (30, 30, 34), (220, 220, 220), (53, 132, 228), (110, 110, 120)),
    ((214, 222, 232), (255, 255, 255), (34, 34, 34), (232, 232, 232), (60, 60, 60), (0, 122, 255), (190, 190, 190)),
    ((119, 41, 83), (250, 249, 248), (40, 40, 40), (60, 59, 55), (240, 240, 240), (233, 84, 32), (175, 170, 165)),
    ((240, 244, 238), (255, 255, 255), (20, 50, 20), (46, 125, 50), (255, 255, 255), (46, 125, 50), (165, 190, 165)),
)  # fmt: skip


def draw_screen(rng: random.Random, split: Split) -> Screen:
    """Draw a window with what it may hold."""
    book = find_fonts()
    fonts = book.held_out if split == "held_out" else book.plain
    theme = _Theme(*rng.choice(_THEMES), rng.choice((0, 0, 4, 8)), rng.choice(fonts), rng.randint(13, 17))
    return _Drawer(rng, rng.choice(SIZES), theme, split).draw()


class _Drawer:
    def __init__(self, rng: random.Random, size: tuple[int, int], theme: _Theme, split: Split) -> None:
        self.rng, self.theme, self.held_out = rng, theme, split == "held_out"
        self.image = Image.new("RGB", size, theme.desktop)
        self.pen = ImageDraw.Draw(self.image)
        self.screen = Screen(image=self.image)
        w, h = size
        self.window = (
            rng.randint(4, w // 16),
            rng.randint(4, h // 16),
            w - rng.randint(4, w // 16),
            h - rng.randint(4, h // 16),
        )
        self.y = 0.0

    @property
    def font(self) -> ImageFont.FreeTypeFont:
        return load_font(self.theme.font, self.theme.px)

    def write(
        self, x: float, y: float, text: str, ink: Rgb | None = None, anchor: str = "lm"
    ) -> tuple[int, int, int, int]:
        self.pen.text((x, y), text, font=self.font, fill=ink or self.theme.ink, anchor=anchor)
        box = self.pen.textbbox((x, y), text, font=self.font, anchor=anchor)
        return round(box[0]), round(box[1]), round(box[2]), round(box[3])

    def add(self, role: str, text: str, box: Sequence[float], value: str = "", on: bool = False) -> None:
        x0, y0, x1, y1 = (round(v) for v in box)
        self.screen.elements.append(Element(role, text, (x0, y0, x1, y1), value, on))

    def draw(self) -> Screen:
        theme, (x0, y0, x1, y1) = self.theme, self.window
        self.pen.rounded_rectangle(
            (x0 + 3, y0 + 3, x1 + 3, y1 + 3), theme.radius, fill=_darker(theme.desktop)
        )
        self.pen.rounded_rectangle(self.window, theme.radius, fill=theme.window, outline=theme.line)
        self._title_bar()
        rng = self.rng
        if rng.random() < 0.55:
            self._menu_bar()
        if rng.random() < 0.35:
            self._tabs()
        if rng.random() < 0.5:
            self._message()
        room = y1 - self.y - 4 * theme.px
        rows = int(room / (2.2 * theme.px))
        fields = rng.randint(0, max(0, min(3, rows)))
        self._fields(fields)
        self._check_boxes(rng.randint(0, max(0, min(4, rows - fields))))
        self._buttons()
        return self.screen

    def _title_bar(self) -> None:
        theme, (x0, y0, x1, _) = self.theme, self.window
        height = round(theme.px * 2.1)
        self.pen.rounded_rectangle((x0, y0, x1, y0 + height), theme.radius, fill=theme.bar)
        text = self.rng.choice(_HELD_OUT_TITLES if self.held_out else _TITLES)
        centred = self.rng.random() < 0.35
        box = self.write(
            (x0 + x1) / 2 if centred else x0 + 10,
            y0 + height / 2,
            text,
            theme.bar_ink,
            "mm" if centred else "lm",
        )
        self.add("title", text, box)
        size, y = theme.px * 0.45, y0 + height / 2
        for i, sign in enumerate("x_o" if self.rng.random() < 0.7 else "x"):
            x = x1 - height * 0.5 - i * height * 0.8
            if sign == "x":
                self.pen.line((x - size, y - size, x + size, y + size), fill=theme.bar_ink, width=2)
                self.pen.line((x - size, y + size, x + size, y - size), fill=theme.bar_ink, width=2)
                self.add("close", "close button", (x - size - 4, y - size - 4, x + size + 4, y + size + 4))
            elif sign == "o":
                self.pen.rectangle((x - size, y - size, x + size, y + size), outline=theme.bar_ink)
            else:
                self.pen.line((x - size, y, x + size, y), fill=theme.bar_ink, width=2)
        self.y = y0 + height

    def _menu_bar(self) -> None:
        theme, (x0, _, x1, _) = self.theme, self.window
        x, y = x0 + 10.0, self.y + theme.px
        names = self.rng.sample(_MENUS, self.rng.randint(3, 6))
        opened = (
            self.rng.randrange(len(names)) if self.rng.random() < 0.4 and not self.screen.of("tab") else None
        )
        for i, name in enumerate(names):
            length = self.font.getlength(name)
            if x + length > x1 - 10:
                break
            if i == opened:
                self.pen.rectangle(
                    (x - 5, self.y + 2, x + length + 5, self.y + 2 * theme.px - 2), fill=theme.accent
                )
            box = self.write(x, y, name, (255, 255, 255) if i == opened else None)
            self.add(
                "menu", name, (box[0] - 4, self.y + 2, box[2] + 4, self.y + 2 * theme.px - 2), on=i == opened
            )
            if i == opened:
                corner = x - 5
            x += length + 18
        self.y += 2 * theme.px
        self.pen.line((x0, self.y, x1, self.y), fill=theme.line)
        if opened is not None and any(menu.on for menu in self.screen.of("menu")):
            self._menu(corner)

    def _menu(self, x: float) -> None:
        """An open menu, with the cursor on one entry; what follows stands below it."""
        theme, x1 = self.theme, self.window[2]
        names = self.rng.sample(_ENTRIES, self.rng.randint(3, 5))
        step = theme.px * 1.7
        width = max(self.font.getlength(name) for name in names) + 40
        x = min(x, x1 - width - 4)
        self.pen.rectangle(
            (x, self.y, x + width, self.y + step * len(names) + 4), fill=theme.window, outline=theme.line
        )
        current = self.rng.randrange(len(names))
        for i, name in enumerate(names):
            top = self.y + 2 + i * step
            if i == current:
                self.pen.rectangle((x + 2, top, x + width - 2, top + step), fill=theme.accent)
            self.write(x + 14, top + step / 2, name, (255, 255, 255) if i == current else None)
            self.add("entry", name, (x + 2, top, x + width - 2, top + step), on=i == current)
        self.y += step * len(names) + 8

    def _tabs(self) -> None:
        theme, (x0, _, x1, _) = self.theme, self.window
        names = self.rng.sample(_TABS, self.rng.randint(2, 4))
        current, x, height = self.rng.randrange(len(names)), x0 + 8.0, theme.px * 2
        self.y += 5
        for i, name in enumerate(names):
            width = self.font.getlength(name) + 22
            if x + width > x1 - 8:
                break
            box = (x, self.y, x + width, self.y + height)
            self.pen.rectangle(
                box, fill=theme.window if i == current else _darker(theme.window), outline=theme.line
            )
            if i == current:
                self.pen.rectangle((x, self.y, x + width, self.y + 3), fill=theme.accent)
            self.write(x + 11, self.y + height / 2, name)
            self.add("tab", name, box, on=i == current)
            x += width
        self.y += height

    def _message(self) -> None:
        theme, (x0, _, x1, _) = self.theme, self.window
        text = self.rng.choice(_HELD_OUT_MESSAGES if self.held_out else _MESSAGES)
        words, lines = text.split(), [""]
        for word in words:
            longer = f"{lines[-1]} {word}".strip()
            if self.font.getlength(longer) > (x1 - x0) * 0.85:
                lines.append(word)
            else:
                lines[-1] = longer
        self.y += theme.px
        left = x0 + 16.0
        boxes = []
        for line in lines:
            boxes.append(self.write(left, self.y + theme.px * 0.7, line))
            self.y += theme.px * 1.4
        self.add(
            "message", text, (min(b[0] for b in boxes), boxes[0][1], max(b[2] for b in boxes), boxes[-1][3])
        )
        self.y += theme.px * 0.4

    def _fields(self, number: int) -> None:
        theme, (x0, _, x1, _) = self.theme, self.window
        names = self.rng.sample(list(FIELDS), number)
        column = x0 + 26 + max((self.font.getlength(name + ":") for name in names), default=0)
        for name in names:
            value = self.rng.choice(FIELDS[name].split("|"))
            self.y += theme.px * 0.5
            middle = self.y + theme.px
            self.write(x0 + 16, middle, name + ":")
            box = (column, self.y + 1, min(x1 - 14, column + 220), self.y + 2 * theme.px - 1)
            dark = sum(theme.window) < 300
            self.pen.rectangle(box, fill=(30, 30, 34) if dark else (255, 255, 255), outline=theme.line)
            self.write(column + 6, middle, value, (235, 235, 235) if dark else (0, 0, 0))
            self.add("field", name, box, value)
            self.y += theme.px * 1.7

    def _check_boxes(self, number: int) -> None:
        theme, (x0, _, _, _) = self.theme, self.window
        for name in self.rng.sample(_OPTIONS, number):
            on = self.rng.random() < 0.5
            self.y += theme.px * 0.4
            side, middle = theme.px * 0.95, self.y + theme.px * 0.8
            x = x0 + 18.0
            box = (x, middle - side / 2, x + side, middle + side / 2)
            self.pen.rectangle(box, fill=theme.accent if on else theme.window, outline=theme.line, width=2)
            if on:
                points = [
                    (x + side * 0.2, middle),
                    (x + side * 0.42, middle + side * 0.25),
                    (x + side * 0.8, middle - side * 0.25),
                ]
                self.pen.line(points, fill=(255, 255, 255), width=2)
            written = self.write(x + side + 8, middle, name)
            self.add("check box", name, (x, middle - side / 2, written[2], middle + side / 2), on=on)
            self.y += theme.px * 1.4

    def _buttons(self) -> None:
        theme, (x0, _, x1, y1) = self.theme, self.window
        height = theme.px * 2
        top = y1 - height - 12
        if top < self.y + 4:
            return
        names = self.rng.sample(BUTTONS, self.rng.randint(1, 4))
        widths = [max(64.0, self.font.getlength(name) + 26) for name in names]
        while sum(widths) + 10 * len(widths) > x1 - x0 - 20:
            names.pop()
            widths.pop()
        x = x1 - 14 - sum(widths) - 10 * (len(names) - 1) if self.rng.random() < 0.6 else x0 + 14.0
        main = self.rng.randrange(len(names)) if self.rng.random() < 0.75 else None
        for i, (name, width) in enumerate(zip(names, widths, strict=True)):
            box = (x, top, x + width, top + height)
            fill = theme.accent if i == main else _darker(theme.window)
            self.pen.rounded_rectangle(box, theme.radius, fill=fill, outline=theme.line)
            self.write(x + width / 2, top + height / 2, name, (255, 255, 255) if i == main else None, "mm")
            self.add("button", name, box, on=i == main)
            x += width + 10


def _darker(colour: Rgb) -> Rgb:
    r, g, b = (round(c * 0.88) if sum(colour) > 250 else min(255, c + 22) for c in colour)
    return r, g, b
