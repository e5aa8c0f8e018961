"""Which token comes next, checked on small distributions that can be worked out by hand."""

import math

import pytest
import torch

from internvl.engine.candidates import find_candidates
from internvl.engine.sampler import Sampler, choose_together, token_logprob
from internvl.errors import ConfigError, InternVLError
from internvl.types import GenerationConfig

PROBABILITIES = [0.4, 0.3, 0.15, 0.1, 0.05]
LOGITS = torch.tensor(PROBABILITIES).log()


def sampler(seed=0, bad_sequences=(), **fields):
    fields = {"do_sample": True, "temperature": 1.0, "top_k": 0, **fields}
    return Sampler(GenerationConfig(**fields), seed=seed, bad_sequences=bad_sequences)


def choose(made, logits=LOGITS, said=(), masked=()):
    logits = logits[None]
    return made.choose(logits, find_candidates(logits, [made.num_candidates]), list(said), masked)


def frequencies(made, draws=4000):
    counts = torch.zeros(len(PROBABILITIES))
    for _ in range(draws):
        counts[choose(made)] += 1
    return (counts / draws).tolist()


def test_without_do_sample_the_likeliest_comes_whatever_the_temperature():
    assert {choose(sampler(seed, do_sample=False, temperature=5.0)) for seed in range(20)} == {0}
    assert {choose(sampler(seed, temperature=0.0)) for seed in range(20)} == {0}


def test_draws_follow_the_distribution():
    assert frequencies(sampler()) == pytest.approx(PROBABILITIES, abs=0.03)


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"top_k": 2}, 2),
        ({"top_p": 0.5}, 2),
        ({"top_p": 0.71}, 3),
        ({"top_p": 0.01}, 1),
        ({"min_p": 0.3}, 3),
        ({"top_k": 4, "top_p": 0.8, "min_p": 0.2}, 3),
        ({"top_k": 99}, 5),
    ],
)
def test_cuts_keep_the_likeliest_and_their_proportions(fields, kept):
    total = sum(PROBABILITIES[:kept])
    expected = [p / total for p in PROBABILITIES[:kept]] + [0.0] * (5 - kept)
    assert frequencies(sampler(**fields)) == pytest.approx(expected, abs=0.035)


def test_temperature_sharpens_and_flattens():
    powers = [p**2 for p in PROBABILITIES]
    expected = [p / sum(powers) for p in powers]
    assert frequencies(sampler(temperature=0.5)) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("temperature", [1e-6, 1e-40, 5e-324])
