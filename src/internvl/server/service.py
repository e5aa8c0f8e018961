"""What the handlers share: one engine, its limits, and what hangs on them. Made by `app.create_app`."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import Depends, Request

from internvl.chat.pipeline import Pipeline
from internvl.engine.engine import Engine
from internvl.errors import ConfigError
from internvl.media.source import short_name
from internvl.preprocess.messages import nearest
from internvl.preprocess.processor import Processor
from internvl.server.answering import Answering
from internvl.server.batch_runner import BatchRunner
from internvl.server.batch_store import BatchStore
from internvl.server.config import ServerConfig
from internvl.server.data_dir import DataDir
from internvl.server.errors import UnknownModel
from internvl.server.features import Features
from internvl.server.file_store import FileStore
from internvl.server.limits import Gate
from internvl.server.media import MediaReader, address_policy, media_limits
from internvl.server.metrics import Metrics


class Service:
    """The state of one server."""

    def __init__(self, engine: Engine | Pipeline, config: ServerConfig) -> None:
        self.engine: Engine = engine.engine if isinstance(engine, Pipeline) else engine
        self.config = config
        if both := set(config.model_names) & set(self.engine.adapters):
            raise ConfigError(f"ServerConfig: {both.pop()!r} names the model and an adapter; rename one")
        self.created = int(time.time())
        self.gate = Gate(
            max_concurrent=config.max_concurrent_requests,
            max_concurrent_per_caller=config.max_concurrent_per_key,
            requests_per_minute=config.requests_per_minute,
        )
        self.data = DataDir(config.data_dir)
        self.files = FileStore(
            self.data,
            max_file_bytes=config.max_file_bytes,
            max_stored_bytes=config.max_stored_bytes,
            max_stored_files=config.max_stored_files,
        )
        self.batches = BatchStore(self.data)
        self.runner: BatchRunner
        """Does the batches; `app.create_app` sets it, as it knows the handlers."""
        self.processor = server_processor(self.engine.processor, config)
        self.media = MediaReader(config, self.files)
        self.features = Features(self.engine)
        self.metrics = Metrics(self.engine, lambda: self.gate.num_open)
        self.answering = Answering(self.engine, self.processor, config, self.media, self.metrics)

    @property
    def model_name(self) -> str:
        """The model's shown name."""
        return self.config.model_names[0]

    def now(self) -> int:
        """Return the time as OpenAI's answers have it: seconds since 1970."""
        return int(time.time())

    @property
    def all_names(self) -> tuple[str, ...]:
        """What requests may call: the model by its names, then its adapters."""
        return (*self.config.model_names, *self.engine.adapters)

    def shown_name(self, asked: str | None) -> str:
        """Return what an answer calls its model: the adapter that was asked for, or the model's shown name."""
        return asked if asked is not None and asked in self.engine.adapters else self.model_name

    def check_model(self, name: str, *, adapters: bool = True) -> None:
        """Raise UnknownModel unless this server's model, or an adapter of it, is called so."""
        known = self.all_names if adapters else self.config.model_names
        if name not in known:
            raise UnknownModel(
                f"the model {short_name(name)!r} is not served{'' if adapters else ' here'}. {nearest(name, known)}",
                param="model",
            )

    def close(self) -> None:
        """End what was started; the engine is its owner's to close."""
        self.runner.close()
        self.media.close()
        self.answering.close()
        self.features.close()
        self.data.close()


def server_processor(processor: Processor, config: ServerConfig) -> Processor:
    """Return a processor of the same checkpoint that trusts nobody.

    Special tokens that clients spell in assistant messages are text, and no path of this machine is read.
    """
    return Processor(
        processor.config,
        processor.tokenizer,
        template=processor.template.name,
        limits=media_limits(config),
        policy=address_policy(config),
        special_tokens_in_answers=False,
    )


def get_service(request: Request) -> Service:
    """Return the service that a request came to (a FastAPI dependency)."""
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(get_service)]


def request_id_of(request: Request) -> str:
    """Return the id that the answer's header x-request-id has."""
    request_id: str = request.scope["state"]["request_id"]
    return request_id
