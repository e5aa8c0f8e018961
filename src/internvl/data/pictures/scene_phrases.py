"""How questions about a composed picture are put: eight ways or more for each, filled in by `scene_questions`.

`{x}` and `{y}` are things, `{n}` several of them, `{o}` what they are together, `{a}` and `{b}` two sides, `{r}` a
relation, `{c}` a comparative; a capital letter begins a sentence.
"""

from __future__ import annotations

COUNT_ALL = (
    "How many {n} are there?", "How many {n} are in the picture?", "How many {n} are in the image?",
    "Count the {n}.", "How many {n} do you see?", "What is the number of {n} in this image?",
    "How many {n} are there in total?", "Count all {n} in the picture.", "Tell me how many {n} are shown.",
    "How many {n} can be seen here?",
)  # fmt: skip
COUNT_KIND = (
    "How many {n} are there?", "How many {n} are in the picture?", "How many {n} are in the image?",
    "Count the {n}.", "How many {n} do you see?", "What is the number of {n}?", "How many {n} can you find?",
    "How many {n} are shown?", "Please count the {n} in this image.", "How many {n} can be seen?",
)  # fmt: skip
COUNT_QUOTED = (
    'How many "{x}" are in the image?', 'How many times does "{x}" appear in the picture?',
    'Count the objects of the kind "{x}".', 'How often is "{x}" shown?', 'What is the number of "{x}" here?',
    'How many "{x}" do you see?', 'How many pictures of "{x}" are there?', 'Count "{x}" in this image.',
)  # fmt: skip
NAME_ONE = (
    "What is this?", "What is the object in the image?", "What is in the picture?", "What do you see?",
    "What object is shown?", "Name the object.", "What does the picture show?", "What is shown here?",
    "Which object is this?", "Identify the object in the picture.", "What can you see in this image?",
)  # fmt: skip
LIST = (
    "What objects are in the picture?", "List the objects in the image.", "What is in the picture?",
    "What do you see?", "Name everything that is shown.", "Which things are in this image?",
    "What can you see in the picture?", "What are the objects here?", "Tell me what is in this image.",
    "Which objects can be seen?",
)  # fmt: skip
DESCRIBE = (
    "Describe this image.", "Describe the picture.", "describe this image", "Please describe the image shortly.",
    "What does this image show?", "Describe the image in one sentence.", "Give a short description of the picture.",
    "Write a caption for this image.", "Please describe the picture briefly.", "Caption this image.",
)  # fmt: skip
COLOUR = (
    "What color is the {x}?", "What colour is the {x}?", "Which color does the {x} have?",
    "What is the color of the {x}?", "Tell me the color of the {x}.", "Name the colour of the {x}.",
    "The {x}: what color?", "Which colour is the {x}?", "In what color is the {x} shown?",
)  # fmt: skip
GROUND = (
    "What color is the background?", "What colour is the background?", "Which color does the background have?",
    "What is the background color?", "Tell me the colour of the background.", "Name the color of the background.",
    "What color is behind the {n}?", "Which colour is the background of this picture?",
)  # fmt: skip
HALF = (
    "Is the {x} in the {a} half or the {b} half of the image? Answer {a} or {b}.",
    "Is the {x} on the {a} or on the {b}?", "On which side is the {x}, {a} or {b}?",
    "Is the {x} in the {a} or the {b} half?", "Which half of the picture holds the {x}: {a} or {b}?",
    "Does the {x} lie in the {a} or in the {b} half of the picture?", "{A} or {b}: where is the {x}?",
    "Tell me whether the {x} is in the {a} or the {b} half.",
)  # fmt: skip
WHERE = (
    "Where is the {x}?", "Where in the picture is the {x}?", "In which part of the image is the {x}?",
    "What is the position of the {x}?", "Where can I find the {x}?", "Tell me where the {x} is.",
    "Whereabouts is the {x} in this image?", "In what corner or part of the picture is the {x}?",
)  # fmt: skip
SIDE = {
    "leftmost": ("What is the leftmost {o}?", "Which {o} is on the far left?", "What is furthest to the left?",
                 "Name the {o} furthest left.", "What is nearest to the left edge?", "Which {o} is leftmost?",
                 "What stands furthest left?", "Which {o} is closest to the left edge?"),
    "rightmost": ("What is the rightmost {o}?", "Which {o} is on the far right?", "What is furthest to the right?",
                  "Name the {o} furthest right.", "What is nearest to the right edge?", "Which {o} is rightmost?",
                  "What stands furthest right?", "Which {o} is closest to the right edge?"),
    "highest": ("What is the topmost {o}?", "Which {o} is furthest up?", "What is highest in the picture?",
                "Name the topmost {o}.", "What is nearest to the top edge?", "Which {o} is highest?",
                "What is uppermost?", "Which {o} is closest to the top edge?"),
    "lowest": ("What is the bottommost {o}?", "Which {o} is furthest down?", "What is lowest in the picture?",
               "Name the bottommost {o}.", "What is nearest to the bottom edge?", "Which {o} is lowest?",
               "What is furthest down?", "Which {o} is closest to the bottom edge?"),
    "largest": ("What is the largest {o}?", "Which {o} is the biggest?", "Name the biggest {o}.",
                "Which {o} is the largest?", "What is the biggest thing here?", "What takes up the most room?",
                "Which is the largest {o} in the image?", "Tell me the name of the largest {o}."),
    "smallest": ("What is the smallest {o}?", "Which {o} is the smallest?", "Name the smallest {o}.",
                 "Which {o} is the tiniest?", "What is the smallest thing here?", "What takes up the least room?",
                 "Which is the smallest {o} in the image?", "Tell me the name of the smallest {o}."),
}  # fmt: skip
SIDE_COLOUR = (
    "What color is the {side} {o}?", "What colour is the {side} {o}?", "Which color does the {side} {o} have?",
    "What is the color of the {side} {o}?", "Name the colour of the {side} {o}.",
    "Tell me the color of the {side} {o}.", "The {side} {o} has which color?", "Which colour is the {side} {o}?",
)  # fmt: skip
SIDE_SHAPE = (
    "What is the shape of the {side} object?", "What shape is the {side} object?", "Which shape is the {side} one?",
    "What is the {side} shape?", "Name the {side} shape.", "Tell me the shape of the {side} object.",
    "The {side} object has what shape?", "Which shape does the {side} object have?",
)  # fmt: skip
RELATION = (
    "Is the {x} to the {a} or to the {b} of the {y}?", "Is the {x} {a} or {b} of the {y}?",
    "Seen from the {y}, is the {x} on the {a} or on the {b}?", "On which side of the {y} is the {x}: {a} or {b}?",
    "Does the {x} lie {a} or {b} of the {y}?", "{A} or {b} of the {y}: where is the {x}?",
    "Which side of the {y} is the {x} on, {a} or {b}?", "Tell me whether the {x} is to the {a} or {b} of the {y}.",
)  # fmt: skip
ABOVE = (
    "Is the {x} above or below the {y}?", "Does the {x} lie above or below the {y}?",
    "Is the {x} higher or lower than the {y}? Answer above or below.", "Above or below the {y}: where is the {x}?",
    "Relative to the {y}, is the {x} above or below?", "Tell me whether the {x} is above or below the {y}.",
    "Compared with the {y}, is the {x} above or below it?", "Is the {x} placed above or below the {y}?",
)  # fmt: skip
RELATION_YES = (
    "Is the {x} {r} the {y}?", "Does the {x} lie {r} the {y}?", "Is it true that the {x} is {r} the {y}?",
    "Would you say the {x} is {r} the {y}?", "Can the {x} be found {r} the {y}?", "Is the {x} placed {r} the {y}?",
    "True or false, in yes or no: the {x} is {r} the {y}.", "Do you see the {x} {r} the {y}?",
)  # fmt: skip
RELATION_WHAT = (
    "What is {r} the {y}?", "Which {o} is {r} the {y}?", "What lies {r} the {y}?", "Name the {o} {r} the {y}.",
    "What do you see {r} the {y}?", "Which {o} can be found {r} the {y}?", "{R} the {y} there is one {o}. Which?",
    "Tell me what is {r} the {y}.",
)  # fmt: skip
LARGER = (
    "Which is {c}, the {x} or the {y}?", "What is {c}: the {x} or the {y}?", "The {x} or the {y}: which one is {c}?",
    "Which one is {c}, the {x} or the {y}?", "Is the {x} or the {y} {c}?", "Which of the two is {c}, {x} or {y}?",
    "Tell me which is {c}, the {x} or the {y}.", "Between the {x} and the {y}, which is {c}?",
)  # fmt: skip
EXISTS = (
    "Is there {x} in the picture?", "Is there {x} in the image?", "Do you see {x}?", "Can you see {x}?",
    "Does the picture show {x}?", "Is {x} shown?", "Does this image contain {x}?", "Can {x} be seen here?",
    "Is {x} in this picture?",
)  # fmt: skip
EXISTS_MANY = (
    "Are there {x} in the picture?", "Are there {x} in the image?", "Do you see {x}?", "Can you see {x}?",
    "Does the picture show {x}?", "Are {x} shown?", "Does this image contain {x}?", "Can {x} be seen here?",
)  # fmt: skip
BOX = (
    "Please provide the bounding box coordinate of the region this sentence describes: <ref>{x}</ref>",
    "Detect the <ref>{x}</ref>.", "Where is the <ref>{x}</ref>? Give its bounding box.",
    "Locate the <ref>{x}</ref>.", "Give the bounding box of the <ref>{x}</ref>.",
    "Mark the position of the <ref>{x}</ref>.", "Please find the <ref>{x}</ref> and return its box.",
    "Show me where the <ref>{x}</ref> is.", "Ground this in the image: <ref>{x}</ref>",
)  # fmt: skip
BOXES = (
    "Please provide the bounding boxes of all <ref>{x}</ref>.", "Detect every <ref>{x}</ref>.",
    "Detect the <ref>{x}</ref>.", "Locate all <ref>{x}</ref>.", "Give the bounding boxes of each <ref>{x}</ref>.",
    "Where are the <ref>{x}</ref>? Give their boxes.", "Mark every <ref>{x}</ref> in the image.",
    "Find each <ref>{x}</ref> and return the boxes.",
)  # fmt: skip
DETECT_ALL = (
    "Please detect and label all objects in the following image and mark their positions.",
    "Detect all objects.", "Find all objects and give their bounding boxes.", "Label everything with boxes.",
    "List all objects with their bounding boxes.", "Detect and locate everything in the picture.",
    "Mark the positions of all objects in the image.", "Which objects are where? Answer with boxes.",
)  # fmt: skip
REGION = (
    "What is in the region <box>{b}</box>?", "What does the box <box>{b}</box> contain?",
    "Name the object at <box>{b}</box>.", "Which object lies in <box>{b}</box>?", "What is at <box>{b}</box>?",
    "Identify what is inside <box>{b}</box>.", "Tell me what <box>{b}</box> shows.",
    "What can be seen in <box>{b}</box>?",
)  # fmt: skip
