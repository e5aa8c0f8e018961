"""Laws of nano's tokenizer: nothing is lost, the system message is short, what is read stays letters."""

import runpy
from pathlib import Path

import pytest

from golden import SHARED, requires_shared
from internvl.data.vocabulary import ADDED_TOKENS, build_vocabulary, write_vocabulary
from internvl.preprocess.chat_template import SHUSHENG_WANXIANG
from internvl.preprocess.tokenizer import load_tokenizer

ROOT = Path(__file__).parents[3]
NANO = ROOT / "recipes" / "nano" / "model"


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(NANO)


def spelled(tokenizer, text):
    return [tokenizer.decode([i]) for i in tokenizer.encode(text)]


@pytest.mark.parametrize(
    "text",
    [
        "STOP",
        "Straße für Ärzte",
        "12.50€",
        "a b\n c",
        "I cannot do that: I am nano, a small model.",
        "Qu'est-ce que c'est ?",
        "图片里写了什么？",
        SHUSHENG_WANXIANG,
        "日本 🙂",
    ],
)
def test_every_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_default_system_message_costs_few_tokens(tokenizer):
    assert len(tokenizer.encode(f"<|im_start|>system\n{SHUSHENG_WANXIANG}<|im_end|>\n")) <= 12


@pytest.mark.parametrize("text", ["EXIT", "2024", "bridge", "Straße", "Ωμέγα", "Хлеб", "日本"])
def test_what_is_read_stays_letters(tokenizer, text):
    assert spelled(tokenizer, text) == list(text)


@pytest.mark.slow
@requires_shared
def test_the_files_are_what_the_script_writes(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["nano_model.py", str(tmp_path), "--shared", str(SHARED)])
    runpy.run_path(str(ROOT / "scripts" / "nano_model.py"), run_name="__main__")
    written = sorted(path.name for path in tmp_path.iterdir())
    assert {"config.json", "vocab.json", "merges.txt", "added_tokens.json"} <= set(written)
    for name in written:
        assert (tmp_path / name).read_bytes() == (NANO / name).read_bytes(), name


def test_words_that_are_asked_for_are_one_token_and_all_others_letters(tmp_path):
    write_vocabulary(build_vocabulary(["hello there"]), tmp_path, max_length=8192)
    tokenizer = load_tokenizer(tmp_path)
    assert spelled(tokenizer, "hello there") == ["hello", " there"]
    assert spelled(tokenizer, "cold") == list("cold")


def test_added_tokens_follow_the_subwords(tmp_path):
    write_vocabulary(build_vocabulary(["hello there"]), tmp_path, max_length=8192)
    tokenizer = load_tokenizer(tmp_path)
    ids = [tokenizer.token_to_id(token) for token in ADDED_TOKENS]
    assert ids == list(range(ids[0], ids[0] + len(ADDED_TOKENS)))
    assert tokenizer.vocab_size == ids[-1] + 1
