"""What stands in the fields of documents: persons, firms, addresses, dates, amounts, numbers.

All of it is made up. Names are real words of their kind or syllables, so that they have to be read.
"""

from __future__ import annotations

import datetime
import random
import string
from collections.abc import Sequence
from dataclasses import dataclass

from internvl.data.documents import lists
from internvl.data.documents.language import Language, of_split
from internvl.data.sample import Split

FIRMS = ("Ltd", "GmbH", "Inc.", "S.A.", "B.V.", "AG", "Sdn Bhd", "LLC", "Oy", "AB", "Trading", "& Sons", "Group",
         "Market", "Store", "Bakery", "Hardware", "Books", "Pharmacy", "Cafe", "Restaurant", "Electronics", "Garden",
         "Supplies")  # fmt: skip
WAYS = ("Street", "Road", "Avenue", "Lane", "Way", "Square", "Drive", "Close")
_SYLLABLES = tuple(c + v for c in "bdfghjklmnprstvz" for v in "aeiou")


def listed(text: str, separator: str | None = None) -> tuple[str, ...]:
    """Split one of the lists."""
    return tuple(" ".join(item.split()) for item in text.split(separator) if item.strip())


_LISTS = {
    "first": listed(lists.FIRST_NAMES),
    "last": listed(lists.LAST_NAMES),
    "city": listed(lists.CITIES),
    "country": listed(lists.COUNTRIES),
    "street": listed(lists.STREETS),
    "occupation": listed(lists.OCCUPATIONS),
    "product": listed(lists.PRODUCTS, ";"),
    "service": listed(lists.SERVICES, ";"),
}
_BY_SPLIT = {
    (name, split): of_split(items, split) for name, items in _LISTS.items() for split in ("train", "held_out")
}


@dataclass(frozen=True, slots=True)
class Money:
    """How amounts are written."""

    symbol: str
    code: str
    decimal: str
    group: str
    before: bool
    """Whether the symbol stands before the number."""

    def number(self, cents: int) -> str:
        """Return hundredths as a number with two decimals.

        >>> Money("€", "EUR", ",", ".", False).number(-123456)
        '-1.234,56'
        """
        whole, rest = divmod(abs(cents), 100)
        return (
            ("-" if cents < 0 else "") + f"{whole:,}".replace(",", self.group) + f"{self.decimal}{rest:02d}"
        )

    def full(self, cents: int) -> str:
        """Return the number with its symbol."""
        if self.before:
            gap = " " if self.symbol.isalpha() else ""
            return f"{self.symbol}{gap}{self.number(cents)}"
        return f"{self.number(cents)} {self.symbol}"


_CURRENCIES = (
    ("€", "EUR", False), ("€", "EUR", True), ("$", "USD", True), ("£", "GBP", True), ("RM", "MYR", True),
    ("CHF", "CHF", True), ("kr", "SEK", False), ("EUR", "EUR", False), ("USD", "USD", True), ("R", "ZAR", True),
)  # fmt: skip


