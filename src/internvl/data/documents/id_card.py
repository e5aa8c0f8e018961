"""Skill `id_card`: cards and badges of made-up persons, with a drawn portrait."""

from __future__ import annotations

import random

from PIL import ImageDraw

from internvl.data.colours import Rgb
from internvl.data.documents.finish import finish
from internvl.data.documents.language import pick_language, typefaces_of
from internvl.data.documents.record import Record, reading_text
from internvl.data.documents.sheet import Box, Sheet, Style, Styles
from internvl.data.documents.values import Values
from internvl.data.sample import Assets, DataSample, Json, Split

_KINDS = {
    "identity card": ("surname", "given_names", "date_of_birth", "nationality", "sex", "card_number", "expiry_date",
                      "place_of_birth"),
    "driving licence": ("surname", "given_names", "date_of_birth", "address", "issue_date", "expiry_date",
                        "card_number", "class"),
    "student card": ("name", "student_number", "faculty", "date_of_birth", "expiry_date", "semester"),
    "employee badge": ("name", "position", "department", "employee_number", "issue_date"),
    "membership card": ("name", "member_number", "member_since", "expiry_date"),
    "library card": ("name", "card_number", "expiry_date", "address"),
    "visitor pass": ("name", "company", "host", "date", "pass_number"),
    "health card": ("name", "insurance_number", "date_of_birth", "insurer", "expiry_date"),
}  # fmt: skip
_LABELS = {
    "surname": "Surname|Last name|Name", "given_names": "Given names|First name|Forename",
    "name": "Name|Full name|Holder",
    "date_of_birth": "Date of birth|Birth date|DOB|Born", "nationality": "Nationality|Citizenship", "sex": "Sex|Gender",
    "card_number": "Card No.|Document No.|No.", "expiry_date": "Expires|Valid until|Date of expiry|EXP",
    "issue_date": "Issued|Date of issue|ISS", "place_of_birth": "Place of birth|Birthplace",
    "address": "Address|Residence",
    "class": "Class|Categories", "student_number": "Student No.|Matriculation No.|Student ID",
    "faculty": "Faculty|School",
    "semester": "Semester|Term", "position": "Position|Role", "department": "Department|Dept.",
    "employee_number": "Employee No.|Staff ID", "member_number": "Member No.|Membership ID",
    "member_since": "Member since|Since", "company": "Company|Firm", "host": "Host|Visiting", "date": "Date",
    "pass_number": "Pass No.", "insurance_number": "Insurance No.|Policy No.", "insurer": "Insurer|Health fund",
}  # fmt: skip
_WHAT = {
    "name": "name of the holder", "card_number": "card number", "given_names": "given names",
    "expiry_date": "expiry date", "class": "class of the licence", "company": "company of the visitor",
    "host": "name of the host",
}  # fmt: skip
_FACULTIES = ("Law", "Medicine", "Arts", "Engineering", "Physics", "Economics", "History", "Biology")
_SKIN: tuple[Rgb, ...] = ((246, 214, 189), (224, 172, 136), (190, 132, 96), (141, 85, 56), (92, 58, 40))


