"""Skill `receipt`: till receipts whose amounts add up."""

from __future__ import annotations

import random
from dataclasses import dataclass

from internvl.data.colours import Rgb
from internvl.data.documents.finish import finish
from internvl.data.documents.labels import RECEIPT_LANGUAGES, receipt_labels
from internvl.data.documents.language import Language, pick_language, typefaces_of
from internvl.data.documents.record import Record, reading_text
from internvl.data.documents.sheet import Align, Flow, Sheet, Styles
from internvl.data.documents.values import Money, Values, amounts
from internvl.data.sample import Assets, DataSample, Json, Split, Turn

_COUNT_QUESTIONS = (
    "How many item lines are there? Answer with a number.",
    "How many different items were bought? Answer with a number.",
    "Count the items on this receipt. Answer with a number.",
    "How many products are listed? Answer with a number.",
)
_PRICE_QUESTIONS = (
    'What is the amount for "{name}"?',
    "How much did {name} cost in total?",
    'What was paid for "{name}"?',
    "Price of {name}?",
    "How much is {name}?",
)
_QUANTITY_QUESTIONS = (
    'How many "{name}" were bought? Answer with a number.',
    "What is the quantity of {name}? Answer with a number.",
)
_FIRST_QUESTIONS = (
    "What is the first item on the receipt?",
    "Which product stands first?",
    "Name the first item.",
)
_DEAREST_QUESTIONS = ("Which item has the highest amount?", "What is the most expensive line?")
_THANKS = ("Thank you!", "Thank you, come again", "*** Thank you ***", "Have a nice day",
           "Goods sold are not returnable", "Please keep this receipt", "Visit us again")  # fmt: skip
_HELD_OUT_THANKS = ("See you soon", "Many thanks for your visit", "Exchange within 14 days")


@dataclass(frozen=True, slots=True)
class Item:
    """One line of goods, amounts in hundredths."""

    name: str
    quantity: int
    price: int

    @property
    def amount(self) -> int:
        """Quantity times price."""
        return self.quantity * self.price


