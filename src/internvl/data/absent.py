"""Whether an answer says that what is asked for is not there: for generated samples, evaluation and verifiers."""

from __future__ import annotations

import re

_NOT_THERE = re.compile(
    r"\bthere(?:'s| is| are| was| were)(?: no\b|n't)"
    r"|\b(?:not|isn't|aren't|no(?=\s)|nothing|cannot|can't|don't|doesn't)\b.*"
    r"\b(?:picture|image|photo|document|page|chart|table|video|clip|frame|screen|text"
    r"|shown?|seen?|visible|given|present|found|mentioned|appears?|contain|there)\b"
    r"|\b(?:unanswerable|not applicable)\b",
    re.IGNORECASE | re.DOTALL,
)


def says_absent(answer: str) -> bool:
    """Whether an answer says so, in any words (the metric `absent`).

    >>> says_absent("There is no cow in the video."), says_absent("No. 253, Jalan Castle"), says_absent("no")
    (True, False, False)
    """
    return _NOT_THERE.search(answer) is not None
