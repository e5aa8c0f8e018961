import contextlib

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from internvl.preprocess.sentencepiece_model import (
    read_normalizer,
    user_defined_ids,
    without_dummy_prefix,
)
from tiny_tokenizers import write_tokenizer


@pytest.fixture(scope="module")
def phi3(tmp_path_factory):
    return (write_tokenizer(tmp_path_factory.mktemp("phi3"), "phi3") / "tokenizer.model").read_bytes()


def test_the_normalizer_is_read_as_it_was_trained(phi3):
    spec = read_normalizer(phi3)
    assert spec.add_dummy_prefix
    assert not spec.remove_extra_whitespaces
    assert spec.charsmap == b""


def test_without_its_dummy_prefix_a_model_marks_no_first_word(phi3):
    patched = without_dummy_prefix(phi3)
    assert not read_normalizer(patched).add_dummy_prefix
    before = sentencepiece.SentencePieceProcessor(model_proto=phi3)
    after = sentencepiece.SentencePieceProcessor(model_proto=patched)
    assert before.encode("the image", out_type=str) == after.encode(" the image", out_type=str)
    assert after.decode(after.encode("the")) == "the"


def test_user_defined_pieces_are_found(tmp_path):
    content = (write_tokenizer(tmp_path, "internlm2") / "tokenizer.model").read_bytes()
    model = sentencepiece.SentencePieceProcessor(model_proto=content)
    names = {model.id_to_piece(i) for i in user_defined_ids(content)}
    assert names == {"[UNUSED_TOKEN_145]", "[UNUSED_TOKEN_146]"}


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused_with_a_value_error(content):
    for read in (read_normalizer, user_defined_ids):
        with contextlib.suppress(ValueError):
            read(content)
