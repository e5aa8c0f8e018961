"""What a model is: frozen descriptions, no torch."""

from internvl.config.model import (
    ContrastiveConfig,
    ModelConfig,
    MoEConfig,
    ProjectorConfig,
    RopeConfig,
    TextConfig,
    VisionConfig,
)

__all__ = [
    "ContrastiveConfig",
    "ModelConfig",
    "MoEConfig",
    "ProjectorConfig",
    "RopeConfig",
    "TextConfig",
    "VisionConfig",
]
