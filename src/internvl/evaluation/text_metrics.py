"""Metrics that compare an answer with a text: exact ones, ANLS, error rates, choices, names.

All texts are compared in Unicode's form NFC, and runs of white space (line breaks too) count as one space, unless a
metric says otherwise. "Tidied" means: a final full stop and quotation marks around the answer do not count where the
expected answer has none.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from internvl.data.absent import says_absent
from internvl.evaluation.edit_distance import edit_distance, nearest_part, normalised_distance
from internvl.evaluation.numbers import find_number
from internvl.evaluation.verdict import Metric, Truth, Verdict

ANLS_THRESHOLD = 0.5
FUZZY = 0.95
"""Share of a passage's letters that must be found for it to count as there (`output_contains_fuzzy`)."""
_QUOTES = (('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"), ("«", "»"), ("„", "“"), ("`", "`"), ("*", "*"))


def plain(text: str) -> str:
    """Return a text in form NFC with runs of white space as one space, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def tidied(answer: str, expected: str) -> str:
    """Return `plain(answer)` without a final full stop and quotes that `expected` does not have either."""
    answer, expected = plain(answer), plain(expected)
    if answer.endswith((".", "。")) and not expected.endswith((".", "。")):
        answer = answer[:-1].rstrip()
    for first, last in _QUOTES:
        if len(answer) > 1 and answer[0] == first and answer[-1] == last and expected[:1] != first:
            answer = answer[1:-1].strip()
    return answer


def _whether(right: object) -> Verdict:
    return Verdict(float(bool(right)))


def exact(answer: str, truth: Truth) -> Verdict:
    """1 if the texts are equal, letter for letter."""
    return _whether(answer and plain(answer) == plain(truth.text))


def exact_ci(answer: str, truth: Truth) -> Verdict:
    """1 if the tidied texts are equal but for capitals."""
    return _whether(answer and tidied(answer, truth.text).casefold() == plain(truth.text).casefold())


def exact_norm(answer: str, truth: Truth) -> Verdict:
    """1 if the tidied texts are equal without any spaces."""
    return _whether(
        answer and tidied(answer, truth.text).replace(" ", "") == plain(truth.text).replace(" ", "")
    )


def contains(answer: str, truth: Truth) -> Verdict:
    """1 if the expected words stand in the answer; capitals do not count, word boundaries do."""
    return _whether(_holds(answer, truth.text))


def contains_any(answer: str, truth: Truth) -> Verdict:
    """1 if one of the expected texts (parted by |) stands in the answer."""
    return _whether(any(_holds(answer, part) for part in truth.text.split("|")))


def contains_all(answer: str, truth: Truth) -> Verdict:
    """1 if all of the expected texts (parted by |) stand in the answer."""
    return _whether(all(_holds(answer, part) for part in truth.text.split("|")))


def _holds(answer: str, part: str) -> bool:
    answer, part = plain(answer).casefold(), plain(part).casefold()
    # only letters and digits of ASCII have boundaries: Chinese is written without spaces
    bounded = re.escape(part)
    if re.match(r"[a-z0-9]", part):
        bounded = r"(?<![a-z0-9])" + bounded
    if re.search(r"[a-z0-9]$", part):
        bounded += r"(?![a-z0-9])"
    return bool(part) and re.search(bounded, answer) is not None


def yesno(answer: str, truth: Truth) -> Verdict:
    """1 if the answer's first word is the expected one: yes or no."""
    words = re.findall(r"\w+", answer.casefold())
    return _whether(words and words[:1] == re.findall(r"\w+", truth.text.casefold())[:1])


def exact_number(answer: str, truth: Truth) -> Verdict:
    """1 if the answer's first number is the expected one; words up to twenty are numbers too."""
    return _number_within(answer, truth, 0.0)


def number_within(percent: float) -> Metric:
    """Return the relaxed accuracy of chart questions: 1 if the first number is off by at most `percent` % of the
    expected one (5 % in ChartQA: Masry et al., arXiv:2203.10244, section 5.1, after PlotQA)."""

    def relaxed(answer: str, truth: Truth) -> Verdict:
        return _number_within(answer, truth, percent / 100)

    return relaxed


def _number_within(answer: str, truth: Truth, tolerance: float) -> Verdict:
    given, expected = find_number(answer), find_number(truth.text)
    if given is None or expected is None:
        return Verdict(0.0)
    # a billionth: 0.1 + 0.2 is to be 0.3 here
    return _whether(abs(given - expected) <= (tolerance + 1e-9) * abs(expected))


def relaxed_accuracy(answer: str, truth: Truth) -> Verdict:
    """ChartQA's relaxed accuracy: numbers within 5 %, other answers equal but for capitals (arXiv:2203.10244)."""
    if find_number(truth.text) is not None and re.fullmatch(r"[-−–+$€£¥%.,'\d\s]+", plain(truth.text)):
        return _number_within(answer, truth, 0.05)
    return exact_ci(answer, truth)


def anls(answer: str, truth: Truth) -> Verdict:
    """ANLS: 1 - NL where NL, the edit distance over the longer length, is below 0.5, else 0; capitals do not count
    (Biten et al., "Scene text visual question answering", arXiv:1905.13648, section 4)."""
    best = max(_similarity(answer, text) for text in (truth.text, *truth.alternatives))
    # equal but for form: what exact-match figures of fields are made of
    right = exact_norm(answer, truth).score
    return Verdict(best if best > ANLS_THRESHOLD else 0.0, {"right": right, "fields": 1})


def _similarity(answer: str, expected: str) -> float:
    if not answer:
        return 0.0
    return 1 - normalised_distance(tidied(answer, expected).casefold(), plain(expected).casefold())


def anls_or_number(answer: str, truth: Truth) -> Verdict:
    """1 if both are the same number, otherwise ANLS."""
    if re.fullmatch(r"[-−–+$€£¥%.,'\d\sA-Z]+", plain(truth.text)) and exact_number(answer, truth).score:
        return Verdict(1.0, {"right": 1.0, "fields": 1})
    return anls(answer, truth)


def cer(answer: str, truth: Truth) -> Verdict:
    """1 - edits / letters of the expected text, not below 0; over a set: all edits over all letters.

    The character error rate of OCR evaluation (Rice et al., "The fourth annual test of OCR accuracy", UNLV 1995).
    Details: `edits`, `letters`; with more than one word `word_edits`, `words`.
    """
    return _error_rate(plain(answer), plain(truth.text))


def cer_ci(answer: str, truth: Truth) -> Verdict:
    """`cer` without regard to capitals."""
    return _error_rate(plain(answer).casefold(), plain(truth.text).casefold())


def _error_rate(answer: str, expected: str) -> Verdict:
    edits, letters = edit_distance(expected, answer), len(expected)
    score = 1 - min(1.0, edits / max(1, letters))
    words = expected.split()
    details = {"edits": edits, "letters": letters}
    if len(words) > 1:
        details |= {"word_edits": edit_distance(words, answer.split()), "words": len(words)}
    return Verdict(score if answer else 0.0, details)


def ned(answer: str, truth: Truth) -> Verdict:
    """1 - edit distance over the longer length, as in ICDAR's reading competitions (1-NED)."""
    return Verdict(1 - normalised_distance(plain(answer), plain(truth.text)) if answer else 0.0)


def word_recall(answer: str, truth: Truth) -> Verdict:
    """Share of the expected words that stand in the answer, each as often as it is given.

    Order, capitals and signs at a word's ends do not count; words that are too many cost nothing.
    """
    wanted, given = _words(truth.text), _words(answer)
    return Verdict((wanted & given).total() / max(1, wanted.total()))


def _words(text: str) -> Counter[str]:
    stripped = (re.sub(r"^[^\w]+|[^\w]+$", "", word) for word in plain(text).casefold().split())
    return Counter(word for word in stripped if word)


def choice(answer: str, truth: Truth) -> Verdict:
    """1 if of the options exactly the expected one stands in the answer, or the answer is that option."""
    if exact_ci(answer, truth).score:
        return Verdict(1.0)
    named = [option for option in truth.options if _holds(answer, option)]
    return _whether(len(named) == 1 and plain(named[0]).casefold() == plain(truth.text).casefold())


_LETTER = re.compile(
    r"(?:answer|option|choice)\s*(?:is|:)?\s*\(?([A-J])\b|^\W*([A-J])(?![\w'])|\(([A-J])\)", re.IGNORECASE
)
_LONE_LETTER = re.compile(r"(?<![\w'])([A-J])(?![\w'])")


def choice_letter(answer: str, truth: Truth) -> Verdict:
    """1 if the letter that the answer gives ("B", "(B)", "B. 12", "the answer is B") is the expected one."""
    found = _LETTER.search(answer) or _LONE_LETTER.search(answer)
    letter = next((group for group in found.groups() if group), "") if found else ""
    return _whether(letter and letter.upper() == truth.text.strip().upper())


_ARTICLE = re.compile(r"^(?:an?|the|it is an?|this is an?|it's an?)\s+", re.IGNORECASE)


def any_of_names(answer: str, truth: Truth) -> Verdict:
    """1 if the tidied answer is the expected name or one of its alternatives; capitals, articles and hyphens do not
    count."""
    names = {_name(name) for name in (truth.text, *truth.alternatives)}
    return _whether(answer and _name(tidied(answer, truth.text)) in names)


def _name(text: str) -> str:
    return _ARTICLE.sub("", plain(text).casefold()).replace("-", " ")


def absent(answer: str, truth: Truth) -> Verdict:
    """1 if the answer says that what is asked for is not there, in any words, or is the expected answer."""
    return _whether(says_absent(answer) or exact_ci(answer, truth).score)


def output_contains_fuzzy(answer: str, truth: Truth) -> Verdict:
    """1 if the answer holds the expected passage with at most 5 % of its letters wrong (olmOCR-bench's "text present",
    arXiv:2502.18443; capitals count)."""
    return _whether(answer and _place(truth.text, answer) is not None)


def output_order(answer: str, truth: Truth) -> Verdict:
    """1 if the answer holds the expected passages (parted by |) in this order (olmOCR-bench's "reading order")."""
    places = [_place(part, answer) for part in truth.text.split("|")]
    return _whether(None not in places and _rises([place for place in places if place is not None]))


def _place(passage: str, answer: str) -> int | None:
    passage = plain(passage)
    found = nearest_part(passage, plain(answer))
    return found.end if found.distance <= (1 - FUZZY) * len(passage) else None


def _rises(numbers: Sequence[int]) -> bool:
    return all(a < b for a, b in zip(numbers, numbers[1:], strict=False))