@pytest.mark.parametrize("top_k", [0, 1, 50])
@pytest.mark.parametrize("size", [5, 20_000])
def test_towards_temperature_zero_the_likeliest_comes(temperature, top_k, size):
    logits = torch.linspace(-30, 30, size).roll(size // 2)
    for seed in range(20):
        made = sampler(seed, temperature=temperature, top_k=top_k)
        assert choose(made, logits) == int(logits.argmax())
        # through the way of changed scores, some of which are -inf
        assert choose(made, logits, masked=[int(logits.argmax())]) == int(logits.topk(2).indices[1])


def test_towards_an_endless_temperature_all_come_alike():
    for temperature in (1e20, 1e300):
        made = sampler(temperature=temperature, bad_token_ids=(0,))
        assert frequencies(made) == pytest.approx([0, 0.25, 0.25, 0.25, 0.25], abs=0.03)


def test_the_smallest_top_p_leaves_one():
    assert {choose(sampler(seed, top_p=5e-324)) for seed in range(20)} == {0}


@pytest.mark.parametrize("temperature", [math.inf, math.nan, -1e-9])
def test_a_temperature_that_is_no_number_is_refused(temperature):
    with pytest.raises(ConfigError, match="temperature"):
        sampler(temperature=temperature)


def test_the_same_seed_draws_the_same_and_nothing_else_matters():
    first, second = sampler(3), sampler(3)
    mine = []
    for _ in range(50):
        mine.append(choose(first))
        torch.rand(7)  # the global generator is nobody's
    assert [choose(second) for _ in range(50)] == mine
    assert [choose(sampler(4)) for _ in range(50)] != mine


def test_repetition_penalty_lowers_what_was_said_on_either_side_of_zero():
    made = sampler(do_sample=False, repetition_penalty=2.0)
    logits = torch.tensor([1.0, 0.9, -3.0])
    assert choose(made, logits) == 0
    assert choose(made, logits, said=[0]) == 1
    logits = torch.tensor([-1.0, -1.5, -3.0])
    assert choose(made, logits, said=[0]) == 1
    assert logits.tolist() == [-1.0, -1.5, -3.0]


def test_masked_and_bad_tokens_never_come():
    assert choose(sampler(do_sample=False), masked=[0, 1]) == 2
    assert choose(sampler(do_sample=False, bad_token_ids=(0,))) == 1
    draws = frequencies(sampler(bad_token_ids=(0,)), draws=300)
    assert draws[0] == 0


def test_a_bad_word_of_several_tokens_is_only_kept_from_being_completed():
    made = sampler(do_sample=False, bad_sequences=[[3, 0]])
    assert choose(made, said=[]) == 0
    assert choose(made, said=[2]) == 0
    assert choose(made, said=[2, 3]) == 1


@pytest.mark.parametrize("broken", [math.nan, -math.inf])
def test_numbers_that_are_none_are_an_error(broken):
    with pytest.raises(InternVLError, match="float16"):
        choose(sampler(), torch.full((4,), broken))
    with pytest.raises(InternVLError, match="forbidden"):
        choose(sampler(do_sample=False), masked=range(5))


def test_logprobs_are_of_the_raw_scores():
    entry = token_logprob(LOGITS * 1.0, 2, 2)
    assert entry.logprob == pytest.approx(math.log(0.15), abs=1e-5)
    assert [i for i, _ in entry.top] == [0, 1]
    assert token_logprob(LOGITS, 2, 0).top == ()


@pytest.mark.parametrize("spread", [0.01, 1.0, 10.0])
@pytest.mark.parametrize(
    "fields", [{}, {"top_p": 0.9}, {"top_p": 0.9999}, {"min_p": 0.5}, {"temperature": 0.3}]
)
def test_a_large_vocabulary_is_drawn_from_as_if_it_were_sorted(spread, fields):
    logits = spread * torch.randn(9000, generator=torch.Generator().manual_seed(0))
    some = sampler(seed=3, **fields)
    whole = sampler(seed=3, top_k=9000, **fields)
    assert [choose(some, logits) for _ in range(60)] == [choose(whole, logits) for _ in range(60)]


@pytest.mark.parametrize("spread", [0.01, 0.5, 3.0, 8.0])
def test_draws_from_a_large_vocabulary_follow_its_distribution_wherever_it_is_cut(spread):
    """Against plain formulas, in bins of equal mass of what is kept."""
    scores = spread * torch.randn(5000, generator=torch.Generator().manual_seed(1))
    probabilities, order = scores.double().softmax(0).sort(descending=True)
    sums = probabilities.cumsum(0)
    for fields, kept in (
        ({}, 5000),
        ({"top_p": 0.9}, int((sums < 0.9).sum()) + 1),
        ({"top_k": 300}, 300),
        ({"min_p": 0.1}, int((probabilities >= 0.1 * probabilities[0]).sum())),
        ({"top_k": 400, "top_p": 0.5}, int((sums / sums[399] < 0.5).sum()) + 1),
    ):
        ends = sums[:kept] / sums[kept - 1]
        rank = torch.empty(5000, dtype=torch.int64)
        rank[order] = torch.arange(5000)
        made = sampler(seed=11, **fields)
        ranks = rank[[choose(made, scores) for _ in range(400)]]
        assert int(ranks.max()) < kept
        # where in its token's share of [0, 1] a draw fell is not known; spread it evenly
        starts = torch.cat((ends.new_zeros(1), ends))[ranks]
        fell = starts + (ends[ranks] - starts) * torch.rand(400, generator=torch.Generator().manual_seed(2))
        counts = torch.histc(fell.float(), bins=4, min=0, max=1) / 400
        assert counts.tolist() == pytest.approx([0.25] * 4, abs=0.09)


@pytest.mark.parametrize("size", [300, 20_000])
def test_a_seed_draws_the_same_alone_and_in_any_batch(size):
    generator = torch.Generator().manual_seed(0)
    # rounded, so that many scores are equal, as bfloat16's are
    logits = (3 * torch.randn(6, size, generator=generator)).to(torch.bfloat16)
    fields = [
        {"top_k": 50},
        {"top_k": 3, "temperature": 0.5},
        {},
        {"top_p": 0.8},
        {"do_sample": False},
        {"top_k": 270, "min_p": 0.01},
    ]
    for _ in range(5):
        alone = [
            choose(sampler(seed, **each), row)
            for seed, (each, row) in enumerate(zip(fields, logits, strict=True))
        ]
        for places in ([5, 4, 3, 2, 1, 0], [2, 0], [1, 3, 5]):
            made = [sampler(place, **fields[place]) for place in places]
            found = find_candidates(logits[places], [each.num_candidates for each in made])
            drawn = [each.choose(logits[places], found, [], (), row) for row, each in enumerate(made)]
            assert drawn == [alone[place] for place in places]
        logits = logits.roll(17, dims=1)


TOGETHER = [
    {"do_sample": False},
    {"top_k": 50, "temperature": 0.7, "top_p": 0.9},
    {"top_k": 3},
    {},
    {"top_p": 0.8},
    {"top_k": 270, "min_p": 0.01},
    {"top_k": 40, "repetition_penalty": 1.3},
    {"top_k": 40, "bad_token_ids": (0, 1)},
    {"do_sample": False, "bad_token_ids": (0, 1)},
    {"top_k": 20, "min_p": 0.3},
]


@pytest.mark.parametrize("size", [30, 6000])
@pytest.mark.parametrize("spread", [0.1, 6.0])
def test_what_is_chosen_together_is_what_each_would_have_chosen(size, spread):
    generator = torch.Generator().manual_seed(0)
    alone = [sampler(seed, **fields) for seed, fields in enumerate(TOGETHER)]
    together = [sampler(seed, **fields) for seed, fields in enumerate(TOGETHER)]
    said = [[] for _ in TOGETHER]
    num_chosen = [0] * len(TOGETHER)
    for step in range(40):
        logits = spread * torch.randn(len(TOGETHER), size, generator=generator)
        # now and then a token must not come, so that an answer leaves the others and joins them again
        masked = [(int(row.argmax()),) if (step + n) % 5 == 0 else () for n, row in enumerate(logits)]
        expected = [choose(*turn) for turn in zip(alone, logits, said, masked, strict=True)]
        found = find_candidates(logits, [each.num_candidates for each in together])
        chosen = choose_together(together, found, masked)
        turns = zip(together, said, masked, range(size), chosen, strict=False)
        assert [each.choose(logits, found, *turn) for each, *turn in turns] == expected
        for n, token_id in enumerate(expected):
            said[n].append(token_id)
            num_chosen[n] += chosen[n] is not None
    # not looked at one by one: all but the masked, where nothing changes the scores and the candidates are enough
    assert [num_chosen[n] for n in (0, 1, 2, 9)] == [32] * 4
    assert [num_chosen[n] for n in (5, 6, 7, 8)] == [0] * 4
    if spread > 1:
        assert num_chosen[3] > 10


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_an_answer_without_numbers_is_left_to_itself_and_harms_no_other(broken):
    logits = LOGITS.repeat(3, 1)
    logits[1] = broken
    made = [sampler(seed, **fields) for seed, fields in enumerate(({}, {}, {"do_sample": False}))]
    chosen = choose_together(made, find_candidates(logits, [5, 5, 1]), [()] * 3)
    assert chosen == [choose(sampler(0)), None, 0]
    with pytest.raises(InternVLError, match="float16"):
        choose(made[1], logits[1])
