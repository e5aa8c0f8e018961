"""Describe one picture, then ask about it again: the session keeps the picture, nothing is encoded twice.

python examples/describe.py [PICTURE] [MODEL]
"""

import sys
from pathlib import Path

import internvl
from internvl.vl import load_image

picture = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("sign.png")
model = sys.argv[2] if len(sys.argv) > 2 else "nano"

with internvl.pipeline(model) as pipe:
    session = pipe.chat(("describe this image", load_image(picture)))
    print(session.response.text)
    session = pipe.chat("What does it say?", session=session)
    print(session.response.text)
