import pytest
import torch

from internvl.errors import RequestError
from internvl.models.projector import pixel_shuffle


def numbered(rows, columns):
    """Each patch holds 10 * row + column."""
    grid = 10 * torch.arange(rows)[:, None] + torch.arange(columns)[None]
    return grid[None, :, :, None].float()


def test_a_cell_holds_its_patches_row_by_row():
    shuffled = pixel_shuffle(numbered(4, 6), 2, transpose=False)
    assert shuffled.shape == (1, 2, 3, 4)
    assert shuffled[0, 0, 0].tolist() == [0, 1, 10, 11]
    assert shuffled[0, 1, 2].tolist() == [24, 25, 34, 35]


def test_v1_is_v2_with_rows_and_columns_exchanged():
    x = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(0))
    v1, v2 = pixel_shuffle(x, 2, transpose=True), pixel_shuffle(x, 2, transpose=False)
    assert torch.equal(v1, v2.transpose(1, 2))


def test_channels_stay_together():
    x = torch.arange(2 * 2 * 3).float().view(1, 2, 2, 3)
    assert torch.equal(pixel_shuffle(x, 2, transpose=False).flatten(), x.flatten())


def test_a_grid_that_does_not_divide_is_refused():
    with pytest.raises(RequestError, match="3x4 patches cannot be merged 2x2"):
        pixel_shuffle(numbered(3, 4), 2, transpose=False)
