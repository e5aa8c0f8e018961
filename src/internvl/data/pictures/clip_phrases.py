"""How questions about a clip are put: eight ways for each, filled in by `clips`.

`{x}` is a thing, `{n}` several of them or what is written, `{o}` an ordinal, `{t}` start or end.
"""

from __future__ import annotations

WHAT_MOVES = (
    "What object moves?", "What is moving?", "Which object moves in the video?", "What moves in this clip?",
    "Name the moving object.", "Which thing changes its place?", "What travels across the picture?",
    "Tell me what moves in the video.",
)  # fmt: skip
DIRECTION = (
    "In which direction does it move: left to right, right to left, top to bottom or bottom to top?",
    "Which way does it move?", "In which direction does the {x} move?", "Where does the {x} move?",
    "What is the direction of the movement?", "How does the {x} move through the picture?",
    "From where to where does it move?", "Tell me the direction in which the {x} moves.",
)  # fmt: skip
AT_END = (
    'How many "{x}" are visible at the end of the video?', "How many {n} are there at the end?",
    "How many {n} are in the last frame?", "Count the {n} at the end of the clip.",
    "At the end, how many {n} do you see?",
    "How many {n} does the final frame show?", "What is the number of {n} at the end of the video?",
    "When the clip ends, how many {n} are visible?",
)  # fmt: skip
AT_START = (
    'How many "{x}" are visible at the start of the video?', "How many {n} are there at the beginning?",
    "How many {n} are in the first frame?", "Count the {n} at the start of the clip.",
    "At the start, how many {n} do you see?",
    "How many {n} does the first frame show?", "What is the number of {n} at the start of the video?",
    "When the clip begins, how many {n} are visible?",
)  # fmt: skip
COME_OR_GO = (
    "Do objects appear or disappear over time?", "Do things come or go in this video: appear or disappear?",
    "Does the number of objects grow or shrink? Answer appear or disappear.",
    "Appear or disappear: what do the objects do?",
    "What happens to the objects over time, do they appear or disappear?", "Are objects appearing or disappearing?",
    "Do more objects appear, or do they disappear?", "Over the clip, do the objects appear or disappear?",
)  # fmt: skip
WHICH_COMES = (
    "What appears first?", "Which object appears first?", "What is the first thing to appear?",
    "Which object comes first?",
    "Name the object that appears first.", "What shows up first in the video?",
    "Which thing is seen before all others?",
    "Which of the things enters first?",
)  # fmt: skip
WHICH_LAST = (
    "What appears last?", "Which object appears last?", "What is the last thing to appear?",
    "Which object comes last?",
    "Name the object that appears last.", "What shows up last in the video?", "Which thing joins last?",
    "What is new in the last frames?",
)  # fmt: skip
FRAME_OF = (
    "In which frame does the {x} first appear?", "From which frame on is the {x} visible?",
    "What is the number of the first frame with the {x}?", "Which frame shows the {x} for the first time?",
    "When does the {x} appear? Give the frame number.", "The {x} appears first in which frame?",
    "Give the number of the frame in which the {x} shows up.", "First frame with the {x}?",
)  # fmt: skip
COLOUR_AT = (
    "What colour is the {x} at the {t}?", "What color is the {x} at the {t}?",
    "Which color does the {x} have at the {t}?",
    "At the {t}, what color is the {x}?", "What is the color of the {x} at the {t} of the video?",
    "Tell me the colour of the {x} at the {t}.", "Name the color of the {x} at the {t} of the clip.",
    "Which colour is the {x} at the {t}?",
)  # fmt: skip
TURNS = (
    "What happens to the {x}?", "How does the {x} change?", "What changes in the video?",
    "Describe the change of the {x}.",
    "What change do you see?", "How does the {x} look at the start and at the end?",
    "What does the {x} do over time?",
    "Tell me what happens in the clip.",
)  # fmt: skip
SHOWN = (
    "Which {n} are shown, in order?", "Read the {n} in the order in which they appear.", "List the {n} in order.",
    "What {n} does the video show, one after the other?", "Which {n} can be read, from first to last?",
    "Write down the {n} of the frames in order.", "Tell me the {n} in the order shown.", "What {n} appear, in order?",
)  # fmt: skip
ORDINAL_SHOWN = (
    "What is the {o} {n} shown?", "Which {n} is shown {o}?", "Read the {o} {n}.", "What is the {o} {n}?",
    "Which {n} appears {o}?", "Tell me the {o} {n} of the video.", "The {o} {n}: what is it?",
    "Give the {o} {n} shown.",
)  # fmt: skip
JUMPS = (
    "How many times does the object jump?", "How often does it jump?", "How many jumps are there?",
    "Count the jumps.",
    "How many times does the {x} jump?", "How often does the {x} go up?", "What is the number of jumps?",
    "How many jumps does the {x} make?",
)  # fmt: skip
EXISTS = (
    "Does the video show {x}?", "Is there {x} in the video?", "Can you see {x} in the clip?",
    "Does {x} appear in any frame?",
    "Do you see {x} in the video?", "Is {x} ever visible?", "Does this clip contain {x}?",
    "Is {x} in any of the frames?",
)  # fmt: skip
