"""Laws of nano's tokenizer: nothing is lost, questions are short, what is read stays letters."""

import pytest

from internvl.data.questions import CANNOT_ANSWER, READ, WHO_ANSWER
from internvl.data.vocabulary import ADDED_TOKENS, build_vocabulary, write_vocabulary
from internvl.errors import ConfigError
from internvl.preprocess.chat_template import SHUSHENG_WANXIANG
from internvl.preprocess.tokenizer import load_tokenizer
from internvl.train.nano.model_config import ASSETS
from internvl.train.nano.tokenizer import nano_vocabulary, write_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(ASSETS)


def spelled(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer.encode(text)]


@pytest.mark.parametrize(
    "text",
    [
        "STOP",
        "Straße für Ärzte",
        "12.50€",
        "a b\n c",
        WHO_ANSWER,
        CANNOT_ANSWER,
        SHUSHENG_WANXIANG,
        "日本 🙂",
        *READ,
    ],
)
def test_every_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_default_system_message_costs_few_tokens(tokenizer):
    assert len(tokenizer.encode(f"<|im_start|>system\n{SHUSHENG_WANXIANG}<|im_end|>\n")) <= 12


def test_words_of_the_questions_are_one_token(tokenizer):
    assert spelled(tokenizer, "How many circles are there?") == [
        "How",
        " many",
        " circles",
        " are",
        " there",
        "?",
    ]


def test_what_is_read_stays_letters(tokenizer):
    assert spelled(tokenizer, "EXIT") == list("EXIT")
    assert spelled(tokenizer, "2024") == list("2024")
    assert spelled(tokenizer, "bridge") == list("bridge")


def test_the_shipped_files_are_what_the_module_writes(tmp_path):
    write_vocabulary(nano_vocabulary(), tmp_path, max_length=8192)
    for name in ("vocab.json", "merges.txt", "added_tokens.json"):
        assert (tmp_path / name).read_bytes() == (ASSETS / name).read_bytes()


def test_added_tokens_follow_the_subwords(tmp_path):
    write_tokenizer(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    ids = [tokenizer.token_to_id(token) for token in ADDED_TOKENS]
    assert ids == list(range(ids[0], ids[0] + len(ADDED_TOKENS)))
    assert tokenizer.vocab_size == ids[-1] + 1 <= 2048


def test_a_vocabulary_that_is_too_small_says_so():
    with pytest.raises(ConfigError, match="size 270"):
        build_vocabulary([], whole=["hello there"], size=270)


def test_frequent_words_come_first_when_room_is_short():
    vocabulary = build_vocabulary(["a cat"] * 5 + ["a zebra"] * 3, whole=[], size=256 + len(ADDED_TOKENS) + 3)
    assert "Ġcat" in vocabulary.subwords
    assert "Ġzebra" not in vocabulary.subwords
