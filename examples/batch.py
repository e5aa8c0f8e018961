"""Ask the same question about many pictures at once; the engine batches them, answers keep their order.

python examples/batch.py PICTURE [PICTURE ...]
"""

import sys
from pathlib import Path

import internvl

pictures = sys.argv[1:] or sorted(Path(__file__).parent.glob("*.png"))

with internvl.pipeline("nano") as pipe:
    answers = pipe([("describe this image", str(picture)) for picture in pictures])
    for picture, answer in zip(pictures, answers, strict=True):
        tiles = sum(media.num_tiles for media in answer.usage.media)
        print(f"{picture}: {answer.text}  [{tiles} tiles, {answer.input_token_len} tokens]")
