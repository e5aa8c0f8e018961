"""Vision towers stored on their own against the recorded reference."""

import pytest
import torch
from safetensors.torch import load_file

from golden import GOLDEN, requires_golden
from internvl.checkpoint.load import load_vision_tower
from recorded import difference

pytestmark = [pytest.mark.parity, requires_golden]

TOWERS = sorted(path.parent.name for path in (GOLDEN / "checkpoints_vit").glob("*/golden.safetensors"))
TOLERANCE = 1e-4


@pytest.mark.parametrize("name", TOWERS)
def test_every_hidden_state_equals_the_reference(name):
    tower = load_vision_tower(GOLDEN / "checkpoints_vit" / name)
    tensors = load_file(GOLDEN / "checkpoints_vit" / name / "golden.safetensors")
    sizes = [key.removesuffix(".pixel_values") for key in tensors if key.endswith(".pixel_values")]
    assert sizes
    with torch.inference_mode():
        for size in sizes:
            states = tower.hidden_states(tensors[f"{size}.pixel_values"])
            assert difference(states[-1], tensors[f"{size}.last_hidden_state"]) < TOLERANCE
            if f"{size}.pooler_output" in tensors:
                assert difference(states[-1][:, 0], tensors[f"{size}.pooler_output"]) < TOLERANCE
            for i, state in enumerate(states):
                if f"{size}.hidden_states.{i}" in tensors:
                    assert difference(state, tensors[f"{size}.hidden_states.{i}"]) < TOLERANCE


@pytest.mark.parametrize("name", TOWERS)
def test_positions_of_a_doubled_grid_are_the_reference_s_resized_ones(name):
    tower = load_vision_tower(GOLDEN / "checkpoints_vit" / name)
    tensors = load_file(GOLDEN / "checkpoints_vit" / name / "golden.safetensors")
    grid = 2 * tower.config.grid_size
    assert difference(tower.positions(grid, grid), tensors["resized_x2.position_embedding"]) < 1e-6
