"""Batches of samples: padded or packed, and the weight of every label."""

import pytest
import torch

from internvl.errors import ConfigError
from internvl.preprocess.transforms import normalize
from internvl.train.batch import IGNORE_INDEX, TrainSample
from internvl.train.collate import collate, collate_packed, label_weights


def sample(ids, learnt, tiles=0):
    labels = [i if n in learnt else IGNORE_INDEX for n, i in enumerate(ids)]
    pixels = torch.arange(tiles * 12, dtype=torch.uint8).view(tiles, 3, 2, 2) if tiles else None
    return TrainSample(input_ids=torch.tensor(ids), labels=torch.tensor(labels), pixel_values=pixels)


A = sample([1, 2, 3, 4, 5], {2, 3, 4, 5}, tiles=2)
B = sample([6, 7, 8], {0, 1, 2}, tiles=1)
C = sample([9, 10], {1})


@pytest.mark.parametrize(("averaging", "weight"), [("token", 1.0), ("sample", 1 / 3), ("square", 3**-0.5)])
def test_a_label_weighs_one_over_n_to_the_averaging(averaging, weight):
    expected = torch.tensor([0, 0, weight, weight, weight])
    torch.testing.assert_close(label_weights(A.labels, averaging), expected)


def test_nothing_predicts_the_first_token_of_a_document():
    batch = collate_packed([A, B, C], averaging="sample")
    assert batch.labels[0].tolist() == [*[IGNORE_INDEX] * 2, 3, 4, 5, IGNORE_INDEX, 7, 8, IGNORE_INDEX, 10]
    weights = [0, 0, 1 / 3, 1 / 3, 1 / 3, 0, 0.5, 0.5, 0, 1]
    torch.testing.assert_close(batch.loss_weight[0], torch.tensor(weights))


def test_packed_documents_begin_at_position_0_and_say_where_they_begin():
    batch = collate_packed([A, B, C])
    assert batch.cu_seqlens.tolist() == [0, 5, 8, 10]
    assert batch.cu_seqlens.dtype == torch.int32
    assert batch.position_ids[0].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 0, 1]
    assert batch.attention_mask is None
    assert batch.num_tokens == 10


def test_a_filled_row_ends_with_a_document_that_teaches_nothing():
    batch = collate_packed([A, B], pad_id=99, length=12)
    assert batch.cu_seqlens.tolist() == [0, 5, 8, 12]
    assert batch.input_ids[0, 8:].tolist() == [99] * 4
    assert not batch.loss_weight[0, 8:].any()
    assert (batch.labels[0, 8:] == IGNORE_INDEX).all()
    with pytest.raises(ConfigError, match="8 tokens do not fit"):
        collate_packed([A, B], length=7)


def test_padding_is_on_the_right_and_masked():
    batch = collate([A, C], averaging="token", pad_id=99, multiple=4)
    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 5, 99, 99, 99], [9, 10, *[99] * 6]]
    assert batch.attention_mask.sum(1).tolist() == [5, 2]
    assert batch.loss_weight.sum().item() == batch.num_valid_tokens == 4
    assert batch.num_tokens == 7
    assert collate([B, B]).attention_mask is None


def test_tiles_come_in_the_order_of_the_samples_and_normalised():
    batch = collate_packed([C, A, B])
    assert batch.pixel_values.shape == (3, 3, 2, 2)
    tiles = torch.cat([A.pixel_values, B.pixel_values]).permute(0, 2, 3, 1).numpy()
    assert torch.equal(batch.pixel_values, normalize(tiles))
    assert collate([C]).pixel_values is None


def test_packed_and_padded_weights_have_the_same_sum():
    for averaging in ("token", "sample", "square"):
        sums = [make([A, B, C], averaging=averaging).loss_weight.sum() for make in (collate, collate_packed)]
        torch.testing.assert_close(*sums)


def test_an_unknown_averaging_and_an_empty_batch_are_refused():
    with pytest.raises(ConfigError, match="averaging is 'mean'"):
        collate([A], averaging="mean")
    with pytest.raises(ConfigError, match="at least one sample"):
        collate_packed([])
