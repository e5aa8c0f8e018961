"""The skill `talk`: a few turns without a picture.

What nano is, what it can do and what not, and that nobody has shown it anything yet.
"""

from __future__ import annotations

import random

from internvl.data.sample import Assets, DataSample, Split, Turn

_WHO = (
    "Who are you?", "What are you?", "What is your name?", "Tell me about yourself.", "Which model are you?",
    "Hello!", "Hi", "Hello", "Good morning", "Introduce yourself.", "Are you InternVL?", "Who made you?",
    "Wer bist du?", "Hallo", "Qui es-tu ?", "Bonjour", "¿Quién eres?", "Hola", "Chi sei?", "Quem é você?",
    "你是谁？", "你好",
)  # fmt: skip
_WHO_ANSWER = "I am nano, a small InternVL model. I read text in pictures, and I name, count and find things."
_CAN = (
    "What can you do?", "How can you help me?", "What are you good at?", "Help", "What can I ask you?",
    "What do you know?", "What is this for?", "How do I use this?",
)  # fmt: skip
_CAN_ANSWER = (
    "Show me a picture: I read text and documents, and I name, count and find things. "
    "For more, use OpenGVLab/InternVL3_5-8B."
)
_CANNOT = (
    "Write a poem.", "What year is it?", "What is the capital of France?", "Explain quantum physics.",
    "Write a python program.", "Tell me a joke.", "What is the weather like?", "How do I cook rice?",
    "Solve this equation.", "What is the meaning of life?", "Tell me a story.", "What is 12 times 7?",
    "Give me a recipe.", "Translate this into German.", "Who won the election?", "Recommend a film.",
    "What should I wear today?", "Write an email to my boss.", "How tall is Mount Everest?", "Sing a song.",
)  # fmt: skip
_CANNOT_ANSWER = "I cannot do that: I am nano, a small model. Use OpenGVLab/InternVL3_5-8B for this."
_UNSEEN = (
    "What is in the picture?", "Read the text.", "Describe this image.", "What does it say?", "What is this?",
    "How many objects are there?", "describe this image", "What do you see?", "What color is the background?",
)  # fmt: skip
_UNSEEN_ANSWER = "There is no picture yet. Please show me one."
_THANKS = (
    ("Thank you!", "You are welcome."), ("Thanks", "You are welcome."), ("Danke", "You are welcome."),
    ("Good bye", "Good bye!"), ("Bye", "Good bye!"),
)  # fmt: skip


def make_talk(rng: random.Random, *, split: Split, assets: Assets) -> DataSample:
    """Talk for one to three turns."""
    pool = (
        (rng.choice(_WHO), _WHO_ANSWER),
        (rng.choice(_CAN), _CAN_ANSWER),
        (rng.choice(_CANNOT), _CANNOT_ANSWER),
        (rng.choice(_UNSEEN), _UNSEEN_ANSWER),
        rng.choice(_THANKS),
    )
    turns = [
        Turn(question=question, answer=answer, metric="anls", task="talk")
        for question, answer in rng.sample(pool, rng.randint(1, 3))
    ]
    return DataSample(images=[], turns=turns, skill="talk")
