"""The models that the demo offers, by name; each is loaded when it is first asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from internvl.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from internvl.chat.pipeline import Pipeline


class ModelShelf:
    """Named pipelines. Any thread may call it."""

    def __init__(self, loaders: Mapping[str, Callable[[], Pipeline]]) -> None:
        """`loaders`: what to call for each model, in the order in which they are offered."""
        if not loaders:
            raise ConfigError("ModelShelf: no model; expected at least one name")
        self._loaders = dict(loaders)
        self._locks = {name: threading.Lock() for name in self._loaders}
        self._loaded: dict[str, Pipeline] = {}

    @classmethod
    def of(cls, name: str, pipeline: Pipeline) -> ModelShelf:
        """Return a shelf with one model that is loaded already."""
        shelf = cls({name: lambda: pipeline})
        shelf.get(name)
        return shelf

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models; the first one is the default."""
        return tuple(self._loaders)

    def is_loaded(self, name: str) -> bool:
        """Whether a model is ready, so that a question will not wait for it."""
        return name in self._loaded

    def get(self, name: str) -> Pipeline:
        """Return a model, loading it first if need be.

        Raises:
            RequestError: There is no model of this name here.
            InternVLError: It cannot be loaded; the next call tries again.
        """
        if name not in self._loaders:
            raise RequestError(
                f"there is no model {name[:100]!r} here; expected one of {', '.join(self.names)}"
            )
        with self._locks[name]:
            if name not in self._loaded:
                self._loaded[name] = self._loaders[name]()
            return self._loaded[name]

    def close(self) -> None:
        """Close every model that was loaded."""
        for pipeline in self._loaded.values():
            pipeline.close()
