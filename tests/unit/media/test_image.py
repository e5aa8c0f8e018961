"""Every kind of picture becomes upright RGB, or one clear line."""

import io
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from internvl.errors import MediaError
from internvl.media import image as image_module
from internvl.media.image import load_image, open_image
from internvl.media.limits import MediaLimits

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def corners() -> Image.Image:
    """60x40: red top left, blue bottom right, else white."""
    image = Image.new("RGB", (60, 40), "white")
    image.paste(RED, (0, 0, 8, 8))
    image.paste(BLUE, (52, 32, 60, 40))
    return image


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF", "GIF"])
def test_lossless_formats_keep_their_pixels(kind):
    picture = open_image(encode(corners(), kind))
    assert picture.mode == "RGB"
    assert np.array_equal(np.asarray(picture), np.asarray(corners()))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_are_read(kind):
    picture = open_image(encode(corners(), kind, quality=95))
    assert picture.mode == "RGB"
    assert np.abs(np.asarray(picture).astype(int) - np.asarray(corners())).mean() < 4


def test_paths_bytes_and_arrays_lead_to_the_same_picture(tmp_path):
    file = tmp_path / "name says nothing.txt"
    file.write_bytes(encode(corners()))
    ways = [
        file,
        str(file),
        f"file://{file}",
        file.read_bytes(),
        bytearray(file.read_bytes()),
        np.asarray(corners()),
    ]
    assert all(open_image(way).tobytes() == corners().tobytes() for way in ways)
    assert load_image(file).tobytes() == corners().tobytes()


# --- orientation


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    # what the camera stored, so that the upright picture is corners(): the inverse of each orientation
    flips = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose values; 6 and 8 swap their rotations
    stored = corners().transpose(Image.Transpose(flips[orientation])) if orientation > 1 else corners()
    picture = open_image(encode(stored, kind, exif=exif, quality=95))
    assert picture.size == (60, 40)
    assert np.abs(np.asarray(picture).astype(int) - np.asarray(corners())).mean() < 4
    assert 0x0112 not in picture.getexif() or orientation == 1


def test_broken_exif_leaves_the_picture_as_stored():
    data = encode(corners(), "PNG", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff garbage")
    assert open_image(data).size == (60, 40)


def test_an_opened_picture_is_converted_and_nothing_else():
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.open(io.BytesIO(encode(corners(), "PNG", exif=exif)))
    assert open_image(stored).size == stored.size
    clear = Image.new("RGBA", (2, 2), (10, 20, 30, 0))
    assert open_image(clear).getpixel((0, 0)) == (10, 20, 30)


# --- transparency


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_alpha_is_put_on_white(mode):
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    image.putpixel((2, 0), (0, 0, 0, 128))
    image = image.convert("LA") if mode == "LA" else image
    kind = "TIFF" if mode == "PA" else "PNG"
    if mode == "PA":
        palette = Image.new("PA", (3, 1))
        palette.putpalette([0, 0, 0] * 256)
        palette.putalpha(image.getchannel("A"))
        image, kind = palette.convert("RGBA"), "PNG"
    picture = np.asarray(open_image(encode(image, kind)))
    assert picture[0].tolist() == [[0, 0, 0], [255, 255, 255], [127, 127, 127]]


def test_grey_alpha_composites_like_colour_alpha():
    rng = np.random.default_rng(0)
    image = Image.merge("LA", [Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)) for _ in "LA"])
    assert open_image(encode(image)).tobytes() == open_image(encode(image.convert("RGBA"))).tobytes()


def test_transparent_palette_entries_and_colour_keys_become_white():
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    assert np.asarray(open_image(encode(palette, transparency=0)))[0].tolist() == [list(WHITE), list(GREEN)]
    two = Image.new("RGB", (2, 1), RED)
    two.putpixel((1, 0), GREEN)
    assert np.asarray(open_image(encode(two, transparency=RED)))[0].tolist() == [list(WHITE), list(GREEN)]


# --- kinds of pixels


