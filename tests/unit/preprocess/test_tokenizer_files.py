"""Files of a tokenizer that are missing, broken or hostile get one line that names them."""

import json
import pickle
import shutil

import pytest

from internvl.config import files
from internvl.errors import CheckpointError
from internvl.preprocess.tokenizer import load_tokenizer
from tiny_tokenizers import added_entry, write_json, write_tokenizer


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    kinds = ("qwen", "qwen_json", "internlm2", "yi")
    return {kind: write_tokenizer(tmp_path_factory.mktemp(kind), kind) for kind in kinds}


@pytest.fixture
def copy(originals, tmp_path):
    def make(kind):
        return shutil.copytree(originals[kind], tmp_path / kind)

    return make


def change(directory, **fields):
    path = directory / "tokenizer_config.json"
    write_json(path, {**json.loads(path.read_text()), **fields})


def refused(directory, *words):
    with pytest.raises(CheckpointError) as caught:
        load_tokenizer(directory)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for word in words:
        assert word in message, message


def test_a_directory_without_a_vocabulary_says_what_is_expected(tmp_path):
    refused(tmp_path, "no vocabulary", "tokenizer.json", "tokenizer.model", "vocab.json")
    refused(tmp_path / "absent", "not a directory")


def test_a_pickled_tokenizer_is_named_and_never_read(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was opened",))

    (tmp_path / "tokenizer.pkl").write_bytes(pickle.dumps(Bomb()))
    refused(tmp_path, "tokenizer.pkl", "pickles run code")


def test_code_that_a_config_names_is_not_imported(copy, tmp_path):
    directory = copy("internlm2")
    (directory / "tokenization_internlm2.py").write_text("raise SystemExit('code of a checkpoint ran')")
    assert load_tokenizer(directory).token_to_id("<|im_end|>") is not None


@pytest.mark.parametrize("kind", ["qwen", "qwen_json", "internlm2"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\x00", b"[" * 100_000, b'{"a": 1}' * 2])
def test_broken_files_are_named(copy, kind, content):
    vocabulary = {"qwen": "vocab.json", "qwen_json": "tokenizer.json", "internlm2": "tokenizer.model"}[kind]
    directory = copy(kind)
    (directory / vocabulary).write_bytes(content)
    refused(directory, vocabulary)
    directory = copy("yi")
    (directory / "tokenizer_config.json").write_bytes(content)
    refused(directory, "tokenizer_config.json")


def test_files_beyond_any_tokenizer_are_not_read(copy, monkeypatch):
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 1000)
    refused(copy("qwen"), "MiB")
    refused(copy("yi"), "MiB")


def test_merges_that_are_no_pairs_are_named_by_line(copy):
    directory = copy("qwen")
    (directory / "merges.txt").write_text("#version: 0.2\na b\na b c\n")
    refused(directory, "merges.txt", "line 3")
    (directory / "merges.txt").write_text("x notinvocabulary\n")
    refused(directory, "merges.txt")


@pytest.mark.parametrize("i", [-1, 2**40, "7", None, True, 1.5])
def test_ids_that_cannot_be_are_refused(copy, i):
    directory = copy("qwen")
    vocab = json.loads((directory / "vocab.json").read_text())
    write_json(directory / "vocab.json", {**vocab, "x!": i})
    refused(directory, "vocab.json", "x!")


def test_two_tokens_at_one_id_are_refused(copy):
    directory = copy("qwen")
    vocab = json.loads((directory / "vocab.json").read_text())
    write_json(directory / "vocab.json", {**vocab, "x!": 3})
    refused(directory, "share an id")
    directory = copy("yi")
    change(directory, added_tokens_decoder={"500": added_entry("<a>"), "501": added_entry("<a>")})
    refused(directory, "contradict")


@pytest.mark.parametrize(
    "decoder",
    [
        [],
        {"5": "<a>"},
        {"x": added_entry("<a>")},
        {"-1": added_entry("<a>")},
        {"99999999999999999999": added_entry("<a>")},
        {"5": added_entry("")},
        {"5": added_entry("x" * 5000)},
        {"5": {"content": 7}},
    ],
)
def test_added_tokens_of_the_wrong_form_are_refused(copy, decoder):
    directory = copy("yi")
    change(directory, added_tokens_decoder=decoder)
    refused(directory, "tokenizer_config.json")


def test_settings_of_the_wrong_type_are_refused(copy):
    directory = copy("yi")
    change(directory, add_bos_token="yes")
    refused(directory, "add_bos_token", "true or false")
    directory = copy("internlm2")
    change(directory, additional_special_tokens="<img>")
    refused(directory, "additional_special_tokens")


def test_an_unknown_class_of_sentencepiece_tokenizer_is_refused(copy):
    directory = copy("yi")
    change(directory, tokenizer_class="T5Tokenizer")
    refused(directory, "T5Tokenizer")


def test_tokens_the_lists_forget_get_the_id_of_the_vocabulary_or_the_next_free_one(copy):
    directory = copy("yi")
    config = json.loads((directory / "tokenizer_config.json").read_text())
    entries = config["added_tokens_decoder"]
    for i in ("0", "1", "2"):
        entries.pop(i)
    last = max(map(int, entries))
    change(directory, added_tokens_decoder=entries, additional_special_tokens=["<img>", "<new>"])
    tokenizer = load_tokenizer(directory)
    assert tokenizer.encode("<s><unk>") == [1, 0]
    assert tokenizer.token_to_id("<new>") == last + 1


def test_named_tokens_that_only_the_vocabulary_of_a_tokenizer_json_has_are_special(copy):
    directory = copy("qwen_json")
    plain = load_tokenizer(directory)
    token = max((plain.id_to_token(i) for i in plain.encode("people", special=False)), key=len)
    i = plain.token_to_id(token)
    change(directory, eos_token=token, pad_token="<absent>")
    tokenizer = load_tokenizer(directory)
    assert i in tokenizer.special_token_ids
    assert tokenizer.eos_token_id == i
    assert tokenizer.pad_token_id is None
    assert tokenizer.decode([i]) == ""
    assert i not in tokenizer.encode(token, special=False)


def test_added_tokens_json_serves_where_the_config_has_no_list(copy):
    directory = copy("yi")
    before = load_tokenizer(directory)
    config = json.loads((directory / "tokenizer_config.json").read_text())
    names = {entry["content"]: int(i) for i, entry in config.pop("added_tokens_decoder").items()}
    write_json(directory / "added_tokens.json", names)
    write_json(directory / "tokenizer_config.json", config)
    text = "<|im_start|>user\n<img>hi<|im_end|>"
    assert load_tokenizer(directory).encode(text) == before.encode(text)