class Values:
    """Draws values of a split.

    Args:
        rng: All chance.
        split: Which parts of the lists.
        language: Where words, months and number signs come from.
    """

    def __init__(self, rng: random.Random, split: Split, language: Language) -> None:
        self.rng = rng
        self.split: Split = split
        self.language = language
        self.date_form = rng.randrange(10)

    def pick(self, name: str) -> str:
        """Return an item of one of the lists."""
        return self.rng.choice(_BY_SPLIT[name, self.split])

    def invented(self) -> str:
        """Return a name of syllables."""
        return "".join(self.rng.choices(_SYLLABLES, k=self.rng.randint(2, 3))).capitalize()

    def _or_invented(self, name: str, share: float = 0.25) -> str:
        return self.invented() if self.rng.random() < share else self.pick(name)

    def word(self) -> str:
        """Return a word of the language."""
        return self.rng.choice(self.language.words)

    def digits(self, count: int) -> str:
        """Return so many digits."""
        return "".join(self.rng.choices(string.digits, k=count))

    def code(self) -> str:
        """Return a number of the kind that papers carry: letters, digits, a dash."""
        rng = self.rng
        letters = "".join(rng.choices(string.ascii_uppercase, k=rng.randint(1, 3)))
        year = str(rng.randint(2015, 2029))
        return rng.choice(
            (
                f"{letters}-{self.digits(rng.randint(3, 6))}",
                f"{letters}{self.digits(rng.randint(4, 8))}",
                f"{year}-{self.digits(4)}",
                f"{year}/{self.digits(3)}",
                self.digits(rng.randint(4, 8)),
                f"{letters}-{year}-{self.digits(3)}",
                f"#{self.digits(5)}",
            )
        )

    def person(self) -> str:
        """Return first and last name."""
        first, last = self._or_invented("first", 0.15), self._or_invented("last")
        if self.rng.random() < 0.12:
            first += f" {self.rng.choice(string.ascii_uppercase)}."
        return f"{first} {last}"

    def company(self) -> str:
        """Return a firm's name."""
        rng = self.rng
        name = rng.choice(
            (
                self._or_invented("last", 0.4),
                self._or_invented("street", 0.4),
                f"{self.pick('last')} {self.invented()}",
                self.invented() + " " + self.word().capitalize(),
                f"{self.pick('last')} & {self.pick('last')}",
                f"{self.pick('city')} {self.word().capitalize()}",
            )
        )
        return f"{name} {rng.choice(FIRMS)}"

    def street(self) -> str:
        """Return street and number."""
        rng, number = self.rng, self.rng.randint(1, 299)
        name = self._or_invented("street", 0.3)
        return rng.choice(
            (
                f"{number} {name} {rng.choice(WAYS)}",
                f"{name}strasse {number}",
                f"{name} {rng.choice(WAYS)} {number}",
                f"No. {number}, Jalan {name}",
                f"Via {name} {number}",
                f"{number} rue {name}",
            )
        )

    def city(self) -> str:
        """Return a town."""
        return self._or_invented("city", 0.2)

    def postcode(self) -> str:
        """Return a postal code."""
        letters = "".join(self.rng.choices(string.ascii_uppercase, k=2))
        return self.rng.choice(
            (
                self.digits(5),
                self.digits(5),
                self.digits(4),
                f"{letters}{self.digits(1)} {self.digits(1)}{letters}",
            )
        )

    def phone(self) -> str:
        """Return a telephone number."""
        return self.rng.choice(
            (
                f"+{self.rng.randint(20, 99)} {self.digits(3)} {self.digits(6)}",
                f"0{self.digits(2)}-{self.digits(3)} {self.digits(4)}",
                f"({self.digits(3)}) {self.digits(3)}-{self.digits(4)}",
                f"0{self.digits(3)} {self.digits(7)}",
            )
        )

    def email(self, name: str = "") -> str:
        """Return an address below a domain that nobody owns."""
        user = (
            (name or self.person()).lower().replace(". ", ".").replace(" ", self.rng.choice((".", "_", "")))
        )
        user = "".join(c for c in user if c.isascii() and (c.isalnum() or c in "._")).strip(".")
        return f"{user}@{self.rng.choice(('example.org', 'example.com', 'mail.example', 'post.example'))}"

    def day(self, first: int = 2012, last: int = 2029) -> datetime.date:
        """Return a day of these years."""
        return datetime.date(first, 1, 1) + datetime.timedelta(
            days=self.rng.randrange(365 * (last - first + 1))
        )

    def date(self, day: datetime.date) -> str:
        """Write a day the way this document writes days."""
        month = self.language.months[day.month - 1]
        d, m, y = day.day, day.month, day.year
        return (
            f"{d:02d}/{m:02d}/{y}", f"{d:02d}.{m:02d}.{y}", f"{y}-{m:02d}-{d:02d}", f"{d} {month} {y}",
            f"{d:02d}-{m:02d}-{y}", f"{d:02d}/{m:02d}/{y % 100:02d}", f"{d}.{m}.{y}", f"{month} {d}, {y}",
            f"{d:02d}-{month[:3]}-{y}", f"{y}/{m:02d}/{d:02d}",
        )[self.date_form]  # fmt: skip

    def time(self) -> str:
        """Return a time of day."""
        hour, minute = self.rng.randint(7, 22), self.rng.randint(0, 59)
        form = self.rng.randrange(4)
        if form == 0:
            return f"{(hour - 1) % 12 + 1}:{minute:02d} {'AM' if hour < 12 else 'PM'}"
        return f"{hour:02d}:{minute:02d}" + (f":{self.rng.randint(0, 59):02d}" if form == 1 else "")

    def money(self) -> Money:
        """Return how this document writes amounts: mostly as its language does."""
        symbol, code, before = self.rng.choice(_CURRENCIES)
        language = self.language
        if self.rng.random() < 0.3 or language.script not in ("Latn", "Cyrl", "Grek"):
            return Money(symbol, code, ".", ",", before)
        return Money(symbol, code, language.decimal, language.group, before)


def amounts(rng: random.Random, count: int, most: int = 9000) -> Sequence[int]:
    """Return prices in hundredths, small ones more often, with the endings that prices have."""
    prices = []
    for _ in range(count):
        price = int(10 ** rng.uniform(1.7, len(str(most)) - 0.3))
        prices.append(max(5, price - price % 100 + rng.choice((0, 50, 90, 95, 99, price % 100, price % 100))))
    return prices
