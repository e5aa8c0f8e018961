"""The policy, without a model: order, fairness, blocks, preemption, and which beginnings are shared."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from internvl.engine.blocks import BlockManager
from internvl.engine.pictures import Picture, PlacedPicture
from internvl.engine.request import Generation
from internvl.engine.scheduler import Scheduler

SIZE = 4


def generation(keys, *, new=100, priority=0, user=None, pictures=(), request=None):
    """A generation that only the scheduler looks at; one letter is one token."""
    config = SimpleNamespace(max_new_tokens=new)
    request = request or SimpleNamespace(
        priority=priority,
        user=user,
        adapter=None,
        cache_salt=None,
        gen_config=config,
        pictures=list(pictures),
        name="".join(map(str, keys)),
    )
    return Generation(
        request=request,
        choice=0,
        prompt_ids=[0] * len(keys),
        prompt_keys=list(keys),
        answer=SimpleNamespace(token_ids=[]),
        sampler=None,
    )


class Engine:
    """The loop around a scheduler, with a fake for everything that takes time."""

    def __init__(self, *generations, num_blocks=64, keep_idle=True, **options):
        self.blocks = BlockManager(num_blocks, SIZE, keep_idle=keep_idle)
        self.scheduler = Scheduler(self.blocks, **{"num_rows": 4, "chunk_tokens": 8, **options})
        self.contents = {}
        """What each block holds: (key, all keys before) per token. Wrong sharing shows here."""
        for each in generations:
            self.scheduler.add(each)

    def step(self):
        """Compute one step; return {name: (start, end) or number of tiles}."""
        step = self.scheduler.next_step()
        if step is None:
            return None
        done = {}
        for chunk in step.chunks:
            each = chunk.generation
            self._write(each, chunk.start, chunk.end)
            done[each.request.name] = (chunk.start, chunk.end)
            last = chunk.last
            self.scheduler.stored(chunk)
            if last:
                each.answer.token_ids.append(_next_token(self._read(each, chunk.end)))
                if len(each.answer.token_ids) == each.request.gen_config.max_new_tokens:
                    self.scheduler.finish(each)
        for each, count in step.tiles.items():
            done[each.request.name] = count
            for placed in each.request.pictures:
                new = min(count, placed.picture.num_missing)
                placed.picture.num_encoded += new
                count -= new
        return done

    def run(self, max_steps=10_000):
        """Compute until there is nothing to do; return the steps."""
        steps = []
        while self.scheduler.num_running or self.scheduler.num_waiting:
            steps.append(self.step())
            assert len(steps) < max_steps, "it does not end"
        return steps

    def _write(self, each, start, end):
        for place in range(start, end):
            text = tuple(each.keys(0, place + 1))
            self.contents.setdefault(each.blocks[place // SIZE], {})[place % SIZE] = text

    def _read(self, each, end):
        """Return what the blocks of a generation hold, as attention would see it."""
        for place in range(end):
            found = self.contents[each.blocks[place // SIZE]][place % SIZE]
            assert found == tuple(each.keys(0, place + 1)), "a block holds something else"
        return tuple(each.keys(0, end))


def _next_token(text):
    return hash(text) % 1000


def answers_alone(each):
    """The answer that a generation gets with nobody else around."""
    text, token_ids = tuple(each.prompt_keys), []
    for _ in range(each.request.gen_config.max_new_tokens):
        token_ids.append(_next_token(text))
        text = (*text, token_ids[-1])
    return token_ids


def test_a_long_prompt_is_computed_in_chunks_while_others_go_on():
    engine = Engine(generation("ab"), generation("cdefghijklmnopqrstuvw"))
    steps = [engine.step() for _ in range(5)]
    assert [step["ab"] for step in steps] == [(0, 2), (2, 3), (3, 4), (4, 5), (5, 6)]
    long = [step.get("cdefghijklmnopqrstuvw") for step in steps]
    assert long == [(0, 4), (4, 12), (12, 20), (20, 21), (21, 22)]


def test_prompts_go_on_in_smaller_chunks_while_answers_wait_for_them():
    long = "cdefghijklmnopqrstuvwxyz"
    engine = Engine(generation(long), chunk_tokens=8, chunk_tokens_beside=4)
    assert [engine.step()[long] for _ in range(2)] == [(0, 8), (8, 16)]
    engine.scheduler.add(generation("a", new=2))
    assert [engine.step()[long] for _ in range(2)] == [(16, 20), (20, 24)]


def test_a_short_prompt_does_not_wait_for_a_long_one_nor_the_long_one_for_ever():
    short = [generation(c * 8, new=1) for c in "bcdefghijk"]
    engine = Engine(generation("a" * 80, new=1), *short, num_rows=20)
    steps = engine.run()
    first_done = next(i for i, step in enumerate(steps) if "b" * 8 in step and step["b" * 8][1] == 8)
    assert first_done <= 2
    assert all("a" * 80 in step for step in steps[:15])


def test_waiting_generations_get_rows_in_order_of_arrival():
    first, second, third = (generation(c * 6, new=2) for c in "abc")
    engine = Engine(first, second, third, num_rows=1)
    engine.step()
    assert (engine.scheduler.num_running, engine.scheduler.num_waiting) == (1, 2)
    names = [name for step in engine.run() for name in step]
    assert names == ["aaaaaa", "bbbbbb", "bbbbbb", "cccccc", "cccccc"]


def test_a_higher_priority_goes_first_and_takes_the_place_of_a_lower_one():
    low, high = generation("aaaa", new=9), generation("bbbb", new=2, priority=1)
    engine = Engine(low, num_rows=1)
    engine.step()
    engine.scheduler.add(generation("cccc", new=2))
    engine.scheduler.add(high)
    assert list(engine.step()) == ["bbbb"]
    assert low.num_preemptions == 1
    rest = [name for step in engine.run() for name in step]
    assert rest == ["bbbb", *["aaaa"] * 8, "cccc", "cccc"]
    assert low.answer.token_ids == answers_alone(low)


def test_an_equal_priority_does_not_take_anybodys_place():
    engine = Engine(generation("aaaa", new=5, priority=1), num_rows=1)
    engine.step()
    engine.scheduler.add(generation("bbbb", priority=1))
    engine.step()
    assert engine.scheduler.counters.preemptions == 0


def test_users_get_equal_shares_however_much_they_ask():
    many = [generation(f"a{n}" * 3, new=4, user="many") for n in range(10)]
    few = [generation(f"b{n}" * 3, new=4, user="few") for n in range(2)]
    engine = Engine(*many, *few, num_rows=1)
    order = list(dict.fromkeys(name for step in engine.run() for name in step))
    assert [name[0] for name in order] == list("ababaaaaaaaa")


def test_a_user_who_comes_later_is_level_with_the_one_served_least():
    engine = Engine(*(generation(f"a{n}" * 3, new=4, user="a") for n in range(10)), num_rows=1)
    for _ in range(12):
        engine.step()
    for n in range(5):
        engine.scheduler.add(generation(f"b{n}" * 3, new=4, user="b"))
    order = list(dict.fromkeys(name for step in engine.run() for name in step))
    assert "".join(name[0] for name in order)[:6] in ("ababab", "bababa")


def test_a_generation_can_end_while_it_waits_is_prefilled_or_decodes():
    first, second, third = generation("a" * 20), generation("bb"), generation("cc")
    engine = Engine(first, second, third, num_rows=2)
    engine.scheduler.finish(third)
    assert engine.scheduler.num_waiting == 2
    engine.step()
    engine.step()
    for each in (first, second):
        engine.scheduler.finish(each)
    assert (engine.scheduler.num_running, engine.step()) == (0, None)
    assert engine.blocks.num_free == 64


def test_the_next_turn_computes_only_what_is_new():
    first = generation("systemquestion", new=6)
    engine = Engine(first)
    engine.run()
    again = generation([*first.keys(0, 20), *"andnow"], new=1)
    engine.scheduler.add(again)
    assert list(engine.step().values()) == [(16, 24)]
    assert again.num_cached_tokens == 16  # 19 tokens were stored: the last of an answer is never fed
    assert engine.scheduler.counters.prefix_hit_tokens == 16


def test_equal_beginnings_of_prompts_that_come_together_are_computed_once():
    beginning = "x" * 24
    engine = Engine(*(generation(beginning + c, new=1) for c in "abc"))
    steps = engine.run()
    assert sum(end - start for step in steps for start, end in step.values()) == 24 + 3


def test_a_prompt_that_is_stored_whole_still_has_a_token_to_compute():
    engine = Engine(generation("abcdefgh", new=1))
    engine.run()
    again = generation("abcdefgh", new=1)
    engine.scheduler.add(again)
    assert list(engine.step().values()) == [(4, 8)]


def test_what_failed_or_is_not_to_be_kept_is_not_shared():
    for options, trusted in (({}, False), ({"keep_idle": False, "share_prefixes": False}, True)):
        first, again = generation("abcdefgh"), generation("abcdefghijkl")
        engine = Engine(first, **options)
        engine.step()
        engine.scheduler.finish(first, trusted=trusted)
        engine.scheduler.add(again)
        engine.step()
        assert again.num_cached_tokens == 0
        assert engine.blocks.num_free == 64 - len(again.blocks)


def test_past_the_position_limit_only_prompts_of_equal_length_share():
    def cached(first, second, limit):
        engine = Engine(generation(first, new=1), position_limit=limit)
        engine.run()
        engine.scheduler.add(second := generation(second))
        engine.step()
        return second.num_cached_tokens

    assert cached("abcdefghij", "abcdefghijkl", limit=12) == 8
    assert cached("abcdefghij", "abcdefghijkl", limit=11) == 0
    assert cached("abcdefghij", "abcdefghijkl", limit=6) == 0
    assert cached("abcdefghij", "abcdefghxx", limit=6) == 8


def test_without_prefix_caching_the_answers_of_one_request_share_their_prompt():
    request = generation("a" * 21, new=3).request
    both = [generation("a" * 21, request=request) for _ in range(2)]
    engine = Engine(*both, generation("a" * 21, new=3), keep_idle=False, share_prefixes=False)
    for _ in range(7):
        engine.step()
        if both[1].row >= 0 and both[1].num_stored_tokens >= 20:
            break
    assert both[0].blocks[:5] == both[1].blocks[:5]
    assert both[1].num_cached_tokens == 20
    engine.run()
    assert engine.scheduler.counters.prefix_hit_tokens == 20
    assert engine.blocks.num_free == 64


def test_when_blocks_run_out_the_last_who_came_gives_way_and_its_answer_does_not_change():
    first, second = generation("abcdef", new=20), generation("uvwxyz", new=20)
    engine = Engine(first, second, num_blocks=8, keep_idle=False)
    engine.run()
    assert first.num_preemptions == 0
    assert second.num_preemptions >= 1
    for each in (first, second):
        assert each.answer.token_ids == answers_alone(each)
    assert engine.blocks.num_free == 8


def test_what_does_not_fit_now_waits_and_is_not_overtaken():
    first, large, small = generation("a" * 20, new=4), generation("b" * 24, new=4), generation("c", new=1)
    engine = Engine(first, large, small, num_blocks=8)
    engine.step()
    assert engine.scheduler.num_waiting == 2
    begun = {}
    for number, step in enumerate(engine.run()):
        for name in step:
            begun.setdefault(name[0], number)
    assert begun["a"] < begun["b"] <= begun["c"]


def placed(num_tiles, rank, stop):
    return PlacedPicture(Picture("", num_tiles, None), rank, num_tiles, stop)


def test_tiles_are_encoded_a_few_at_a_time_while_others_go_on():
    decoding = generation("ab", new=50)
    engine = Engine(decoding, tiles_per_step=2)
    engine.step()
    engine.scheduler.add(generation("p" * 9, new=50, pictures=[placed(7, 0, 8)]))
    engine.scheduler.add(generation("q" * 3, new=50, pictures=[placed(1, 0, 2)]))
    engine.scheduler.add(generation("rrrr" * 5, new=50))
    steps = [engine.step() for _ in range(9)]
    assert all("ab" in step for step in steps)
    encoded = [(step.get("p" * 9), step.get("q" * 3)) for step in steps]
    tiles = [tuple(x if isinstance(x, int) else None for x in pair) for pair in encoded]
    assert [t for t in tiles if t != (None, None)][:4] == [(1, 1), (2, None), (2, None), (2, None)]
    # prompts without missing tiles go on in between
    assert sum("rrrr" * 5 in step for step in steps[:4]) == 2


def test_a_prompt_waits_for_its_pictures_but_not_for_those_already_stored():
    first = generation("abcdefgh", new=1, pictures=[placed(1, 0, 4)])
    engine = Engine(first)
    assert engine.step() == {"abcdefgh": 1}
    assert engine.step() == {"abcdefgh": (0, 8)}
    again = generation("abcdefghi", new=1, pictures=[placed(1, 0, 4)])
    engine.scheduler.add(again)
    assert engine.step() == {"abcdefghi": (8, 9)}


requests = st.fixed_dictionaries(
    {
        "keys": st.text("ab", min_size=1, max_size=24),
        "new": st.integers(1, 16),
        "priority": st.integers(0, 2),
        "user": st.sampled_from("xyz"),
        "tiles": st.integers(0, 5),
        "arrival": st.integers(0, 30),
        "abort": st.none() | st.integers(0, 40),
    }
)


@settings(max_examples=200, deadline=None)
@given(
    requests=st.lists(requests, max_size=12),
    num_blocks=st.integers(10, 30),
    num_rows=st.integers(1, 6),
    chunk_tokens=st.integers(1, 20),
    tiles_per_step=st.integers(1, 4),
    keep_idle=st.booleans(),
    position_limit=st.none() | st.integers(1, 30),
)
def test_every_answer_is_the_one_it_gets_alone_and_every_block_comes_back(
    requests, num_blocks, keep_idle, **options
):
    engine = Engine(num_blocks=num_blocks, keep_idle=keep_idle, share_prefixes=keep_idle, **options)
    made, aborted = [], set()
    for step in range(2000):
        for each in (each for each in requests if each["arrival"] == step):
            pictures = [placed(each["tiles"], 0, len(each["keys"]))] if each["tiles"] else []
            fields = {name: each[name] for name in ("new", "priority", "user")}
            made.append((generation(each["keys"], pictures=pictures, **fields), each["abort"]))
            engine.scheduler.add(made[-1][0])
        for each, when in made:
            if when == step and each in list(engine.scheduler.generations()):
                engine.scheduler.finish(each)
                aborted.add(each)
        engine.step()
        used = {block for each in engine.scheduler.generations() for block in each.blocks}
        assert engine.blocks.num_free == num_blocks - len(used)
        if step > 30 and not list(engine.scheduler.generations()):
            break
    else:
        pytest.fail("it does not end")
    for each, _ in made:
        expected = answers_alone(each)
        if each in aborted:
            expected = expected[: len(each.answer.token_ids)]
        assert each.answer.token_ids == expected
    assert engine.blocks.num_free == num_blocks
    assert len(engine.scheduler._free_rows) == options["num_rows"]
