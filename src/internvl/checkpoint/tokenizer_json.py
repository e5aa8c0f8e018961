"""Any tokenizer that we load -> one tokenizer.json, the only form that every version of transformers reads.

In: a checkpoint directory with vocab.json + merges.txt, or a sentencepiece BPE model. Out: a
`tokenizers.Tokenizer` with the added tokens at their ids. Law: it encodes as `preprocess.tokenizer` does,
but for the quirks named in `sentencepiece`. Called by `convert.py`; our own loader keeps reading the
original files.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

from internvl.errors import CheckpointError
from internvl.preprocess.bpe_tokenizer import BpeTokenizer
from internvl.preprocess.sentencepiece_model import read_normalizer, user_defined_ids
from internvl.preprocess.sentencepiece_tokenizer import WORD_MARK, SentencePieceTokenizer
from internvl.preprocess.tokenizer import Tokenizer
from internvl.preprocess.tokenizer_files import AddedToken


def as_tokenizer_json(tokenizer: Tokenizer, directory: Path) -> tokenizers.Tokenizer:
    """Express a loaded tokenizer through the `tokenizers` library.

    Args:
        tokenizer: as `load_tokenizer(directory)` gives it.
        directory: its files.

    Raises:
        CheckpointError: a kind that has no such form (a sentencepiece unigram model).
    """
    if isinstance(tokenizer, BpeTokenizer):
        result = tokenizers.Tokenizer.from_str(tokenizer.model.to_str())
    elif isinstance(tokenizer, SentencePieceTokenizer):
        result = _sentencepiece(tokenizer, directory / "tokenizer.model")
    else:
        raise CheckpointError(f"{directory}: no way to write a {type(tokenizer).__name__} as tokenizer.json")
    _add(result, tokenizer.added_tokens.values(), tokenizer.special_token_ids)
    _put_around(result, tokenizer)
    return result


def _add(result: tokenizers.Tokenizer, added: Iterable[AddedToken], special_ids: frozenset[int]) -> None:
    """Add tokens in the order of their ids; each has to land on its own."""
    for token in sorted(added, key=lambda token: token.id):
        entry = tokenizers.AddedToken(
            token.content,
            lstrip=token.lstrip,
            rstrip=token.rstrip,
            single_word=token.single_word,
            normalized=token.normalized,
            special=token.id in special_ids,
        )
        result.add_tokens([entry])
        if result.token_to_id(token.content) != token.id:
            raise CheckpointError(
                f"added token {token.content!r} has id {token.id}, but tokenizer.json can only give it "
                f"{result.token_to_id(token.content)}: the ids before it have a gap"
            )


def _put_around(result: tokenizers.Tokenizer, tokenizer: Tokenizer) -> None:
    """Begin- and end-of-text tokens, where the tokenizer adds them."""
    if not tokenizer.prefix_ids and not tokenizer.suffix_ids:
        return
    before, after = (
        [(tokenizer.id_to_token(i), i) for i in ids] for ids in (tokenizer.prefix_ids, tokenizer.suffix_ids)
    )
    template = " ".join([*(token for token, _ in before), "$A", *(token for token, _ in after)])
    result.post_processor = processors.TemplateProcessing(single=template, special_tokens=before + after)


def _sentencepiece(tokenizer: SentencePieceTokenizer, path: Path) -> tokenizers.Tokenizer:
    """A sentencepiece BPE model with the library's BPE.

    Two habits of slow tokenizers cannot be said in a tokenizer.json: with one word mark for the whole text
    (Phi-3) the mark also stands alone before an added token that begins the text, and a text that begins with
    a space gets a second mark.
    """
    content = path.read_bytes()
    model, spec = tokenizer.model, read_normalizer(content)
    size = model.get_piece_size()
    pieces = [str(model.id_to_piece(i)) for i in range(size)]
    words = [
        i
        for i in range(size)
        if not (model.is_control(i) or model.is_unknown(i) or model.is_byte(i) or model.is_unused(i))
    ]
    user_defined = user_defined_ids(content)
    scores = {pieces[i]: model.get_score(i) for i in words if i not in user_defined}
    merges = _merges(scores)
    if not merges and len(scores) > 256:
        raise CheckpointError(f"{path} is not a sentencepiece BPE model; only those have merges to write")
    # The checkpoint may reuse an entry for an added token (InternLM2: [UNUSED_TOKEN_145] is <|im_end|>).
    renamed = {token.id: token.content for token in tokenizer.added_tokens.values() if token.id < size}
    vocab = {renamed.get(i, piece): i for i, piece in enumerate(pieces)}
    if len(vocab) != size:
        raise CheckpointError(f"{path}: two pieces share a spelling; tokenizer.json cannot hold both")
    result = tokenizers.Tokenizer(
        models.BPE(
            vocab=vocab,
            merges=merges,
            unk_token=pieces[model.unk_id()],
            fuse_unk=True,
            byte_fallback=any(model.is_byte(i) for i in range(size)),
        )
    )
    steps: list[normalizers.Normalizer] = []
    if spec.charsmap:
        steps.append(normalizers.Precompiled(spec.charsmap))
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    if tokenizer.style.mark_first:
        result.pre_tokenizer = pre_tokenizers.Metaspace(WORD_MARK, prepend_scheme="first", split=False)
    else:
        steps += [normalizers.Prepend(WORD_MARK)] if spec.add_dummy_prefix else []
        steps.append(normalizers.Replace(" ", WORD_MARK))
    if steps:
        result.normalizer = normalizers.Sequence(steps)
    strip = [decoders.Strip(" ", 1, 0)] if tokenizer.style.drop_first_mark or spec.add_dummy_prefix else []
    result.decoder = decoders.Sequence(
        [decoders.Replace(WORD_MARK, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    result.add_tokens(
        [tokenizers.AddedToken(pieces[i], normalized=True) for i in sorted(user_defined) if i not in renamed]
    )
    return result


def _merges(scores: dict[str, float]) -> list[tuple[str, str]]:
    """The pairs that make up each piece, best piece first: how sentencepiece chooses, spelled out."""
    ranked = sorted((piece for piece in scores if len(piece) > 1), key=lambda piece: -scores[piece])
    return [
        (piece[:cut], piece[cut:])
        for piece in ranked
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
