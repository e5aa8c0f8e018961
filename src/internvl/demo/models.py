"""The models that the demo offers, and their adapters, by name; each is loaded when it is first asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from internvl.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from internvl.chat.pipeline import Pipeline


class ModelShelf:
    """Named pipelines. Any thread may call it."""

    def __init__(
        self, loaders: Mapping[str, Callable[[], Pipeline]], *, adapters: Mapping[str, str] | None = None
    ) -> None:
        """`loaders`: what to call for each model, in the order in which they are offered. `adapters`: name of an
        adapter -> the model that has it; asked for like a model."""
        if not loaders:
            raise ConfigError("ModelShelf: no model; expected at least one name")
        self._loaders = dict(loaders)
        self._adapters = dict(adapters or {})
        self._locks = {name: threading.Lock() for name in self._loaders}
        self._loaded: dict[str, Pipeline] = {}

    @classmethod
    def of(cls, name: str, pipeline: Pipeline) -> ModelShelf:
        """Return a shelf with one model that is loaded already, and its adapters."""
        shelf = cls({name: lambda: pipeline}, adapters=dict.fromkeys(pipeline.engine.adapters, name))
        shelf.get(name)
        return shelf

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models and of their adapters; the first one is the default."""
        return (*self._loaders, *self._adapters)

    def adapter(self, name: str) -> str | None:
        """Return which adapter of its model answers under this name; None: the model itself."""
        return name if name in self._adapters else None

    def adapter_of(self, name: str) -> str | None:
        """Return the model whose adapter this is; None: it is a model."""
        return self._adapters.get(name)

    def is_loaded(self, name: str) -> bool:
        """Whether a model is ready, so that a question will not wait for it."""
        return self._adapters.get(name, name) in self._loaded

    def get(self, name: str) -> Pipeline:
        """Return a model, or the model that has this adapter, loading it first if need be.

        Raises:
            RequestError: There is no model of this name here.
            InternVLError: It cannot be loaded; the next call tries again.
        """
        if name not in self.names:
            raise RequestError(
                f"there is no model {name[:100]!r} here; expected one of {', '.join(self.names)}"
            )
        name = self._adapters.get(name, name)
        with self._locks[name]:
            if name not in self._loaded:
                self._loaded[name] = self._loaders[name]()
            return self._loaded[name]

    def close(self) -> None:
        """Close every model that was loaded."""
        for pipeline in self._loaded.values():
            pipeline.close()
