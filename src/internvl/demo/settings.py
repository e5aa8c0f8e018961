"""How the page's controls say that a question is to be answered. They come from a browser and are checked here."""

from __future__ import annotations

from dataclasses import dataclass

from internvl.errors import ConfigError, RequestError
from internvl.preprocess.messages import MAX_TILES, check_tiles
from internvl.types import LOOP_GUARD, GenerationConfig

MAX_NEW_TOKENS = 8192
MAX_SYSTEM_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AskSettings:
    """What the settings tab holds, at the moment of a question."""

    model: str
    system: str = ""
    """Empty: the model's own."""
    temperature: float = 0.0
    """0: greedy."""
    top_p: float = 1.0
    max_new_tokens: int = 512
    max_tiles: int = 0
    """Of a picture; 0: as the model says."""

    def __post_init__(self) -> None:
        """Raise RequestError for what no control of ours could have sent."""
        texts = {"model": self.model, "system": self.system}
        numbers = {
            name: getattr(self, name) for name in ("temperature", "top_p", "max_new_tokens", "max_tiles")
        }
        if not all(isinstance(text, str) and len(text) <= MAX_SYSTEM_CHARACTERS for text in texts.values()):
            raise RequestError(
                f"model and system message must be texts of at most {MAX_SYSTEM_CHARACTERS} letters"
            )
        if not all(
            isinstance(number, int | float) and not isinstance(number, bool) for number in numbers.values()
        ):
            raise RequestError(f"{', '.join(numbers)} must be numbers")
        if not 0 <= self.temperature <= 5:
            raise RequestError(f"temperature is {self.temperature}; expected 0 to 5")
        if not 1 <= self.max_new_tokens <= MAX_NEW_TOKENS:
            raise RequestError(f"max_new_tokens is {self.max_new_tokens}; expected 1 to {MAX_NEW_TOKENS}")
        if not 0 <= self.max_tiles <= MAX_TILES:
            raise RequestError(f"max_tiles is {self.max_tiles}; expected 0 to {MAX_TILES}")
        # sliders send 4 as 4 or as 4.0
        object.__setattr__(self, "max_new_tokens", int(self.max_new_tokens))
        object.__setattr__(self, "max_tiles", int(self.max_tiles))

    @property
    def system_message(self) -> str | None:
        """The system message, or None for the model's own."""
        return self.system.strip() or None

    @property
    def tiles(self) -> int | None:
        """Most tiles of a picture, or None for the model's own number."""
        return check_tiles(self.max_tiles, "max_tiles") if self.max_tiles else None

    def gen_config(self) -> GenerationConfig:
        """Return how the engine is to answer.

        Raises RequestError: A number is out of range.
        """
        try:
            return GenerationConfig(
                max_new_tokens=self.max_new_tokens,
                do_sample=self.temperature > 0,
                temperature=float(self.temperature) or 1.0,
                top_p=float(self.top_p),
                skip_special_tokens=False,  # boxes are written with them
                **LOOP_GUARD,
            )
        except ConfigError as error:
            raise RequestError(str(error)) from error