def test_one_bit_palette_and_grey_keep_their_tones():
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    assert (np.asarray(open_image(encode(grey)))[..., 1] == np.asarray(grey)).all()
    assert (np.asarray(open_image(encode(grey.convert("P"))))[..., 2] == np.asarray(grey)).all()
    bits = grey.point(lambda value: 255 * (value > 99)).convert("1")
    assert set(np.unique(np.asarray(open_image(encode(bits))))) == {0, 255}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind):
    deep = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    picture = np.asarray(open_image(encode(Image.fromarray(deep), kind)))
    assert picture[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_big_endian_sixteen_bit_is_not_swapped():
    deep = Image.new("I;16B", (1, 1))
    deep.putpixel((0, 0), 0x8000)
    assert open_image(encode(deep, "TIFF")).getpixel((0, 0))[0] == 128


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 127.0, 255.0], [0, 127, 255]),
        ([-1.0, 0.0, 3.0], [0, 64, 255]),
        ([0.0, float("nan"), float("inf")], [0, 0, 0]),
    ],
)
def test_float_tiff_is_scaled_by_its_range(values, expected):
    image = Image.fromarray(np.array([values], dtype=np.float32))
    assert np.asarray(open_image(encode(image, "TIFF")))[0, :, 0].tolist() == expected


def test_integer_tiff_is_sixteen_bit_when_it_fits():
    image = Image.fromarray(np.array([[0, 32896, 65535]], dtype=np.int32))
    assert np.asarray(open_image(encode(image, "TIFF")))[0, :, 0].tolist() == [0, 128, 255]


def test_cmyk_jpeg_has_its_colours_and_not_their_negative():
    picture = open_image(encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    red, green, blue = picture.getpixel((8, 8))
    assert red > 240
    assert green < 15
    assert blue < 15


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_picture_counts(kind):
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    red, green, blue = open_image(data).getpixel((5, 5))
    assert red > 240
    assert green < 15
    assert blue < 15


# --- arrays


def test_arrays_of_all_shapes_are_read():
    grey = np.full((4, 6), 7, np.uint8)
    assert open_image(grey).size == (6, 4)
    assert open_image(grey[..., None]).getpixel((0, 0)) == (7, 7, 7)
    assert open_image(np.full((4, 6, 4), 0, np.uint8)).getpixel((0, 0)) == WHITE
    assert open_image(np.full((2, 2, 3), 0.5)).getpixel((0, 0)) == (128, 128, 128)
    assert open_image(np.full((2, 2, 3), 1, np.float16)).getpixel((0, 0)) == WHITE
    assert open_image(np.asarray(corners())[::-1, ::2]).size == (30, 40)


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((3, 4, 4), np.uint8)[:, :, :2], "shape 3x4x2"),
        (np.zeros((1, 3, 4, 4), np.uint8), "shape 1x3x4x4"),
        (np.zeros(5, np.uint8), "shape 5"),
        (np.zeros((0, 5, 3), np.uint8), "shape 0x5x3"),
        (np.zeros((4, 4, 3), np.int64), "array of int64"),
        (np.zeros((4, 4), np.uint16), "array of uint16"),
        (np.full((4, 4, 3), 200.0), r"values 200\.\.200"),
        (np.full((4, 4, 3), np.nan), "values nan"),
        (np.full((4, 4, 3), -0.1), r"in \[0, 1\]"),
    ],
)
def test_other_arrays_are_refused_with_what_was_expected(array, match):
    with pytest.raises(MediaError, match=match):
        open_image(array)


