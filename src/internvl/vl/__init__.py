"""LMDeploy's face for pictures: code written for `lmdeploy.vl` needs only its import renamed."""

from internvl.media.image import load_image

__all__ = ["load_image"]
