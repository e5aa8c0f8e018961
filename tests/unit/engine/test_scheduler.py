"""The policy, without a model: order, fairness, rows, and which prefix is taken over."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from internvl.engine.request import Generation, content_keys
from internvl.engine.scheduler import Decode, Prefill, Scheduler, shared_prefix
from internvl.types import MediaUsage, TileGrid

IMAGE = 9


def generation(keys, name=""):
    """A generation that only the scheduler looks at."""
    return Generation(
        request=SimpleNamespace(name=name),
        choice=0,
        prompt_ids=[0] * len(keys),
        prompt_keys=list(keys),
        answer=SimpleNamespace(token_ids=[]),
        sampler=None,
    )


def scheduler(**options):
    return Scheduler(**{"num_rows": 2, "chunk_tokens": 4, **options})


def compute(made, step):
    """Do what the worker does: the token that a finished prompt or a decode step gives."""
    made.stored(step)
    if isinstance(step, Decode):
        for each in step.generations:
            each.answer.token_ids.append(100)
    elif step.last:
        step.generation.answer.token_ids.append(100)


def run_until_decode(made, each):
    while not isinstance(step := made.next_step(), Decode):
        compute(made, step)
        assert step.generation is each
    return step


def test_a_long_prompt_is_computed_in_chunks_while_others_go_on():
    made = scheduler()
    short, long = generation("ab"), generation("cdefghijkl")
    made.add(short)
    made.add(long)
    trace = []
    for _ in range(8):
        step = made.next_step()
        compute(made, step)
        kind = "decode" if isinstance(step, Decode) else (step.start, step.end)
        trace.append(kind)
    assert trace == [(0, 2), "decode", (0, 4), "decode", (4, 8), "decode", (8, 10), "decode"]


def test_waiting_generations_get_rows_in_order_of_arrival():
    made = scheduler(num_rows=1)
    first, second, third = (generation("ab", name) for name in "123")
    for each in (first, second, third):
        made.add(each)
    run_until_decode(made, first)
    assert (made.num_running, made.num_waiting) == (1, 2)
    assert isinstance(made.next_step(), Decode)
    made.finish(first)
    assert made.next_step().generation is second
    made.finish(second)
    assert made.next_step().generation is third


def test_a_generation_can_end_while_it_waits_is_prefilled_or_decodes():
    made = scheduler(num_rows=1)
    first, second = generation("abcdefgh"), generation("ab")
    made.add(first)
    made.add(second)
    made.finish(second)
    assert made.num_waiting == 1
    compute(made, made.next_step())
    made.finish(first)
    assert (made.num_running, made.next_step(), made.num_free_rows) == (0, None, 1)


def test_the_next_turn_continues_its_own_row():
    made = scheduler(num_rows=3)
    turns = {}
    for name in "xy":
        turns[name] = generation(f"sys{name}{name}{name}{name}{name}")
        made.add(turns[name])
        run_until_decode(made, turns[name])
        made.finish(turns[name])
    again = generation("sysyyyyyzz")
    made.add(again)
    made.next_step()
    assert again.row == turns["y"].row
    assert again.num_cached_tokens == 8


def test_a_common_beginning_alone_does_not_take_another_conversations_row():
    made = scheduler(num_rows=2)
    first = generation("sysaaaaaaaaa")
    made.add(first)
    run_until_decode(made, first)
    made.finish(first)
    other = generation("sysbbbb")
    made.add(other)
    made.next_step()
    assert other.row != first.row
    assert other.num_cached_tokens == 0


def test_without_an_empty_row_the_one_idle_for_longest_is_taken():
    made = scheduler(num_rows=2)
    old = [generation("aaaa"), generation("bbbb")]
    for each in old:
        made.add(each)
        run_until_decode(made, each)
        made.finish(each)
    new = generation("cccc")
    made.add(new)
    made.next_step()
    assert new.row == old[0].row


def test_a_row_that_failed_or_was_not_to_be_kept_is_not_continued():
    for options, keep in (({}, False), ({"reuse_prefixes": False}, True), ({"position_limit": 3}, True)):
        made = scheduler(num_rows=1, **options)
        first, again = generation("abcdef"), generation("abcdefgh")
        made.add(first)
        run_until_decode(made, first)
        made.finish(first, keep=keep)
        made.add(again)
        made.next_step()
        assert again.num_cached_tokens == 0


def test_what_was_generated_can_be_continued_but_for_its_last_token():
    made = scheduler(num_rows=1)
    first = generation(["a", "b"])
    made.add(first)
    step = run_until_decode(made, first)
    compute(made, step)  # stores the first generated token, gives a second
    made.finish(first)
    again = generation(["a", "b", 100, 100, "c"])
    made.add(again)
    made.next_step()
    assert again.num_cached_tokens == 3


@given(st.lists(st.sampled_from("ab"), max_size=8), st.lists(st.sampled_from("ab"), min_size=1, max_size=8))
def test_the_shared_prefix_is_common_and_leaves_a_token_to_compute(stored, prompt):
    size = shared_prefix(stored, prompt)
    assert stored[:size] == prompt[:size]
    assert size < len(prompt)
    assert size == len(prompt) - 1 or size == len(stored) or stored[size] != prompt[size]


def media(content_hash, tokens):
    grid = TileGrid(columns=1, rows=1)
    fields = {"grid": grid, "thumbnail": False, "num_tokens": tokens, "content_hash": content_hash}
    return MediaUsage(index=0, width=8, height=8, **fields)


def keys_of(ids, *pictures):
    inputs = SimpleNamespace(media=[media(*picture) for picture in pictures])
    return content_keys(inputs, IMAGE, ids)


def test_keys_tell_pictures_apart_and_a_prefix_never_ends_inside_one():
    ids = [1, IMAGE, IMAGE, 2, IMAGE, IMAGE, 3]
    one, same, other = (keys_of(ids, ("h1", 2), (second, 2)) for second in ("h2", "h2", "h3"))
    assert one == same
    assert shared_prefix(one, other) == 4
    assert shared_prefix(one[:5], same) == 4
    assert shared_prefix(one, same) == 6


def test_pictures_without_a_hash_are_like_no_other():
    ids = [1, IMAGE, IMAGE, 2]
    assert shared_prefix(keys_of(ids, ("", 2)), keys_of(ids, ("", 2))) == 1
    assert shared_prefix(keys_of(ids), keys_of(ids)) == 1


def test_prefill_says_which_chunk_it_is():
    each = generation("abcdef")
    assert Prefill(each, 0, 4).first
    assert not Prefill(each, 0, 4).last
    assert Prefill(each, 4, 6).last
