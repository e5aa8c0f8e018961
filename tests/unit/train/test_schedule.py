import pytest

from internvl.train.config import ScheduleSection
from internvl.train.schedule import rate_factor, warmup_steps

KINDS = ["cosine", "wsd", "linear", "constant"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_rate_rises_to_full_and_never_leaves_its_bounds(kind):
    config = ScheduleSection(kind=kind, warmup_steps=10, floor=0.1)
    factors = [rate_factor(config, step, 100) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert max(factors) == 1.0
    assert all(later <= earlier for earlier, later in zip(factors[10:], factors[11:], strict=False))
    assert min(factors[10:]) >= 0.1
    assert rate_factor(config, 100, 100) == pytest.approx(1.0 if kind == "constant" else 0.1)


def test_wsd_stays_until_its_last_share():
    config = ScheduleSection(kind="wsd", warmup_steps=0, decay_ratio=0.2)
    assert rate_factor(config, 80, 100) == 1.0
    assert rate_factor(config, 90, 100) == pytest.approx(0.5)


def test_cosine_is_half_way_down_in_the_middle():
    assert rate_factor(ScheduleSection(warmup_steps=0), 50, 100) == pytest.approx(0.5)


def test_warmup_is_a_share_of_the_run_unless_counted():
    assert warmup_steps(ScheduleSection(warmup_ratio=0.03), 1000) == 30
    assert warmup_steps(ScheduleSection(warmup_steps=7), 1000) == 7
