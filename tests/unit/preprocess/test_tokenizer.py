"""Laws of every kind of tokenizer, on vocabularies trained here."""

import json
from functools import cache

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from internvl.errors import RequestError
from internvl.preprocess.chat_template import find_template
from internvl.preprocess.tokenizer import GROUNDING_TOKENS, Segment, load_tokenizer
from tiny_tokenizers import ADDED, KINDS, QWEN_WORDS, SENTENCES, TEMPLATE_OF, write_tokenizer

TEXTS = (
    *SENTENCES,
    *(
        "",
        " ",
        "\n",
        "  two  spaces ",
        "\t\tx",
        "naïve café",
        "e\u0301",
        "🦙 émoji 👩‍👩‍👧",
        "\u200b\ufeffzero",
        "a\u2581b",
    ),
)


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory):
    @cache
    def directory(kind):
        return write_tokenizer(tmp_path_factory.mktemp(kind), kind)

    return directory


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def tokenizer(kind, tiny_directory):
    return load_tokenizer(tiny_directory(kind))


def control_ids(tokenizer):
    """Ids that no text from outside may reach."""
    return tokenizer.control_token_ids | {token.id for token in tokenizer.added_tokens.values()}


def spellings(tokenizer):
    """Everything a hostile user might type to reach one of them."""
    own = [*tokenizer.added_tokens, *(tokenizer.id_to_token(i) for i in control_ids(tokenizer))]
    return sorted(
        {*own, "[UNUSED_TOKEN_145]", "[UNUSED_TOKEN_146]", "<0x0A>", "<s>", "</s>", "<unk>", "<|im_end|>"}
    )


def test_plain_text_comes_back_but_for_the_space_a_word_mark_costs(tokenizer):
    for text in TEXTS:
        back = tokenizer.decode(tokenizer.encode(text, special=False))
        # word-mark models cannot tell a leading space from none, and read their own mark as a space
        assert back.lstrip(" ") == normal(tokenizer, text).lstrip(" "), text


def normal(tokenizer, text):
    """What the vocabulary's normalizer makes of a text."""
    if tokenizer.encode("a\u2581b", special=False) == tokenizer.encode("a b", special=False):
        return text.replace("\u2581", " ")
    normalizer = getattr(tokenizer.model, "normalizer", None)
    return normalizer.normalize_str(text) if normalizer is not None else text


def test_template_text_reaches_the_special_tokens(kind, tokenizer):
    stop = find_template(TEMPLATE_OF[kind]).stop_tokens[0]
    for token in (*ADDED, stop):
        ids = tokenizer.encode(f"see {token} here")
        assert ids.count(tokenizer.token_to_id(token)) == 1
        assert tokenizer.id_to_token(tokenizer.token_to_id(token)) == token


def test_no_control_id_ever_comes_from_user_text(tokenizer):
    forbidden = control_ids(tokenizer)
    for spelling in spellings(tokenizer):
        for text in (spelling, f"a{spelling}b", f" {spelling}\n{spelling}{spelling} "):
            assert forbidden.isdisjoint(tokenizer.encode(text, special=False)), text
            ids = tokenizer.encode_segments([Segment("hi "), Segment(text, frozenset()), Segment(" ho")])
            assert forbidden.isdisjoint(ids[len(tokenizer.prefix_ids) :]), text


def test_a_control_token_cannot_be_glued_from_user_text_and_the_template(kind, tokenizer):
    stop = find_template(TEMPLATE_OF[kind]).stop_tokens[0]
    forbidden = control_ids(tokenizer)
    for cut in range(1, len(stop)):
        for segments in (
            [Segment(stop[:cut], frozenset()), Segment(stop[cut:])],
            [Segment(stop[:cut]), Segment(stop[cut:], frozenset())],
            [Segment(stop[:cut], frozenset()), Segment(stop[cut:], GROUNDING_TOKENS)],
        ):
            ids = tokenizer.encode_segments(segments)[len(tokenizer.prefix_ids) :]
            assert forbidden.isdisjoint(ids)
        # two parts of the template are one text
        whole = tokenizer.encode_segments([Segment(stop[:cut]), Segment(stop[cut:])])
        assert whole == tokenizer.encode(stop)


def test_a_user_may_spell_the_grounding_tokens_and_no_others(tokenizer):
    text = "<ref>the sign</ref> <|im_end|><box>[[1, 2, 3, 4]]</box><img><IMG_CONTEXT></img></s>"
    ids = tokenizer.encode_segments([Segment(text, GROUNDING_TOKENS)])[len(tokenizer.prefix_ids) :]
    reached = control_ids(tokenizer).intersection(ids)
    assert reached == {tokenizer.token_to_id(t) for t in ("<ref>", "</ref>", "<box>", "</box>")}


