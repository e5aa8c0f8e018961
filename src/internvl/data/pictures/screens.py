"""The skill `screen`: simple windows, dialogs and pages; read them, find what to press, tell how things are set."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image, ImageDraw, ImageFont

from internvl.data.colours import Rgb
from internvl.data.fonts import find_fonts, load_font
from internvl.data.pictures.asking import NUMBER, WORD, YES_NO, Asker, ask, phrase
from internvl.data.sample import Assets, DataSample, Split, Turn, box_answer

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
_BUTTONS = (
    "OK", "Cancel", "Save", "Delete", "Apply", "Close", "Next", "Back", "Help", "Yes", "No", "Retry", "Send",
    "Search", "Print", "Open", "Skip", "Finish", "Reset", "Add",
)  # fmt: skip
_FIELDS = {
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

TITLE = (
    "What is the title of the window?", "What does the title bar say?", "Read the window title.",
    "Which window is this?",
    "What is the name of the window?", "What is written in the title bar?", "Which title does the window have?",
    "What is this window called?",
)  # fmt: skip
MESSAGE = (
    "What does the message say?", "Read the message.", "What is the text of the dialog?", "What does the dialog say?",
    "Which message is shown?", "What is the user told?", "Read the text in the dialog.", "What message do you see?",
)  # fmt: skip
LOCATE = (
    "Please provide the bounding box coordinate of the region this sentence describes: <ref>{x}</ref>",
    "Where is the <ref>{x}</ref>? Give its bounding box.", "Locate the <ref>{x}</ref>.", "Find the <ref>{x}</ref>.",
    "Give the bounding box of the <ref>{x}</ref>.", "Where do I click for the <ref>{x}</ref>?",
    "Mark the <ref>{x}</ref> on the screen.", "Show me the <ref>{x}</ref> with a box.",
)  # fmt: skip
VALUE = (
    'What is in the field "{x}"?', "What is the value of {x}?", "What is entered for {x}?", 'Read the field "{x}".',
    "Which {x} is given?", "What does the {x} field contain?", "Tell me the text in the field {x}.",
    "{x}: what is entered?",
)  # fmt: skip
CHECKED = (
    'Is "{x}" checked?', 'Is the box "{x}" ticked?', 'Is the option "{x}" on?', 'Is "{x}" selected?',
    'Has "{x}" been ticked?',
    'Is the check box "{x}" marked?', 'Is "{x}" switched on?', 'Does "{x}" have a tick?',
)  # fmt: skip
ALL_CHECKED = (
    "Which options are checked?", "Which boxes are ticked?", "List the checked options.", "What is switched on?",
    "Which check boxes have a tick?", "Name all ticked options.", "Which options are selected?",
    "What has been ticked?",
)  # fmt: skip
COUNT = (
    "How many {n} are there?", "How many {n} do you see?", "Count the {n}.", "How many {n} does the window have?",
    "What is the number of {n}?", "How many {n} are shown?", "How many {n} can be seen?",
    "Tell me the number of {n}.",
)  # fmt: skip
LIST = (
    "Which {n} are there?", "List the {n}.", "What {n} do you see?", "Name all {n} from left to right.",
    "Read the {n}.",
    "What are the labels of the {n}?", "Which {n} does the window have?", "Tell me the {n}.",
)  # fmt: skip
EXISTS = (
    'Is there a button "{x}"?', "Is there a {x} button?",
    'Does the window have a button "{x}"?', "Can you see a {x} button?",
    'Do you see a button labelled "{x}"?', "Can I press {x} here?",
    'Is a button "{x}" shown?', "Does this screen show a {x} button?",
)  # fmt: skip
DEFAULT = (
    "Which button is highlighted?", "Which button stands out?", "What is the default button?",
    "Which button is coloured?",
    "Name the highlighted button.", "Which button is emphasised?", "Which button would Enter press?",
    "What is the main button?",
)  # fmt: skip
ACTIVE = (
    "Which {n} is active?", "Which {n} is selected?", "What is the selected {n}?", "Which {n} is highlighted?",
    "Name the active {n}.", "Which {n} is open?", "Tell me which {n} is selected.", "What {n} is marked?",
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


def make_screen(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Draw a window or a dialog and ask about it."""
    book = find_fonts()
    fonts = book.held_out if split == "held_out" else book.plain
    theme = _Theme(*rng.choice(_THEMES), rng.choice((0, 0, 4, 8)), rng.choice(fonts), rng.randint(13, 17))
    screen = _Drawer(rng, rng.choice(SIZES), theme, split).draw()
    turns = ask(rng, screen, ASKERS, rng.randint(2, 6))
    truth = {
        "elements": [
            {"role": e.role, "text": e.text, "box": list(e.box), "value": e.value, "on": e.on}
            for e in screen.elements
        ]
    }
    return DataSample(images=[screen.image], turns=turns, truth=truth, skill="screen")


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
        names = self.rng.sample(list(_FIELDS), number)
        column = x0 + 26 + max((self.font.getlength(name + ":") for name in names), default=0)
        for name in names:
            value = self.rng.choice(_FIELDS[name].split("|"))
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
        names = self.rng.sample(_BUTTONS, self.rng.randint(1, 4))
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


def title(rng: random.Random, screen: Screen) -> Turn | None:
    """The window's title."""
    return Turn(question=phrase(rng, TITLE), answer=screen.of("title")[0].text, metric="anls")


