"""LMDeploy's helpers that put a picture or a video into a message as text."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from internvl.media.image import load_image
from internvl.media.limits import DEFAULT_LIMITS, DEFAULT_POLICY
from internvl.media.stored import open_stored
from internvl.media.video import load_video

_JPEG_QUALITY = 95


def encode_image_base64(image: Any) -> str:
    """Return a picture (PIL image, path, URL, bytes, array) as base64 of a PNG, which loses nothing."""
    return _encoded(load_image(image), "PNG")


def encode_video_base64(video: Any) -> str:
    """Return a video for a `data:video/...;base64,` URL.

    A file (path, URL, bytes) stays as it is, for `data:video/mp4`; frames (an array, a list of pictures, what
    `load_video` returned) become JPEGs with commas between them, for `data:video/jpeg`.
    """
    if isinstance(video, list | tuple | np.ndarray):
        return ",".join(_encoded(frame, "JPEG") for frame in load_video(video))
    stored = open_stored(video, limits=DEFAULT_LIMITS, policy=DEFAULT_POLICY)
    return base64.b64encode(stored.read_at(0, stored.size)).decode()


def _encoded(image: Image.Image, kind: str) -> str:
    file = BytesIO()
    image.save(file, kind, **({"quality": _JPEG_QUALITY} if kind == "JPEG" else {}))
    return base64.b64encode(file.getvalue()).decode()
