"""What single tokens add to a text, for tokenizers of every kind."""

import pytest

from internvl.preprocess.tokenizer import GROUNDING_TOKENS, load_tokenizer
from tiny_tokenizers import IMAGE_TOKENS, KINDS, write_tokenizer

TEXTS = (
    "Hello, how are you?",
    '{"größe": [1, 2.5], "你好": "\n\t é 🙂"}',
    "  two  spaces  ",
    "<ref>a</ref> b",
)


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request, tmp_path_factory):
    return load_tokenizer(write_tokenizer(tmp_path_factory.mktemp("tokenizer"), request.param))


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_its_tokens_bytes_in_a_row(tokenizer, text):
    ids = tokenizer.encode("\n" + text, special=False)
    joined = b"".join(tokenizer.token_bytes(i) or b"?" for i in ids).decode()
    assert joined.lstrip(" ") == "\n" + text  # some put a word mark before any text


def test_the_bytes_agree_with_decoding(tokenizer):
    anchor = tokenizer.encode("\n", special=False)
    before = tokenizer.decode(anchor, skip_special_tokens=False)
    for i in range(tokenizer.vocab_size):
        text = tokenizer.token_bytes(i)
        if text is None or i in tokenizer.control_token_ids or tokenizer.id_to_token(i) in GROUNDING_TOKENS:
            continue
        decoded = tokenizer.decode([*anchor, i], skip_special_tokens=False)
        shown = text.decode(errors="replace")
        # decoders may tidy spaces before punctuation and count broken bytes differently
        if "\ufffd" not in shown and " " not in shown:
            assert decoded == before + shown


def test_what_steers_the_model_is_no_text(tokenizer):
    for token in (*IMAGE_TOKENS, "<tool_call>", "<think>", *tokenizer.names.all - GROUNDING_TOKENS):
        token_id = tokenizer.token_to_id(token)
        if token_id is not None and token in tokenizer.added_tokens:
            assert tokenizer.token_bytes(token_id) is None, token


def test_grounding_marks_are_text_and_ids_without_a_token_are_not(tokenizer):
    for mark in GROUNDING_TOKENS:
        assert tokenizer.token_bytes(tokenizer.token_to_id(mark)) == mark.encode()
    assert tokenizer.token_bytes(tokenizer.vocab_size + 7) is None
    assert tokenizer.token_bytes(-1) is None