def message(rng: random.Random, screen: Screen) -> Turn | None:
    """What a dialog says."""
    found = screen.of("message")
    return Turn(question=phrase(rng, MESSAGE), answer=found[0].text, metric="anls") if found else None


def _called(element: Element) -> str:
    """How a question calls an element: "Save button"."""
    role = {"entry": "menu entry"}.get(element.role, element.role)
    if element.role == "close":
        return element.text
    return "title" if role == "title" else "message" if role == "message" else f"{element.text} {role}"


def locate(rng: random.Random, screen: Screen) -> Turn | None:
    """Where something is; a click into the box hits it."""
    element = rng.choice(screen.elements)
    name = _called(element)
    return Turn(
        question=phrase(rng, LOCATE, x=name),
        answer=box_answer(name, [element.box], screen.image.size),
        metric="iou@0.5",
    )


def field_value(rng: random.Random, screen: Screen) -> Turn | None:
    """What a field holds."""
    fields = screen.of("field")
    if not fields:
        return None
    chosen = rng.choice(fields)
    return Turn(question=phrase(rng, VALUE, x=chosen.text), answer=chosen.value, metric="anls")


def checked(rng: random.Random, screen: Screen) -> Turn | None:
    """Whether a box is ticked, or which are."""
    boxes = screen.of("check box")
    if not boxes:
        return None
    if rng.random() < 0.3:
        on = [box.text for box in boxes if box.on]
        return Turn(question=phrase(rng, ALL_CHECKED), answer=", ".join(on) or "none", metric="anls")
    box = rng.choice(boxes)
    return Turn(
        question=phrase(rng, CHECKED, YES_NO, x=box.text), answer="yes" if box.on else "no", metric="yesno"
    )


_COUNTED = {
    "button": ("buttons",),
    "check box": ("check boxes",),
    "field": ("text fields", "fields"),
    "tab": ("tabs",),
    "menu": ("menus",),
}


def count(rng: random.Random, screen: Screen) -> Turn | None:
    """How many of a role there are; window buttons (close) do not count as buttons, so "labelled" is said."""
    role = rng.choice([role for role in _COUNTED if screen.of(role)] or ["button"])
    noun = rng.choice(_COUNTED[role])
    if role == "button":
        noun = "labelled buttons"
    answer = str(len(screen.of(role)))
    return Turn(question=phrase(rng, COUNT, NUMBER, n=noun), answer=answer, metric="exact_number")


def list_labels(rng: random.Random, screen: Screen) -> Turn | None:
    """The labels of a role, in reading order."""
    role = rng.choice(
        [role for role in ("button", "tab", "menu", "entry") if len(screen.of(role)) > 1] or [""]
    )
    found = screen.of(role)
    if not found:
        return None
    noun = {"button": "buttons", "tab": "tabs", "menu": "menus", "entry": "menu entries"}[role]
    forms = [form for form in LIST if role != "entry" or "left" not in form]
    return Turn(question=phrase(rng, forms, n=noun), answer=", ".join(e.text for e in found), metric="anls")


def exists(rng: random.Random, screen: Screen) -> Turn | None:
    """Whether there is a button."""
    there = [button.text for button in screen.of("button")]
    yes = bool(there) and rng.random() < 0.5
    name = rng.choice(there) if yes else rng.choice([b for b in _BUTTONS if b not in there])
    return Turn(question=phrase(rng, EXISTS, YES_NO, x=name), answer="yes" if yes else "no", metric="yesno")


def default_button(rng: random.Random, screen: Screen) -> Turn | None:
    """The button that stands out."""
    found = [button for button in screen.of("button") if button.on]
    if not found or len(screen.of("button")) < 2:
        return None
    return Turn(question=phrase(rng, DEFAULT, WORD), answer=found[0].text, metric="exact_ci")


def active(rng: random.Random, screen: Screen) -> Turn | None:
    """The active tab, the open menu, the entry under the cursor."""
    choices = [(role, e) for role in ("tab", "menu", "entry") for e in screen.of(role) if e.on]
    if not choices:
        return None
    role, element = rng.choice(choices)
    question = phrase(rng, ACTIVE, WORD, n={"entry": "menu entry"}.get(role, role))
    return Turn(question=question, answer=element.text, metric="exact_ci")


def absent(rng: random.Random, screen: Screen) -> Turn | None:
    """Something that is not on the screen."""
    texts = {element.text for element in screen.elements}
    if screen.of("field") and rng.random() < 0.5:
        name = rng.choice([f for f in _FIELDS if f not in texts])
        return Turn(
            question=phrase(rng, VALUE, x=name),
            answer=f"There is no field {name} in the picture.",
            metric="absent",
        )
    name = rng.choice([b for b in _BUTTONS if b not in texts]) + " button"
    return Turn(
        question=phrase(rng, LOCATE, x=name), answer=f"There is no {name} in the picture.", metric="absent"
    )


ASKERS: tuple[tuple[Asker[Screen], float], ...] = (
    (title, 1.2), (message, 1.5), (locate, 3.0), (field_value, 2.0), (checked, 1.5), (count, 0.8), (list_labels, 1.0),
    (exists, 0.8), (default_button, 0.8), (active, 1.2), (absent, 0.8),
)  # fmt: skip
