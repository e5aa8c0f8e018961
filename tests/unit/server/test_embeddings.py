"""POST /v1/embeddings: what is pooled is what the document says."""

import base64
import math

import numpy as np
import pytest
import torch

from server_client import data_url, post, tiny_app
from tiny_engines import picture, tiny_parts


@pytest.fixture(scope="module")
def app():
    return tiny_app()


def embed(app, given, **fields):
    return post(app, "/v1/embeddings", {"model": "internvl", "input": given, **fields})


def vectors(app, given, **fields):
    response = embed(app, given, **fields)
    assert response.status_code == 200, response.text
    return [item["embedding"] for item in response.json()["data"]]


def image(**options):
    return {"type": "image_url", "image_url": {"url": data_url()}, **options}


def test_every_form_of_input_gives_one_vector_each(app):
    ids = app.state.service.processor.tokenizer.encode("hello", special=False)
    text, *mixed = vectors(app, ["hello", ids, {"type": "text", "text": "hello"}, image()])
    assert mixed[0] == mixed[1] == text
    assert len(mixed[2]) == len(text)
    assert vectors(app, "hello") == vectors(app, ids) == [text]


def test_vectors_have_the_length_1_unless_asked_otherwise(app):
    (unit,), (raw,) = vectors(app, "hello"), vectors(app, "hello", normalize=False)
    assert math.hypot(*unit) == pytest.approx(1, abs=1e-5)
    assert [value / math.hypot(*raw) for value in raw] == pytest.approx(unit, abs=1e-5)


def test_a_texts_mean_is_that_of_its_last_hidden_states(app):
    model, processor = tiny_parts()
    ids = torch.tensor([processor.tokenizer.encode("hello there", special=False)])
    with torch.inference_mode():
        states = model.decoder(model.text_embeds(ids))[0]
    assert vectors(app, "hello there", normalize=False)[0] == pytest.approx(states.mean(0).tolist(), abs=1e-5)
    last = vectors(app, "hello there", normalize=False, pooling="last")[0]
    assert last == pytest.approx(states[-1].tolist(), abs=1e-5)


def test_a_pictures_features_are_the_models_own(app):
    model, processor = tiny_parts()
    tiles = processor.tiles(picture(), max_tiles=processor.config.max_tiles)
    with torch.inference_mode():
        expected = {
            "vision": model.vision_features(tiles).flatten(0, 1).mean(0),
            "projected": model.image_embeds(tiles).flatten(0, 1).mean(0),
        }
    for pooling, vector in expected.items():
        found = vectors(app, image(), pooling=pooling, normalize=False)[0]
        assert found == pytest.approx(vector.tolist(), abs=1e-5)


def test_how_finely_a_picture_is_cut_may_be_said(app):
    usage = embed(app, [image(max_tiles=1), image()]).json()["usage"]
    assert usage["tiles"] == 8


def test_base64_holds_the_same_numbers(app):
    (packed,) = vectors(app, "hello", encoding_format="base64")
    numbers = np.frombuffer(base64.b64decode(packed), dtype="<f4")
    assert numbers.tolist() == pytest.approx(vectors(app, "hello")[0])


@pytest.mark.parametrize(
    ("given", "fields", "param"),
    [
        ("", {}, "input"),
        ([], {}, "input"),
        ([[999999]], {}, "input"),
        ("hello", {"pooling": "vision"}, None),
        ("hello", {"pooling": "max"}, "pooling"),
        ("hello", {"dimensions": 7}, "dimensions"),
        ({"type": "image_url", "image_url": "/etc/passwd"}, {}, "input[0]"),
        ("a " * 3000, {}, "input"),
    ],
)
def test_what_cannot_be_embedded_is_refused(app, given, fields, param):
    response = embed(app, given, **fields)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
