import pytest
import torch

from internvl.errors import CheckpointError
from internvl.train.state_files import load_tree, save_tree


def tree():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(7, 5, generator=generator)
    return {
        "state": {0: {"step": torch.tensor(3.0), "exp_avg": weight}, 1: {"tied": weight}},
        "groups": [{"betas": (0.9, 0.999), "lr": 1e-3, "none": None, "on": True}],
        "empty": torch.zeros(0, 3),
        "bytes": torch.arange(9, dtype=torch.uint8),
        "text": "ü\n",
    }


def assert_equal(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_equal(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    elif isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
    else:
        assert found == expected


@pytest.mark.parametrize("limit", [2**30, 64, 1])
def test_a_tree_comes_back_as_it_was_whatever_the_size_of_its_pieces(tmp_path, limit):
    save_tree(tree(), tmp_path / "state", max_piece_bytes=limit)
    assert_equal(load_tree(tmp_path / "state"), tree())


def test_pieces_stay_below_the_limit(tmp_path):
    save_tree({"a": torch.zeros(1000), "b": torch.zeros(10)}, tmp_path / "state", max_piece_bytes=1024)
    sizes = [file.stat().st_size for file in (tmp_path / "state").glob("*.safetensors")]
    assert len(sizes) >= 4
    assert max(sizes) < 1024 + 512  # data, and a header


@pytest.mark.parametrize("value", [object(), {1.5: 0}, {"a": {2, 3}}])
def test_what_cannot_be_written_is_named(tmp_path, value):
    with pytest.raises(CheckpointError, match="state"):
        save_tree(value, tmp_path / "state")


def test_a_damaged_directory_is_no_checkpoint(tmp_path):
    save_tree(tree(), tmp_path / "state", max_piece_bytes=64)
    sorted((tmp_path / "state").glob("*.safetensors"))[0].unlink()
    with pytest.raises(CheckpointError, match="no complete training checkpoint"):
        load_tree(tmp_path / "state")
    with pytest.raises(CheckpointError, match="no complete training checkpoint"):
        load_tree(tmp_path / "nothing")
