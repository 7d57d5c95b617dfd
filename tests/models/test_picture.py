import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import picture
from models.errors import PortraitError
from models.picture import decode_picture, load_picture


def scene(width: int = 96, height: int = 64) -> np.ndarray:
    """Red left half, green right half, a blue top stripe: tells every way of turning it."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, : width // 2, 0] = 200
    picture[:, width // 2 :, 1] = 200
    picture[: height // 4] = [0, 0, 200]
    return picture


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A whole PNG that only claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 95}),
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}),
    ],
)
def test_loads_what_was_saved(kind: str, options: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "picture with spaces.dat"  # the name says nothing of the kind
    path.write_bytes(encoded(Image.fromarray(scene()), kind, **options))
    loaded = load_picture(path)
    assert loaded.dtype == np.uint8 and loaded.flags.c_contiguous
    error = np.abs(loaded.astype(int) - scene())
    assert error.mean() < 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_honoured(kind: str) -> None:
    upright = Image.fromarray(scene())
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the picture must be turned clockwise
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    loaded = decode_picture(encoded(lying, kind, exif=exif, quality=95))
    assert loaded.shape == scene().shape
    assert np.abs(loaded.astype(int) - scene()).mean() < 12


def test_transparent_parts_become_grey_not_their_hidden_colour() -> None:
    picture = np.dstack([scene(), np.full(scene().shape[:2], 255, np.uint8)])
    picture[:, :48, 3] = 0
    picture[:, 48:60, 3] = 128
    for kind in ("PNG", "WEBP"):
        loaded = decode_picture(encoded(Image.fromarray(picture, "RGBA"), kind, lossless=True))
        assert np.abs(loaded[40, 10].astype(int) - 128).max() <= 1
        assert np.abs(loaded[40, 50].astype(int) - [64, 164, 64]).max() <= 2
        assert np.abs(loaded[40, 80].astype(int) - [0, 200, 0]).max() <= 2


def test_grey_with_alpha_and_palette_with_transparency() -> None:
    grey = Image.new("LA", (40, 30), (90, 255))
    assert (decode_picture(encoded(grey, "PNG")) == 90).all()
    palette = Image.fromarray(scene()).convert("P")
    loaded = decode_picture(encoded(palette, "PNG", transparency=0))
    assert loaded.shape == scene().shape


def test_sixteen_bits_become_eight() -> None:
    ramp = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    loaded = decode_picture(encoded(Image.fromarray(ramp), "PNG"))
    assert loaded.shape == (48, 64, 3)
    assert np.abs(loaded[..., 0] - ramp / 257).max() <= 1


def test_cmyk_becomes_rgb() -> None:
    cmyk = Image.fromarray(scene()).convert("CMYK")
    loaded = decode_picture(encoded(cmyk, "JPEG", quality=98, subsampling=0))
    assert np.abs(loaded.astype(int) - scene()).mean() < 6


def fails(data: bytes, words: str) -> PortraitError:
    with pytest.raises(PortraitError, match=words) as caught:
        decode_picture(data, "me.jpg")
    assert "\n" not in str(caught.value) and str(caught.value).startswith("me.jpg ")
    return caught.value


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_called_damaged(kind: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    fails(data[: max(16, int(len(data) * part))], "damaged or cut off")


def noisy(kind: str, **options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
    return encoded(Image.fromarray(noise), kind, **options)


@pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG"])
@pytest.mark.parametrize("filling", [b"\0", b"\xff", b"\x55", None])
def test_an_overwritten_jpeg_is_called_damaged(
    kind: str, filling: bytes | None, capfd: pytest.CaptureFixture[str]
) -> None:
    data = noisy("JPEG", quality=90, progressive=kind != "JPEG")
    middle = len(data) // 2
    random = np.random.default_rng(1).bytes(4000)
    fails(
        data[:middle] + (4000 * filling if filling else random) + data[middle + 4000 :], "damaged"
    )
    assert capfd.readouterr() == ("", "")  # libjpeg says it too, but not to the user


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
def test_one_wrong_byte_in_a_png_is_called_damaged(
    part: float, capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(noisy("PNG"))
    data[int(part * len(data))] ^= 1
    fails(bytes(data), "damaged")
    assert capfd.readouterr() == ("", "")


def test_a_png_without_pixels_is_called_damaged(capfd: pytest.CaptureFixture[str]) -> None:
    data = noisy("PNG")
    fails(data[:33] + data[-12:], "damaged")  # its head and its end
    fails(png_of_size(64, 64), "damaged")  # whole by its sums, but too little for its size
    assert capfd.readouterr() == ("", "")


def test_a_few_bytes_of_padding_are_no_damage(capfd: pytest.CaptureFixture[str]) -> None:
    """Some cameras write them; libjpeg warns, but has decoded everything."""
    data = encoded(Image.fromarray(scene()), "JPEG", quality=95)
    padded = decode_picture(data[:-2] + b"\0\0\0" + data[-2:])
    assert (padded == decode_picture(data)).all()
    assert capfd.readouterr() == ("", "")


def test_what_others_write_to_standard_error_meanwhile_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def decode(data: bytes, flags: int) -> None:
        os.write(2, b"libpng error: bad\nsomebody else's line\nlibpng warning: worse\n")

    monkeypatch.setattr(picture, "_imdecode", decode)
    fails(encoded(Image.fromarray(scene()), "PNG"), "damaged")
    assert capfd.readouterr() == ("", "somebody else's line\n")


def test_a_progressive_jpeg_cut_between_its_scans_is_called_damaged() -> None:
    data = encoded(Image.fromarray(scene()), "JPEG", progressive=True)
    second_scan = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    fails(data[:second_scan], "damaged or cut off")


def test_a_jpeg_with_a_thumbnail_is_measured_by_its_own_size() -> None:
    thumbnail = encoded(Image.new("RGB", (16, 12)), "JPEG")
    data = encoded(Image.fromarray(scene()), "JPEG", comment=thumbnail)
    assert decode_picture(data).shape == scene().shape


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"Dear diary,\nno picture today.\n", "is a text file"),
        ("Grüße, ".encode() * 900, "is a text file"),
        (b"GIF89a" + bytes(40), "is a GIF"),
        (b"BM" + bytes(40), "is a BMP"),
        (b"MM\0*" + bytes(40), "is a TIFF"),
        (b"%PDF-1.7 \0", "is a PDF"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "is a HEIC picture"),
        (b"\0\0\0\x18ftypavif" + bytes(40), "is an AVIF picture"),
        (b"\0\0\0\x18ftypisom" + bytes(40), "is a video"),
        (bytes(range(256)), "is not a picture"),
        (b"\xff\xd8\xff", "damaged"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "damaged"),
        (png_of_size(64, 64), "damaged"),
        (png_of_size(0, 64), "damaged"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, words: str) -> None:
    assert fails(data, words).code == "bad_picture"


@pytest.mark.parametrize("size", [(20_000, 20_000), (30_000, 10), (9_000, 9_000)])
def test_a_huge_picture_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    error = fails(png_of_size(*size), f"too large: {size[0]} x {size[1]} pixels")
    assert error.code == "too_large"


def test_a_huge_jpeg_and_webp_are_refused_by_their_headers() -> None:
    jpeg = bytearray(encoded(Image.fromarray(scene()), "JPEG"))
    start = jpeg.index(b"\xff\xc0")
    jpeg[start + 5 : start + 9] = struct.pack(">HH", 20_000, 20_000)
    fails(bytes(jpeg), "too large: 20000 x 20000")
    webp = bytearray(encoded(Image.new("RGBA", (20, 20), (9, 9, 9, 9)), "WEBP", quality=80))
    assert webp[12:16] == b"VP8X"
    webp[24:30] = (19_999).to_bytes(3, "little") * 2
    fails(bytes(webp), "too large: 20000 x 20000")


def test_paths_that_are_no_picture(tmp_path: Path) -> None:
    with pytest.raises(PortraitError, match="does not exist"):
        load_picture(tmp_path / "none.png")
    with pytest.raises(PortraitError, match="name is empty"):
        load_picture("")
    with pytest.raises(PortraitError, match="is a folder"):
        load_picture(tmp_path)
    with pytest.raises(PortraitError, match="a[?]b.png does not exist"):
        load_picture("a\0b.png")
    with pytest.raises(PortraitError, match="is not a file"):
        load_picture("/dev/null")
    (tmp_path / "long.png").touch()
    os.truncate(tmp_path / "long.png", 1 << 30)
    with pytest.raises(PortraitError, match="larger than 128 MiB"):
        load_picture(tmp_path / "long.png")
    with pytest.raises(PortraitError, match="cannot be read|does not exist"):
        load_picture(tmp_path / ("x" * 300))
