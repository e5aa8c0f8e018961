import pytest

from internvl.demo.settings import AskSettings
from internvl.errors import RequestError


def test_temperature_zero_is_greedy():
    assert not AskSettings(model="nano").gen_config().do_sample
    config = AskSettings(model="nano", temperature=0.5, top_p=0.8).gen_config()
    assert (config.do_sample, config.temperature, config.top_p) == (True, 0.5, 0.8)


def test_boxes_are_not_dropped_from_answers_as_special_tokens():
    assert AskSettings(model="nano").gen_config().skip_special_tokens is False


def test_empty_controls_leave_it_to_the_model():
    settings = AskSettings(model="nano", system="  ")
    assert settings.system_message is None
    assert settings.tiles is None


def test_sliders_may_send_whole_numbers_as_floats():
    settings = AskSettings(model="nano", max_new_tokens=64.0, max_tiles=4.0)
    assert settings.gen_config().max_new_tokens == 64
    assert settings.tiles == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": 3},
        {"system": "x" * 100_000},
        {"system": None},
        {"temperature": "1"},
        {"temperature": float("nan")},
        {"temperature": -1},
        {"top_p": 0},
        {"top_p": float("nan")},
        {"max_new_tokens": 0},
        {"max_new_tokens": 10**9},
        {"max_tiles": -1},
        {"max_tiles": 10**6},
        {"max_tiles": True},
    ],
)
def test_what_no_control_could_have_sent_is_refused(wrong):
    with pytest.raises(RequestError):
        AskSettings(**{"model": "nano", **wrong}).gen_config()
