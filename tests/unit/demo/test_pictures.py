import base64
import io

import numpy as np
import pytest
from PIL import Image

from internvl.demo import pictures
from internvl.demo.pictures import PictureStore, is_picture_id, is_video_id, save_shown
from internvl.errors import MediaError, RequestError
from internvl.media.limits import MediaLimits
from internvl.media.video import load_video
from tiny_clips import numbers_in, write_clip, write_gif
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


def test_uploads_that_lie_too_long_make_room(store, monkeypatch):
    old = saved(store, name="old.png")
    (store.uploads_dir / "folder").mkdir()
    (store.uploads_dir / "folder" / "export.md").write_text("x")
    assert store.has_room_for_uploads()
    assert old.exists()
    monkeypatch.setattr(pictures, "MAX_UPLOAD_AGE_S", -1.0)
    assert store.has_room_for_uploads()
    assert not list(store.uploads_dir.iterdir())


def test_too_many_uploads_leave_no_room():
    store = PictureStore(max_bytes=10_000)
    assert store.has_room_for_uploads()
    saved(store)
    assert not store.has_room_for_uploads()
    store.close()


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


@pytest.fixture
def clip(store):
    return write_clip(store.uploads_dir / "clip.mp4", 24)


def test_the_model_gets_a_videos_frames_and_browsers_a_sheet_of_them(store, clip):
    video_id = store.add(clip)
    assert is_picture_id(video_id)
    assert is_video_id(video_id)
    video = store.open(video_id)
    assert numbers_in(video) == numbers_in(load_video(clip))
    with Image.open(store.shown(video_id)) as sheet:
        assert sheet.format == "WEBP"
        width, height = sheet.width // 4, sheet.height // 2
        cells = [
            sheet.crop((x * width, y * height, (x + 1) * width, (y + 1) * height))
            for y in (0, 1)
            for x in range(4)
        ]
    assert numbers_in(cells) == numbers_in(video)


def test_files_are_named_by_what_they_are(store, clip):
    photo, video = store.add(saved(store, name="x.jpeg")), store.add(clip)
    assert store.file_name(photo, 1) == "picture-1.jpeg"
    assert store.file_name(video, 2) == "video-2.mp4"
    assert store.file_name("f" * 64, 3) == "picture-3.png"
    assert store.file_name("f" * 64 + "v", 4) == "video-4.mp4"


def test_data_urls_hold_the_upload_or_what_is_shown_of_it(store, clip):
    video = store.add(clip)
    head, _, data = store.data_url(video).partition(",")
    assert head == "data:video/mp4;base64"
    assert base64.b64decode(data) == clip.read_bytes()
    head, _, data = store.data_url(video, shown=True).partition(",")
    assert head == "data:image/webp;base64"
    assert base64.b64decode(data) == store.shown(video).read_bytes()
    assert store.data_url("f" * 64) is store.data_url("f" * 64, shown=True) is None


def test_a_moving_gif_is_a_video_and_a_still_one_a_picture(store):
    assert is_video_id(store.add(write_gif(store.uploads_dir / "moving.gif")))
    assert not is_video_id(store.add(saved(store, name="still.gif")))


def test_a_broken_video_is_refused(store, clip):
    clip.write_bytes(clip.read_bytes()[:400])
    with pytest.raises(MediaError, match=r"clip\.mp4"):
        store.add(clip)
    assert not list(store.shown_dir.iterdir())
