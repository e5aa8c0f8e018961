import io

import numpy as np
import pytest
from PIL import Image

from internvl.demo.pictures import PictureStore, is_picture_id, save_shown
from internvl.errors import MediaError, RequestError
from internvl.media.limits import MediaLimits
from tiny_engines import picture


@pytest.fixture
def store():
    made = PictureStore()
    yield made
    made.close()


def saved(store, image=None, name="picture.png", **options):
    path = store.uploads_dir / name
    (image or picture()).save(path, **options)
    return path


def test_the_model_gets_the_very_pixels_that_were_uploaded(store):
    opened = store.open(store.add(saved(store)))
    assert np.array_equal(np.asarray(opened), np.asarray(picture()))


def test_the_same_picture_has_one_id_and_other_pictures_have_others(store):
    first = store.add(saved(store))
    assert store.add(saved(store, name="copy.png")) == first
    assert store.add(saved(store, picture(seed=1), name="other.png")) != first
    assert is_picture_id(first)


def test_what_is_shown_is_our_own_encoding_without_the_uploads_metadata(store):
    exif = Image.Exif()
    exif[0x010E] = "<script>alert(1)</script>"
    path = saved(store, name="photo.jpg", exif=exif)
    assert b"<script>" in path.read_bytes()
    shown = store.shown(store.add(path))
    assert shown.parent == store.shown_dir
    assert b"<script>" not in shown.read_bytes()
    with Image.open(shown) as image:
        assert image.format == "WEBP"


def test_large_pictures_are_shown_small(tmp_path):
    save_shown(picture(3000, 10), tmp_path / "shown.webp")
    with Image.open(tmp_path / "shown.webp") as image:
        assert image.size == (1280, 4)


@pytest.mark.parametrize(
    "data",
    [b"", b"not a picture", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"],
)
def test_what_is_no_picture_is_refused_and_leaves_nothing_behind(store, data):
    path = store.uploads_dir / "upload.png"
    path.write_bytes(data)
    with pytest.raises(MediaError, match=r"upload\.png"):
        store.add(path)
    assert not list(store.shown_dir.iterdir())


def test_limits_hold_for_uploads():
    store = PictureStore(limits=MediaLimits(max_pixels=100, max_bytes=50_000))
    with pytest.raises(MediaError, match="Mpx"):
        store.add(saved(store))
    with pytest.raises(MediaError, match="MB: that is the limit"):
        store.add(saved(store, picture(400, 400), name="large.png"))
    store.close()


def test_an_upload_that_went_away_is_one_clear_line(store):
    with pytest.raises(MediaError, match=r"gone\.png.*Add the picture again"):
        store.add(store.uploads_dir / "gone.png")


def test_ids_that_are_not_here_open_nothing(store):
    for picture_id in ("f" * 64, "../shown", "/etc/passwd", ""):
        assert store.shown(picture_id) is None
        with pytest.raises(RequestError, match="no longer on the server"):
            store.open(picture_id)


def test_when_the_store_is_full_the_pictures_go_that_nobody_asked_for_longest(tmp_path):
    picture().save(tmp_path / "size.png")
    store = PictureStore(max_bytes=5 * (tmp_path / "size.png").stat().st_size)  # two, with their copies
    paths = [saved(store, picture(seed=seed), name=f"{seed}.png") for seed in range(3)]
    first, second = store.add(paths[0]), store.add(paths[1])
    store.open(first)
    third = store.add(paths[2])
    assert [store.shown(each) is not None for each in (first, second, third)] == [True, False, True]
    assert len(list(store.shown_dir.iterdir())) == 2
    store.close()


def test_only_uploads_are_taken_in(store, tmp_path):
    picture().save(tmp_path / "private.png")
    (store.uploads_dir / "link.png").symlink_to(tmp_path / "private.png")
    for path in (
        tmp_path / "private.png",
        store.uploads_dir / "../../private.png",
        store.uploads_dir / "link.png",
    ):
        with pytest.raises(MediaError, match="was not uploaded here"):
            store.add(path)


def test_what_is_made_of_pictures_is_made_once_and_makes_room_like_pictures(store):
    made = []

    def make():
        made.append(1)
        return picture()

    assert store.derived("x", make) == store.derived("x", make)
    assert store.derived("y", make) != store.derived("x", make)
    assert len(made) == 2


def test_closing_removes_all_files():
    store = PictureStore()
    shown = store.shown(store.add(saved(store)))
    store.close()
    assert not shown.exists()


def test_uploads_are_read_upright(store):
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    picture(40, 20).save(buffer, "PNG", exif=exif)
    path = store.uploads_dir / "turned.png"
    path.write_bytes(buffer.getvalue())
    assert store.open(store.add(path)).size == (20, 40)