# --- damage and refusal


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_truncated_files_are_refused(tmp_path, kind, share):
    rng = np.random.default_rng(0)
    whole = encode(Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)), kind)
    file = tmp_path / "cut.bin"
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(MediaError, match=r"cut\.bin"):
        open_image(file)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "empty"),
        (b"\xff", "not a picture of a known format"),
        (b"hello world, this is text", "not a picture of a known format"),
        (b"%PDF-1.7\n", "PDF"),
        (b"<!DOCTYPE html><html>", "HTML page"),
        (b"<?xml version='1.0'?><!-- x --><svg xmlns='x'>", "SVG"),
        (b"\xef\xbb\xbf  <svg>", "SVG"),
        (b"PK\x03\x04aaaa", "archive"),
        (b"\x1f\x8b\x08aaaa", "archive"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "pillow-heif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "pillow-heif"),
        (b"\0\0\0\x18ftypisom", "video"),
        (b"\x1aE\xdf\xa3webm", "video"),
        (b"%!PS-Adobe", "PostScript"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\0\0\1\0\1\0", "icon"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    ],
)
def test_what_is_not_a_readable_picture_is_named(data, match):
    with pytest.raises(MediaError, match=match) as caught:
        open_image(data)
    assert "\n" not in str(caught.value)


def test_a_picture_container_that_holds_avif_is_avif():
    whole = bytearray(encode(corners(), "AVIF"))
    assert whole[8:12] == b"avif"
    whole[8:12] = b"mif1"
    assert open_image(bytes(whole)).size == (60, 40)


def test_pixel_limit_is_checked_before_decoding():
    with pytest.raises(MediaError, match=r"100000x100000 pixels \(10000 Mpx\): the limit is 80 Mpx"):
        open_image(png_of(100_000, 100_000))
    with pytest.raises(MediaError, match="max_pixels"):
        open_image(encode(corners()), limits=MediaLimits(max_pixels=60 * 40 - 1))
    assert open_image(encode(corners()), limits=MediaLimits(max_pixels=60 * 40)).size == (60, 40)
    with pytest.raises(MediaError, match="max_pixels"):
        open_image(corners(), limits=MediaLimits(max_pixels=10))


def test_memory_limit_counts_what_the_format_needs():
    limits = MediaLimits(max_decode_bytes=60 * 40 * 11)
    assert open_image(encode(corners()), limits=limits).size == (60, 40)
    for hungry in (
        encode(corners(), "WEBP"),
        encode(corners().convert("F"), "TIFF"),
        encode(corners().convert("CMYK"), "JPEG", progressive=True),
        encode(corners(), transparency=RED),
    ):
        with pytest.raises(MediaError, match="max_decode_bytes"):
            open_image(hungry, limits=limits)


def test_jpeg_with_very_many_scans_is_refused():
    data = encode(corners(), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    with pytest.raises(MediaError, match="scans"):
        open_image(data[:at] + data[at:-2] * 200 + data[-2:])


def test_scans_count_by_the_pixels_they_pass_over(monkeypatch):
    monkeypatch.setattr(image_module, "_MAX_SCANNED_PIXELS", 60 * 40 * 5)
    assert open_image(encode(corners(), "JPEG")).size == (60, 40)
    with pytest.raises(MediaError, match="scans"):
        open_image(encode(corners(), "JPEG", progressive=True))


def test_what_pillow_decodes_in_python_must_be_small():
    """At its speed, 64 MB of them would take half a minute."""
    assert open_image(b"P3 2 1 255 255 0 0  0 255 0").getpixel((1, 0)) == GREEN
    assert open_image(b"P5 2 1 100\n\x00\x64").getpixel((1, 0)) == WHITE
    with pytest.raises(MediaError, match="decoded slowly"):
        open_image(b"P5 2500 2000 100\n" + bytes(5_000_000))
    with pytest.raises(MediaError, match="decoded slowly"):
        open_image(b"P3 2 1 255 255 0 0  0 255 0" + b" " * 5_000_000)
    assert open_image(b"P5 2500 2000 255\n" + bytes(5_000_000)).size == (2500, 2000)


def test_text_chunk_that_inflates_without_end_is_refused():
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 5_000_000))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * (4 * 13)))
    assert open_image(png_of(4, 4, pixels)).size == (4, 4)
    with pytest.raises(MediaError, match="too large"):
        open_image(png_of(4, 4, bomb, pixels))


def test_zero_sizes_are_refused():
    with pytest.raises(MediaError, match="no size"):
        open_image(png_of(0, 0))


@pytest.mark.parametrize("cut", [4, 9, 40, 120])
def test_tiff_tables_that_point_outside_are_refused_without_noise(cut, capfd):
    data = bytearray(encode(corners(), "TIFF"))
    with pytest.raises(MediaError, match="TIFF"):
        open_image(bytes(data[:cut]))
    data[4:8] = struct.pack("<I", 2**31)
    with pytest.raises(MediaError, match="directory lies outside"):
        open_image(bytes(data))
    assert capfd.readouterr() == ("", "")


def test_global_state_of_pillow_stays():
    before = (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)
    for data in (encode(corners()), encode(corners(), "JPEG")[:300], b"nothing"):
        try:
            open_image(data)
        except MediaError:
            continue
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS) == before == (False, before[1])


def test_pictures_open_side_by_side_in_threads():
    data, results = encode(corners(), "JPEG"), []
    threads = [threading.Thread(target=lambda: results.append(open_image(data).tobytes())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len(set(results)) == 1


@pytest.mark.parametrize("source", [None, 3, 2.5, ["a.png"], object()])
def test_other_types_are_refused_with_what_is_read(source):
    with pytest.raises(MediaError, match="expected a path, a URL, bytes, a PIL image or a numpy array"):
        open_image(source)


def test_a_broken_opened_picture_is_a_media_error():
    cut = Image.open(io.BytesIO(encode(corners(), "BMP")[:-100]))
    with pytest.raises(MediaError, match="cannot be converted"):
        open_image(cut)
