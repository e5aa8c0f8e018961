"""LMDeploy's face for pictures and videos: code written for `lmdeploy.vl` needs only its import renamed."""

from internvl.media.image import load_image
from internvl.vl.utils import encode_image_base64, encode_video_base64
from internvl.vl.video import LoadedVideo, load_video

__all__ = ["LoadedVideo", "encode_image_base64", "encode_video_base64", "load_image", "load_video"]
