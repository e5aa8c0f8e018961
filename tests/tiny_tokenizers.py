"""Tokenizers of every kind, trained on a few sentences and written as released checkpoints write theirs."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from internvl.preprocess.bpe_tokenizer import QWEN2_WORDS

SENTENCES = (
    "Please describe the image in detail, the small sign on the left says 12 apples.",
    "How many people are in the picture? There are three people and two dogs.",
    "user assistant system image images the the and and of of in in is is",
    "你好，请描述这张图片。图片里有三个人。",
    "def f(x):\n\treturn x ** 2  # square\n",
    "<img></img> <|im_start|> <|im_end|> [[10, 20, 300, 999]]",
)
IMAGE_TOKENS = ("<img>", "</img>", "<IMG_CONTEXT>")
GROUNDING_TOKENS = ("<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>")
ADDED = (*IMAGE_TOKENS, *GROUNDING_TOKENS)

QWEN_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
QWEN_WORDS = ("<tool_call>", "</tool_call>", "<think>", "</think>")
GPT_OSS_SPECIAL = ("<|startoftext|>", "<|endoftext|>", "<|return|>", "<|start|>", "<|end|>", "<|message|>")
PHI3_SPECIAL = ("<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>")

#: Every kind that `write_tokenizer` makes.
KINDS = ("qwen", "qwen_json", "gpt_oss", "internlm2", "internlm3", "phi3", "yi", "metaspace_json")
#: A template whose tokens the kind has.
TEMPLATE_OF = {
    "qwen": "internvl2_5",
    "qwen_json": "internvl_hf",
    "gpt_oss": "internvl3_5_gpt_oss",
    "internlm2": "internlm2-chat",
    "internlm3": "internvl2_5",
    "phi3": "phi3-chat",
    "yi": "Hermes-2",
    "metaspace_json": "internvl2_5",
}


def write_tokenizer(directory: Path, kind: str) -> Path:
    """Write the files of one kind of tokenizer and return their directory."""
    directory.mkdir(parents=True, exist_ok=True)
    writers = {
        "qwen": _write_qwen,
        "qwen_json": lambda d: _write_json(d, (*QWEN_SPECIAL, *ADDED), QWEN_WORDS),
        "gpt_oss": lambda d: _write_json(d, (*GPT_OSS_SPECIAL, *ADDED), ()),
        "internlm2": _write_internlm2,
        "internlm3": lambda d: _write_chatml_pieces(d, "InternLM3Tokenizer"),
        "yi": lambda d: _write_chatml_pieces(d, "LlamaTokenizer", legacy=True, add_bos_token=False),
        "phi3": _write_phi3,
        "metaspace_json": _write_metaspace_json,
    }
    writers[kind](directory)
    return directory


def added_entry(content: str, *, special: bool = True, rstrip: bool = False) -> dict:
    """One entry of added_tokens_decoder."""
    flags = {"lstrip": False, "rstrip": rstrip, "single_word": False, "normalized": False}
    return {"content": content, "special": special, **flags}


def write_json(path: Path, value: object) -> None:
    """Write JSON as UTF-8."""
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def _byte_bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(QWEN2_WORDS), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def _write_qwen(directory: Path) -> None:
    tokenizer = _byte_bpe()
    tokenizer.model.save(str(directory))
    size = tokenizer.get_vocab_size()
    entries = [added_entry(token) for token in QWEN_SPECIAL]
    entries += [added_entry(token, special=False) for token in QWEN_WORDS]
    entries += [added_entry(token) for token in ADDED]
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "added_tokens_decoder": {str(size + n): entry for n, entry in enumerate(entries)},
        "additional_special_tokens": [*QWEN_SPECIAL[1:], *ADDED],
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
    }
    write_json(directory / "tokenizer_config.json", config)


def _write_json(directory: Path, special: Sequence[str], words: Sequence[str]) -> None:
    tokenizer = _byte_bpe()
    tokenizer.add_special_tokens(list(special))
    tokenizer.add_tokens(list(words))
    tokenizer.save(str(directory / "tokenizer.json"))
    names = {"eos_token": special[2], "pad_token": "<|endoftext|>"}
    write_json(directory / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **names})


def _pieces(user_defined: Sequence[str] = (), **options: object) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in SENTENCES for line in text.split("\n")),
        model_writer=model,
        model_type="bpe",
        vocab_size=480,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=list(user_defined),
        minloglevel=2,
        **options,
    )
    return model.getvalue()


def _base_entries() -> dict[str, dict]:
    return {str(i): added_entry(token) for i, token in enumerate(("<unk>", "<s>", "</s>"))}


def _write_internlm2(directory: Path) -> None:
    """`<|im_start|>` and its like sit on the ids of pieces called [UNUSED_TOKEN_n]."""
    unused = [f"[UNUSED_TOKEN_{n}]" for n in (145, 146)]
    content = _pieces(unused, add_dummy_prefix=False)
    (directory / "tokenizer.model").write_bytes(content)
    model = sentencepiece.SentencePieceProcessor(model_proto=content)
    entries = _base_entries()
    for token, piece in zip(("<|im_end|>", "<|im_start|>"), unused, strict=True):
        entries[str(model.piece_to_id(piece))] = added_entry(token)
    for n, token in enumerate(ADDED):
        entries[str(model.get_piece_size() + n)] = added_entry(token)
    config = {
        "tokenizer_class": "InternLM2Tokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_internlm2.InternLM2Tokenizer", None]},
        "added_tokens_decoder": entries,
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>", *ADDED],
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "</s>",
        "unk_token": "<unk>",
    }
    write_json(directory / "tokenizer_config.json", config)


def _write_chatml_pieces(directory: Path, tokenizer_class: str, **settings: object) -> None:
    content = _pieces(add_dummy_prefix=tokenizer_class == "LlamaTokenizer")
    (directory / "tokenizer.model").write_bytes(content)
    size = sentencepiece.SentencePieceProcessor(model_proto=content).get_piece_size()
    entries = _base_entries()
    for n, token in enumerate(("<|im_start|>", "<|im_end|>", "<|endoftext|>", *ADDED)):
        entries[str(size + n)] = added_entry(token)
    config = {
        "tokenizer_class": tokenizer_class,
        "added_tokens_decoder": entries,
        "additional_special_tokens": list(ADDED),
        "bos_token": "<s>",
        "eos_token": "<|im_end|>",
        "pad_token": "<unk>",
        "unk_token": "<unk>",
        **settings,
    }
    write_json(directory / "tokenizer_config.json", config)


def _write_phi3(directory: Path) -> None:
    content = _pieces()
    (directory / "tokenizer.model").write_bytes(content)
    size = sentencepiece.SentencePieceProcessor(model_proto=content).get_piece_size()
    entries = _base_entries()
    for n, token in enumerate((*PHI3_SPECIAL, *ADDED)):
        role = token in PHI3_SPECIAL[1:]
        entries[str(size + n)] = added_entry(token, rstrip=role)
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "legacy": False,
        "added_tokens_decoder": entries,
        "additional_special_tokens": list(ADDED),
        "bos_token": "<s>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<unk>",
    }
    write_json(directory / "tokenizer_config.json", config)


def _write_metaspace_json(directory: Path) -> None:
    """A tokenizer.json as transformers converts Llama's: word marks, byte fallback, a bos put before."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    tokenizer.train_from_iterator([word for text in SENTENCES for word in text.split(" ")], trainer)
    spec = json.loads(tokenizer.to_str())
    # the trainer registers the bytes as added tokens, real files do not
    spec["added_tokens"] = [entry for entry in spec["added_tokens"] if not entry["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>", *ADDED])
    spec = json.loads(tokenizer.to_str())
    spec["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    write_json(directory / "tokenizer.json", spec)
    names = {"bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "</s>", "unk_token": "<unk>"}
    write_json(directory / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizerFast", **names})
