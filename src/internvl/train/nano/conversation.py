"""Conversations -> ids and labels, in the layout that chat uses.

The ids equal `preprocess.Processor`'s (a test holds them together); building them here spares the trainer the picture
intake. Labels follow the family's training code: assistant text and `<|im_end|>` count, headers and line ends do not.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from internvl.data.questions import Turn, ask, small_talk
from internvl.data.scene import Scene
from internvl.preprocess.chat_template import SHUSHENG_WANXIANG
from internvl.preprocess.tokenizer import Tokenizer, load_tokenizer

IGNORE_INDEX = -100
"""Label of a token that is not learnt."""
NO_SYSTEM = 0.1
"""Share of conversations without a system turn: transformers' layout of a checkpoint has none."""
OTHER_SYSTEM = 0.1
OTHER_SYSTEMS = ("", "You are a helpful assistant.", "Answer briefly.", "You are nano.", "Be kind.")


class ConversationEncoder:
    """Writes conversations in template internvl2_5."""

    def __init__(self, directory: Path, patch_size: int = 14, factor: int = 2) -> None:
        """Use the tokenizer files of `directory`; a tile gives one token per `patch_size * factor` pixels squared."""
        self.tokenizer: Tokenizer = load_tokenizer(directory)
        self.cell = patch_size * factor
        token = self.tokenizer.token_to_id("<IMG_CONTEXT>")
        assert token is not None, f"{directory} has no image token"
        self.image_token_id = token
        self._encode = lru_cache(maxsize=20000)(self._encode_now)

    def _encode_now(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text))

    def about(
        self, rng: random.Random, scene: Scene, turns: int, size: int, skill: str | None = None
    ) -> tuple[list[int], list[int]]:
        """Ask about a scene, drawn for `skill`, shown as one tile of `size` pixels."""
        return self.encode(
            ask(rng, scene, turns, skill), system=_system(rng), num_image_tokens=(size // self.cell) ** 2
        )

    def small_talk(self, rng: random.Random) -> tuple[list[int], list[int]]:
        """A conversation without a picture."""
        return self.encode(small_talk(rng), system=_system(rng), num_image_tokens=0)

    def encode(
        self, turns: Sequence[Turn], *, system: str | None, num_image_tokens: int
    ) -> tuple[list[int], list[int]]:
        """Return ids and labels; `system` None leaves the system turn out.

        The picture stands before the first question: `<img>` image tokens `</img>` and a line end.
        """
        ids: list[int] = []
        labels: list[int] = []

        def add(text: str, *, learn: bool = False) -> None:
            new = self._encode(text)
            ids.extend(new)
            labels.extend(new if learn else [IGNORE_INDEX] * len(new))

        if system is not None:
            add(f"<|im_start|>system\n{system}<|im_end|>\n")
        for n, (question, answer) in enumerate(turns):
            picture = (
                "<img>" + "<IMG_CONTEXT>" * num_image_tokens + "</img>\n"
                if n == 0 and num_image_tokens
                else ""
            )
            add(f"<|im_start|>user\n{picture}{question}<|im_end|>\n")
            add("<|im_start|>assistant\n")
            add(answer, learn=True)
            add("<|im_end|>", learn=True)
            add("\n")
        return ids, labels


def _system(rng: random.Random) -> str | None:
    kind = rng.random()
    if kind < NO_SYSTEM:
        return None
    return rng.choice(OTHER_SYSTEMS) if kind < NO_SYSTEM + OTHER_SYSTEM else SHUSHENG_WANXIANG
