"""What a model is: frozen descriptions, no torch."""

from internvl.config.model import (
    ModelConfig,
    MoEConfig,
    ProjectorConfig,
    RopeConfig,
    TextConfig,
    VisionConfig,
)

__all__ = ["ModelConfig", "MoEConfig", "ProjectorConfig", "RopeConfig", "TextConfig", "VisionConfig"]
