"""Ask about a part of a video and show which frames were seen.

python examples/video.py CLIP [START END [MODEL]]
"""

import sys

import internvl

path, *seconds = sys.argv[1:4]
start, end = map(float, seconds) if len(seconds) == 2 else (None, None)
model = sys.argv[4] if len(sys.argv) > 4 else "nano"

clip = internvl.load_video(path, num_frames=8, start=start, end=end)
with internvl.pipeline(model) as pipe:
    answer = pipe(("What happens in the video?", clip))
    print(answer.text)
    for frame in answer.usage.media:
        print(f"frame {frame.frame_index} at {frame.timestamp_s} s: {frame.num_tokens} tokens")