def make_id_card(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Make a card and ask about its fields."""
    language = pick_language(rng, assets, split, english=1.0, other=0.0)
    values = Values(rng, split, language)
    kind = rng.choice(list(_KINDS))
    keys = [key for key in _KINDS[kind] if rng.random() < 0.9] or list(_KINDS[kind])
    upright = split == "held_out" and rng.random() < 0.6 or rng.random() < 0.15
    size = rng.randint(17, 24)
    width = round(size * (24 if upright else rng.uniform(34, 40)))
    tint: Rgb = (rng.randint(205, 250), rng.randint(215, 250), rng.randint(215, 250))
    band: Rgb = (rng.randint(10, 120), rng.randint(20, 110), rng.randint(30, 150))
    sheet = Sheet((width, size * 50), paper=tint, rng=rng)
    if rng.random() < 0.6:
        _guilloche(rng, sheet, size, tint)
    faces = typefaces_of(language, split)
    face = rng.choice([f for f in faces if not f.mono] or list(faces))
    styles = Styles.of(face, size, (15, 15, 25))
    record = Record()
    top = _head(rng, sheet, values, styles, band, kind, record)
    photo_w = size * rng.uniform(7, 8.5)
    if upright:
        photo = ((width - photo_w) / 2, top, (width + photo_w) / 2, top + photo_w * 1.25)
        left, y = width * 0.1, photo[3] + size
    else:
        on_right = rng.random() < 0.3
        x = width - photo_w - size if on_right else size
        photo = (x, top, x + photo_w, top + photo_w * 1.25)
        left, y = size * 1.2 if on_right else photo[2] + size * 1.3, top + size * 0.2
    _portrait(rng, sheet, photo)
    beside_photo = not upright and photo[0] > left
    room = (photo[0] if beside_photo else width) - left - size
    bottom = _fields(rng, sheet, values, styles, record, keys, (left, y, room), face.mono)
    bottom = max(bottom, photo[3] + size * 0.5)
    image = sheet.finish(bottom + size * rng.uniform(0.6, 1.6))
    ImageDraw.Draw(image).rectangle((0, 0, image.width - 1, image.height - 1), outline=(120, 120, 130))
    truth: dict[str, Json] = {
        "text": reading_text(sheet.runs), "kind": kind, "fields": record.truth(), "lines": sheet.runs,
        "portrait": {"box": [round(v, 1) for v in photo]},
    }  # fmt: skip
    sample = finish(
        rng, sheet, skill="id_card", language=language.code, turns=[], truth=truth, split=split,
        looks=(0.3, 0.25, 0.45),
    )  # fmt: skip
    others = sorted({key for all_keys in _KINDS.values() for key in all_keys} - set(keys))
    # "name" beside surname and given names would not be missing
    others = [
        key
        for key in others
        if key not in ("name", "surname", "given_names", "date", "card_number", "company")
    ]
    absent = [(_WHAT.get(key, key.replace("_", " ")), _LABELS[key].split("|")[0]) for key in others]
    sample.turns = record.turns(rng, sample, split, kind=rng.choice((kind, "card")), absent=absent)
    return sample


def _head(
    rng: random.Random, sheet: Sheet, values: Values, styles: Styles, band: Rgb, kind: str, record: Record
) -> float:
    """Write issuer and kind on a band and return where it ends."""
    size = styles.text.size
    height = size * 3
    sheet.frame((0, 0, sheet.width, height), ink=None, fill=band)
    issuer = (
        values.company()
        if kind not in ("identity card", "driving licence")
        else f"Republic of {values.invented()}"
    )
    style = styles.bold.inked((255, 255, 255))
    while style.width(issuer) > sheet.width - 2 * size:
        issuer = issuer.rsplit(" ", 1)[0] if " " in issuer else issuer[:-1]
    record.add("issuer", "issuer of the card", [sheet.text(size, size * 1.55, issuer, style, role="issuer")])
    title = kind.upper() if rng.random() < 0.6 else kind.title()
    sheet.text(size, size * 2.65, title, styles.text.inked((255, 255, 255)).sized(0.85), role="title")
    return height + size


def _fields(
    rng: random.Random, sheet: Sheet, values: Values, styles: Styles, record: Record, keys: list[str],
    place: tuple[float, float, float], mono: bool,
) -> float:  # fmt: skip
    """Write labels, small, and values below or beside them; returns where they end."""
    left, y, room = place
    size = styles.text.size
    small = styles.text.sized(0.72).inked((90, 90, 100))
    beside = rng.random() < 0.3
    bold = rng.random() < 0.5
    upper = rng.random() < 0.35
    labels = {key: rng.choice(_LABELS[key].split("|")) for key in keys}
    for key in keys:
        style: Style = styles.bold if bold else styles.text
        value = _value(values, key)
        value = value.upper() if upper and key not in ("class",) else value
        start = left + small.width("Matriculation No. ")
        within = beside and style.width(value) <= left + room - start
        while (
            style.width(value) > room and style.size > 0.6 * size
        ):  # smaller, never cut: half a date is none
            style = style.sized(0.9)
        if style.width(value) > room:
            continue
        if within:
            sheet.text(left, y + size, labels[key], small, role="label")
            run = sheet.text(start, y + size, value, style, role=key)
            y += size * 1.6
        else:
            sheet.text(left, y + size * 0.7, labels[key], small, role="label")
            run = sheet.text(left, y + size * 1.75, value, style, role=key)
            y += size * 2.3
        record.add(key, _WHAT.get(key, key.replace("_", " ")), [run], label=labels[key])
    return y


def _value(values: Values, key: str) -> str:
    rng = values.rng
    if key in ("date_of_birth", "expiry_date", "issue_date", "date"):
        years = {"date_of_birth": (1945, 2008), "expiry_date": (2027, 2040)}.get(key, (2014, 2026))
        return values.date(values.day(*years))
    return {
        "surname": lambda: values.person().rsplit(" ", 1)[-1], "given_names": lambda: values.person().rsplit(" ", 1)[0],
        "name": values.person, "host": values.person, "nationality": lambda: values.pick("country"),
        "sex": lambda: rng.choice("FMX"), "place_of_birth": values.city, "address": values.street,
        "class": lambda: rng.choice(("A", "B", "AM, B", "B, C1", "A1, B, L", "C, CE")),
        "faculty": lambda: rng.choice(_FACULTIES),
        "semester": lambda: f"{rng.choice(('Winter', 'Summer'))} {rng.randint(2019, 2029)}",
        "position": lambda: values.pick("occupation").capitalize(),
        "department": lambda: values.word().capitalize(), "company": values.company, "insurer": values.company,
        "member_since": lambda: str(rng.randint(1985, 2026)),
    }.get(key, lambda: f"{rng.choice('ABCEFGKLNPRTX')}{values.digits(rng.choice((6, 7, 8, 9)))}")()  # fmt: skip


def _guilloche(rng: random.Random, sheet: Sheet, size: int, tint: Rgb) -> None:
    """Draw the faint arcs of security paper."""
    line: Rgb = tuple(max(0, c - rng.randint(8, 22)) for c in tint)  # type: ignore[assignment]
    x, y = rng.uniform(0, sheet.width), rng.uniform(0, size * 20)
    for n in range(3, 40):
        r = n * size * rng.choice((0.8, 1.0))
        sheet.draw.ellipse((x - r, y - r * 0.7, x + r, y + r * 0.7), outline=line)


def _portrait(rng: random.Random, sheet: Sheet, box: Box) -> None:
    """Draw head and shoulders."""
    x0, y0, x1, y1 = box
    w, h = x1 - x0, y1 - y0
    draw = sheet.draw
    shade = rng.randint(190, 235)
    draw.rectangle(box, fill=(shade, shade, shade + 10), outline=(120, 120, 130))
    skin, hair = rng.choice(_SKIN), (rng.randint(20, 150), rng.randint(15, 90), rng.randint(10, 60))
    shirt = tuple(rng.randint(30, 200) for _ in range(3))
    draw.chord((x0 + w * 0.08, y0 + h * 0.66, x1 - w * 0.08, y0 + h * 1.32), 180, 360, fill=shirt)
    draw.rectangle((x0 + w * 0.42, y0 + h * 0.55, x0 + w * 0.58, y0 + h * 0.72), fill=skin)
    draw.ellipse((x0 + w * 0.26, y0 + h * 0.12, x0 + w * 0.74, y0 + h * 0.64), fill=hair)
    draw.ellipse((x0 + w * 0.3, y0 + h * 0.2, x0 + w * 0.7, y0 + h * 0.64), fill=skin)
    for eye in (0.42, 0.58):
        draw.ellipse(
            (x0 + w * (eye - 0.02), y0 + h * 0.38, x0 + w * (eye + 0.02), y0 + h * 0.405), fill=(30, 30, 30)
        )
    draw.arc(
        (x0 + w * 0.42, y0 + h * 0.44, x0 + w * 0.58, y0 + h * 0.55), 20, 160, fill=(120, 50, 50), width=2
    )