def test_harmless_text_is_encoded_alike_whoever_wrote_it(tokenizer):
    for text in TEXTS:
        if any(token in text for token in tokenizer.added_tokens):
            continue
        for cut in range(0, len(text), 5):
            segments = [Segment(text[:cut]), Segment(text[cut:], frozenset())]
            assert tokenizer.encode_segments(segments) == tokenizer.encode(text), (text, cut)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_random_mixtures_of_text_and_spellings_stay_text(tokenizer, data):
    parts = st.one_of(st.text(max_size=6), st.sampled_from(spellings(tokenizer)))
    text = "".join(data.draw(st.lists(parts, max_size=8)))
    assert control_ids(tokenizer).isdisjoint(tokenizer.encode(text, special=False))


def test_skipping_special_tokens_drops_them_and_nothing_else(tokenizer):
    ids = tokenizer.encode("<img>the sign</img>")
    assert "<img>" in tokenizer.decode(ids, skip_special_tokens=False)
    assert tokenizer.decode(ids).strip() == "the sign"


def test_ids_outside_the_vocabulary_decode_to_nothing(tokenizer):
    ids = tokenizer.encode("the sign", special=False)
    assert tokenizer.decode([*ids, tokenizer.vocab_size + 7]) == tokenizer.decode(ids)
    assert tokenizer.id_to_token(tokenizer.vocab_size + 7) == ""


def test_letters_cut_into_several_tokens_come_out_whole(tokenizer):
    ids = tokenizer.encode("🦙", special=False)
    assert len(ids) > 1
    assert tokenizer.decode(ids).strip() == "🦙"
    assert "\ufffd" in tokenizer.decode(ids[:-1])


def test_half_a_character_is_refused(tokenizer):
    with pytest.raises(RequestError, match=r"U\+D83D"):
        tokenizer.encode("a \ud83d", special=False)
    assert tokenizer.decode(tokenizer.encode("a\x00b", special=False)).lstrip(" ") == "a\x00b"


def test_padding_fills_the_asked_side(tokenizer):
    pad = tokenizer.pad_token_id
    left = tokenizer.pad([[5, 6, 7], [8]], "left")
    assert left.input_ids == [[5, 6, 7], [pad, pad, 8]]
    assert left.attention_mask == [[1, 1, 1], [0, 0, 1]]
    right = tokenizer.pad([[5, 6, 7], [8]], "right")
    assert right.input_ids == [[5, 6, 7], [8, pad, pad]]
    assert right.attention_mask == [[1, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize("kind", ["qwen_json", "gpt_oss", "metaspace_json"], indirect=True)
def test_a_tokenizer_json_encodes_as_the_library_does(kind, tokenizer, tiny_directory):
    full = tokenizers.Tokenizer.from_file(str(tiny_directory(kind) / "tokenizer.json"))
    texts = [*TEXTS, *(f"<img>{t}</img> {t}<|im_end|>\n{t}" for t in TEXTS)]
    for text in texts:
        ids = full.encode(text).ids
        assert tokenizer.encode(text) == ids, text
        for skip in (True, False):
            assert tokenizer.decode(ids, skip) == full.decode(ids, skip_special_tokens=skip), text


def test_words_that_are_added_but_not_special_count_where_they_are_allowed(tiny_directory):
    tokenizer = load_tokenizer(tiny_directory("qwen"))
    think = tokenizer.token_to_id("<think>")
    assert think in tokenizer.encode("<think>\nok\n</think>")
    assert think in tokenizer.encode_segments([Segment("<think>", frozenset(QWEN_WORDS))])
    assert think not in tokenizer.encode_segments([Segment("<think>", GROUNDING_TOKENS)])
    assert tokenizer.decode([think]) == "<think>"  # not special, so not skipped


def test_role_tokens_of_phi3_swallow_the_line_end_after_them(tiny_directory):
    tokenizer = load_tokenizer(tiny_directory("phi3"))
    user = tokenizer.token_to_id("<|user|>")
    for text in ("<|user|>\nhi", "<|user|> \n\t hi"):
        assert user in tokenizer.encode(text)
        assert tokenizer.encode(text) == tokenizer.encode("<|user|>hi")


def test_internlm2_puts_spaces_around_special_tokens_when_decoding(tiny_directory):
    tokenizer = load_tokenizer(tiny_directory("internlm2"))
    ids = tokenizer.encode("a<|im_end|>b<img>c")
    assert tokenizer.decode(ids, skip_special_tokens=False) == " <s> a<|im_end|>b <img> c"


def test_sentencepiece_reads_both_layouts_by_the_reference_of_each(tiny_directory, tmp_path):
    for source in ("yi", "metaspace_json"):
        for path in tiny_directory(source).iterdir():
            if path.suffix in (".model", ".json"):
                (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({**config, "tokenizer_class": "LlamaTokenizer"})
    )
    assert type(load_tokenizer(tmp_path)).__name__ == "SentencePieceTokenizer"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "internvl"}))
    assert type(load_tokenizer(tmp_path)).__name__ == "BpeTokenizer"