def make_receipt(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Make a receipt and ask about its fields and items."""
    language = pick_language(rng, assets, split, english=0.6, other=0.0, choices=RECEIPT_LANGUAGES)
    return _Receipt(rng, split, language).make()


class _Receipt:
    """One receipt while it is written."""

    def __init__(self, rng: random.Random, split: Split, language: Language) -> None:
        self.rng, self.split, self.language = rng, split, language
        self.values = Values(rng, split, language)
        self.money: Money = self.values.money()
        self.labels = receipt_labels(rng, language.code)
        self.record = Record()
        size = rng.randint(15, 24)
        faces = typefaces_of(language, split)
        mono = [face for face in faces if face.mono] or list(faces)
        tone = rng.randint(226, 255)
        ink: Rgb = (rng.choice((0, 10, 30, 60, 90)),) * 3
        self.styles = Styles.of(rng.choice(mono if rng.random() < 0.6 else faces), size, ink)
        self.ink = ink
        width = round(size * rng.uniform(19, 30))
        self.sheet = Sheet((width, size * 110), paper=(tone, tone, tone - rng.randint(0, 10)), rng=rng)
        margin = size * rng.uniform(0.6, 2)
        self.flow = Flow(
            self.sheet, margin, width - margin, size * rng.uniform(0.5, 2), rng.uniform(1.15, 1.5)
        )
        self.dash = rng.choice((0, 3, 6, 10))

    def make(self) -> DataSample:
        """Write it from top to bottom and ask."""
        rng, flow, size = self.rng, self.flow, self.styles.text.size
        self._head()
        items = self._items()
        self._sums(items)
        thanks = _HELD_OUT_THANKS if self.split == "held_out" else _THANKS
        for text in rng.sample(thanks, rng.randint(0, 2)):
            flow.paragraph(text, self.styles.text, role="footer", align="center")
        self.sheet.finish(flow.y + size * rng.uniform(0.5, 3))
        rows = [
            {
                "name": i.name,
                "quantity": i.quantity,
                "price": self.money.number(i.price),
                "amount": self.money.number(i.amount),
            }
            for i in items
        ]
        truth: dict[str, Json] = {
            "text": reading_text(self.sheet.runs), "fields": self.record.truth(), "items": rows,
            "lines": self.sheet.runs,
        }  # fmt: skip
        sample = finish(
            rng, self.sheet, skill="receipt", language=self.language.code, turns=[], truth=truth,
            split=self.split, looks=(0.3, 0.35, 0.35),
        )  # fmt: skip
        nested = {
            "items": [
                {"name": row["name"], "quantity": row["quantity"], "amount": row["amount"]} for row in rows
            ]
        }
        sample.turns = self.record.turns(
            rng,
            sample,
            self.split,
            kind="receipt",
            absent=self._absent(),
            more=self._item_turns(items),
            nested=nested,
        )
        return sample

    def _absent(self) -> list[tuple[str, str]]:
        written = {field.key for field in self.record.fields}
        known = {
            "phone": "telephone number", "date": "date", "time": "time", "cashier": "name of the cashier",
            "number": "receipt number", "change": "change", "tax": "tax amount", "table": "table number",
            "tip": "tip", "customer": "customer's name", "email": "e-mail address", "discount": "discount",
        }  # fmt: skip
        return [(what, self.labels.get(key, "")) for key, what in known.items() if key not in written]

    def _head(self) -> None:
        """Shop, address, number, date."""
        rng, flow, values, styles, record = self.rng, self.flow, self.values, self.styles, self.record
        align: Align = rng.choice(("center", "center", "left"))
        company = values.company()
        company = company.upper() if rng.random() < 0.4 else company
        record.add(
            "company",
            "company name",
            flow.paragraph(company, styles.bold.sized(rng.uniform(1.0, 1.5)), role="company", align=align),
        )
        if rng.random() < 0.85:
            address = f"{values.street()}, {values.postcode()} {values.city()}"
            address = address.upper() if rng.random() < 0.3 else address
            record.add(
                "address", "address", flow.paragraph(address, styles.text, role="address", align=align)
            )
        if rng.random() < 0.5:
            phone, label = values.phone(), self.labels["phone"]
            run = flow.line(f"{label}: {phone}", styles.text, role="phone", align=align)
            record.add("phone", "telephone number", [run], label=label, value=phone)
        if rng.random() < 0.6:
            flow.gap(styles.text.size * 0.5)
            flow.line(self.labels["title"], styles.bold, role="title", align="center")
        flow.gap(styles.text.size * 0.5)
        if rng.random() < 0.75:
            self._pair("number", "receipt number", values.code())
        if rng.random() < 0.95:
            self._pair("date", "date", values.date(values.day()))
        if rng.random() < 0.6:
            self._pair("time", "time", values.time())
        if rng.random() < 0.4:
            self._pair(
                "cashier",
                "name of the cashier",
                rng.choice((values.pick("first"), values.person(), values.digits(2))),
            )
        if rng.random() < 0.12:
            self._pair("table", "table number", str(rng.randint(1, 60)))

    def _pair(
        self,
        key: str,
        what: str,
        value: str,
        *,
        bold: bool = False,
        wide: bool | None = None,
        factor: float = 1.0,
    ) -> None:
        """Write a label and its value: at both ends of the line, or one after the other."""
        label, style = self.labels[key], (self.styles.bold if bold else self.styles.text).sized(factor)
        if wide is None:
            wide = self.split == "held_out" or self.rng.random() < 0.5
        room = self.flow.width - style.width(value) - style.size
        if style.width(label) > room:  # two lines, so that they do not run into each other
            self.flow.line(label, style, role="label")
            run = self.flow.line(value, style, role=key, align="right")
        elif wide:
            run = self.flow.row([(label, 0, "left"), (value, 1, "right")], style, roles=("label", key))[-1]
        else:
            y = self.flow.y
            self.flow.line(f"{label}:", style, role="label")
            self.flow.y, indent = y, style.width(f"{label}: ")
            run = self.flow.line(value, style, role=key, indent=indent)
        self.record.add(key, what, [run], label=label)

    def _rule(self) -> None:
        self.flow.rule(self.ink, dash=self.dash, space=self.styles.text.size * 0.3)

    def _items(self) -> list[Item]:
        rng, flow, style, money = self.rng, self.flow, self.styles.text, self.money
        self._rule()
        form = (
            "dotted"
            if self.split == "held_out" and rng.random() < 0.7
            else rng.choice(("line", "two", "columns"))
        )
        upper = rng.random() < 0.35
        items: list[Item] = []
        if form == "columns":
            flow.row(
                [(self.labels["item"], 0, "left"), (self.labels["quantity"], 0.62, "right"),
                 (self.labels["amount"], 1, "right")],
                self.styles.bold, roles=("header",) * 3,
            )  # fmt: skip
            self._rule()
        room = flow.width * (0.48 if form == "columns" else 0.66) - style.size
        for price in amounts(rng, rng.choice((1, 2, 3, 4, 5, 6, 8, 12)), 20000):
            name = self._name(upper, room)
            if any(item.name == name for item in items):
                continue
            item = Item(name, rng.choice((1, 1, 1, 1, 2, 3, 5)), price)
            items.append(item)
            amount = money.number(item.amount)
            if form == "two":
                flow.line(name, style, role="item_name")
                rows: list[tuple[str, float, Align]] = [
                    (f"  {item.quantity} x {money.number(price)}", 0, "left"),
                    (amount, 1, "right"),
                ]
            elif form == "columns":
                rows = [(name, 0, "left"), (str(item.quantity), 0.62, "right"), (amount, 1, "right")]
            elif form == "dotted":
                rows = [(name, 0, "left"), (amount, 1, "right")]
                if item.quantity > 1:
                    items[-1] = item = Item(name, 1, price)
                    rows[-1] = (money.number(price), 1, "right")
                dots = int((room - style.width(name)) / max(1.0, style.width("."))) - 2
                rows[0] = (name + " " + "." * max(0, dots), 0, "left")
            else:
                rows = [(f"{item.quantity} x {name}", 0, "left"), (amount, 1, "right")]
            flow.row(rows, style, roles=("item",) * len(rows))
        self._rule()
        return items

    def _name(self, upper: bool, room: float) -> str:
        values, style = self.values, self.styles.text
        while True:
            kind = self.rng.random()
            if kind < 0.55:
                name = values.pick("product")
            elif kind < 0.9:
                name = f"{values.word()} {values.word()}"
            else:
                name = f"{values.word()} {values.digits(self.rng.randint(1, 3))}"
            name = name.upper() if upper else name[:1].upper() + name[1:]
            if style.width("5 x " + name) < room:
                return name
            room *= 1.02  # long words in narrow receipts: a little may hang over

    def _sums(self, items: list[Item]) -> None:
        """Subtotal, discount, tax, total, payment; the total is what the others add up to."""
        rng, money = self.rng, self.money
        total = sum(item.amount for item in items)
        if rng.random() < 0.55:
            self._pair("subtotal", "subtotal", money.number(total), wide=True)
        if rng.random() < 0.15:
            discount = total * rng.choice((5, 10, 15, 20)) // 100
            total -= discount
            self._pair("discount", "discount", money.number(-discount), wide=True)
        if rng.random() < 0.5:
            rate = rng.choice((5, 6, 7, 10, 19, 20, 21, 22, 25))
            tax = (total * rate + 50) // 100
            total += tax
            self.labels["tax"] = f"{self.labels['tax_name']} {rate}%"
            self._pair("tax", "tax amount", money.number(tax), wide=True)
        factor = rng.choice((1.0, 1.0, 1.3))
        symbol = rng.random() < 0.6
        self._pair(
            "total",
            "total amount",
            money.full(total) if symbol else money.number(total),
            bold=True,
            wide=True,
            factor=factor,
        )
        if rng.random() < 0.5:
            step = rng.choice((100, 500, 1000))
            paid = -(-total // step) * step
            if rng.random() < 0.5:
                self._pair("cash", "cash that was given", money.number(paid), wide=True)
                self._pair("change", "change", money.number(paid - total), wide=True)
            else:
                self._pair("card", "amount paid by card", money.number(total), wide=True)

    def _item_turns(self, items: list[Item]) -> list[Turn]:
        rng, money = self.rng, self.money
        item = rng.choice(items)
        turns = [
            Turn(question=rng.choice(_COUNT_QUESTIONS), answer=str(len(items)), metric="exact_number"),
            Turn(
                question=rng.choice(_PRICE_QUESTIONS).format(name=item.name),
                answer=money.number(item.amount),
                metric="exact_norm",
            ),
            Turn(question=rng.choice(_FIRST_QUESTIONS), answer=items[0].name, metric="anls"),
        ]
        if item.quantity > 1:
            question = rng.choice(_QUANTITY_QUESTIONS).format(name=item.name)
            turns.append(Turn(question=question, answer=str(item.quantity), metric="exact_number"))
        ranked = sorted(items, key=lambda i: -i.amount)
        if len(items) > 1 and ranked[0].amount > ranked[1].amount:
            turns.append(Turn(question=rng.choice(_DEAREST_QUESTIONS), answer=ranked[0].name, metric="anls"))
        return turns
