"""Talk without a picture."""

from internvl.data.sample import Assets
from internvl.data.skills import make_sample


def test_it_talks_without_pictures_and_as_the_seed_says():
    samples = [make_sample("talk", 1, number, assets=Assets()) for number in range(200)]
    assert all(not sample.images and 1 <= len(sample.turns) <= 3 for sample in samples)
    answers = {turn.answer for sample in samples for turn in sample.turns}
    assert any(answer.startswith("I am nano") for answer in answers)
    assert "There is no picture yet. Please show me one." in answers
    assert samples[7].turns == make_sample("talk", 1, 7, assets=Assets()).turns
