"""Run, serve, train and measure the InternVL family of vision-language models.

Public names load on first use (PEP 562), so `import internvl` costs milliseconds and no torch.

>>> import internvl
>>> pipe = internvl.pipeline("nano")                                   # doctest: +SKIP
>>> pipe(("What does the sign say?", "examples/sign.png")).text        # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from internvl.version import __version__

_HOMES = {
    "load_model": "internvl.checkpoint.load",
    "load_processor": "internvl.checkpoint.load",
    "load_image": "internvl.media.image",
    "load_video": "internvl.media.video",
    "pipeline": "internvl.chat.pipeline",
    "Pipeline": "internvl.chat.pipeline",
    "ChatTemplateConfig": "internvl.chat.pipeline",
    "Session": "internvl.chat.session",
    "Engine": "internvl.engine.engine",
    "EngineConfig": "internvl.engine.config",
    "TurbomindEngineConfig": "internvl.engine.config",
    "PytorchEngineConfig": "internvl.engine.config",
    "GenerationConfig": "internvl.types",
    "Response": "internvl.types",
    "ModelInputs": "internvl.types",
    "ModelConfig": "internvl.config",
    "InternVLError": "internvl.errors",
}

if TYPE_CHECKING:
    from internvl.chat.pipeline import ChatTemplateConfig, Pipeline, pipeline
    from internvl.chat.session import Session
    from internvl.checkpoint.load import load_model, load_processor
    from internvl.config import ModelConfig
    from internvl.engine.config import EngineConfig, PytorchEngineConfig, TurbomindEngineConfig
    from internvl.engine.engine import Engine
    from internvl.errors import InternVLError
    from internvl.media.image import load_image
    from internvl.media.video import load_video
    from internvl.types import GenerationConfig, ModelInputs, Response

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'internvl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
