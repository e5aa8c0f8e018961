"""A request -> its generations: what each may say, where it stops, and how its tokens are chosen.

Called in the thread of whoever asks; the worker's thread only steps what is made here.
"""

from __future__ import annotations

import itertools
import secrets
from functools import partial

from internvl.engine.answer import Answer, StopRules
from internvl.engine.grammar import Constraint, Grammars
from internvl.engine.pictures import content_keys
from internvl.engine.request import Generation, Request
from internvl.engine.sampler import Sampler
from internvl.preprocess.processor import Processor
from internvl.types import GenerationConfig


class GenerationMaker:
    """Makes generations for one processor; any thread."""

    def __init__(self, processor: Processor, first_seed: int | None = None) -> None:
        """`first_seed`: start of the seeds of requests that bring none; None = a fresh one each time."""
        self._processor = processor
        self._grammars = Grammars(processor.tokenizer)
        self._first_seed = first_seed
        self._request_numbers = itertools.count()

    def generations(self, request: Request) -> list[Generation]:
        """Return the `n` generations of a request. Raises ConfigError for a format that cannot be read."""
        gen_config, tokenizer = request.gen_config, self._processor.tokenizer
        prompt_ids = request.inputs.input_ids.tolist()
        keys = content_keys(prompt_ids, request.image_positions, request.pictures)
        rules = self._stop_rules(gen_config)
        skip = gen_config.skip_special_tokens
        if skip is None:
            skip = self._processor.skip_special_tokens
        seed = self._seed(gen_config)
        bad_sequences = self._bad_sequences(gen_config)
        constraints = self._constraints(gen_config)
        decode = tokenizer.decode if constraints[0] is None else self._grammars.decode
        return [
            Generation(
                request=request,
                choice=choice,
                prompt_ids=prompt_ids,
                prompt_keys=keys,
                answer=Answer(
                    gen_config,
                    rules,
                    decode=partial(decode, skip_special_tokens=skip),
                    token_text=tokenizer.id_to_token,
                    constraint=constraint,
                ),
                sampler=Sampler(
                    gen_config, seed=seed + choice, bad_sequences=bad_sequences, constraint=constraint
                ),
            )
            for choice, constraint in enumerate(constraints)
        ]

    def _constraints(self, gen_config: GenerationConfig) -> list[Constraint] | list[None]:
        """One for each of the `n` answers, or as many times None where any answer will do."""
        answer_format = gen_config.answer_format
        if answer_format is None:
            return [None] * gen_config.n
        end_token_ids = () if gen_config.ignore_eos else self._processor.stop_token_ids
        return [self._grammars.constraint(answer_format, end_token_ids) for _ in range(gen_config.n)]

    def _stop_rules(self, gen_config: GenerationConfig) -> StopRules:
        """The family's own stop tokens (unless `ignore_eos`) and the request's.

        The family's are stop strings too: the reference splits the text at them however they were spelled.
        And a stop word that is one special token is a stop token too, as it may never show in the text.
        An answer with a format shows it whole: it is not trimmed, and only the request's own stop words end it.
        """
        formatted = gen_config.answer_format is not None
        tokenizer = self._processor.tokenizer
        strings = gen_config.stop_words
        ids = {*gen_config.stop_token_ids}
        for word in strings:
            token_id = tokenizer.token_to_id(word)
            if token_id is not None and token_id in tokenizer.special_token_ids:
                ids.add(token_id)
        if not gen_config.ignore_eos:
            strings = strings if formatted else (*strings, *self._processor.template.stop_tokens)
            ids.update(self._processor.stop_token_ids)
        # chat() of the GitHub packages strips its answers; transformers' generate and decode do not.
        trim = self._processor.config.layout == "github" and not formatted
        return StopRules(stop_token_ids=frozenset(ids), stop_strings=strings, trim=trim)

    def _bad_sequences(self, gen_config: GenerationConfig) -> list[list[int]]:
        """The ids of each forbidden word, at the start of a text and behind a space."""
        tokenizer = self._processor.tokenizer
        sequences = []
        for word in gen_config.bad_words:
            token_id = tokenizer.token_to_id(word)
            if token_id is not None:
                sequences.append([token_id])
            sequences += [tokenizer.encode(text, special=False) for text in (word, f" {word}")]
        return sequences

    def _seed(self, gen_config: GenerationConfig) -> int:
        number = next(self._request_numbers)
        if gen_config.random_seed is not None:
            return gen_config.random_seed
        return secrets.randbits(62) if self._first_seed is None else self._first_seed + number
