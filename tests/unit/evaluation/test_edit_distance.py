"""Laws of the edit distance: equal to the textbook's table, a metric, and the nearest part of a text."""

from hypothesis import given
from hypothesis import strategies as st

from internvl.evaluation.edit_distance import edit_distance, nearest_part, normalised_distance

texts = st.text("abcä ", max_size=12)


def textbook(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


@given(texts, texts)
def test_it_is_the_distance_of_the_textbook_table(a, b):
    assert edit_distance(a, b) == textbook(a, b)


@given(texts, texts, texts)
def test_it_is_a_metric(a, b, c):
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
    assert 0 <= normalised_distance(a, b) <= 1


@given(st.text("ab", min_size=1, max_size=5), st.text("abc", max_size=9))
def test_the_nearest_part_is_the_nearest_of_all_parts(pattern, text):
    found = nearest_part(pattern, text)
    distances = {
        end: min(textbook(pattern, text[start:end]) for start in range(end + 1))
        for end in range(len(text) + 1)
    }
    assert found.distance == min(distances.values()) == distances[found.end]


def test_words_have_distances_too():
    assert edit_distance(["the", "quick", "fox"], ["the", "fox", "ran"]) == 2


def test_texts_longer_than_a_machine_word_are_no_special_case():
    assert edit_distance("ab" * 500, "ba" * 500) == 2
