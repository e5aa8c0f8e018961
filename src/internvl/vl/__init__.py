"""LMDeploy's face for pictures and videos: code written for `lmdeploy.vl` needs only its import renamed."""

from internvl.media.image import load_image
from internvl.vl.video import LoadedVideo, load_video

__all__ = ["LoadedVideo", "load_image", "load_video"]
