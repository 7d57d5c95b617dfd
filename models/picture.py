"""Pictures from files: JPEG, PNG and WebP, with words for everything that such a file can be.

OpenCV decodes what is left of a damaged file without a word, and a small file can hold a picture of
gigabytes. So the file's own structure is read first, by a few lines per format. The libraries below
OpenCV do say what they find, but only on standard error: there it is overheard.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import tempfile
import threading
import zlib
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.errors import PortraitError

MAX_PIXELS = 64_000_000
MAX_SIDE = 16_384
MAX_BYTES = 128 * 1024 * 1024
BACKDROP = 0.5
"""Grey, 0..1, behind a picture's transparent parts."""

_SAID = re.compile(
    rb"^(?:libpng |Corrupt JPEG data|Premature end of JPEG|Inconsistent progression|Invalid SOS|"
    rb"Unknown Adobe color|Warning: unknown JFIF|\[ ?[A-Z]+:\d+@)[^\n]*\n?",
    re.MULTILINE,
)
"""Lines of libpng, of libjpeg, and of OpenCV's own log."""
_DAMAGE = re.compile(
    rb"libpng error|Premature end of JPEG|Inconsistent progression|Corrupt JPEG data: "
    rb"(?!bad ICC|\d{1,2} extraneous bytes before marker 0xd9)"
)
"""What of this means that the picture is not whole. Colour profiles are not used, and some cameras
pad the data by a few bytes before the end mark."""
_overhearing = threading.Lock()


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    whole: bool  # the file goes on to its format's end mark
    alpha: bool = False


def load_picture(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Read a picture, upright as its EXIF orientation says, over mid grey where it is transparent.

    Args:
        path: a JPEG, PNG or WebP file, recognised by its content. 16 bits and CMYK become 8-bit
            RGB.

    Returns:
        RGB. [H, W, 3]

    Raises:
        PortraitError: the file is missing, unreadable, empty, damaged, too large or no picture.
    """
    if not os.fspath(path):
        raise PortraitError("The picture's name is empty. Give the path of a picture.")
    path = Path(path)
    try:
        if path.is_dir():
            raise PortraitError(f"{path} is a folder. Give the path of a picture in it.")
        if not path.exists():
            raise PortraitError(f"{path} does not exist. Check the path of the picture.")
        if not path.is_file():
            raise PortraitError(f"{path} is not a file. Give the path of a picture.")
        if path.stat().st_size > MAX_BYTES:
            raise PortraitError(
                f"{path} is larger than {MAX_BYTES >> 20} MiB. Choose a smaller picture."
            )
        data = path.read_bytes()
    except OSError as error:
        why = error.strerror or "unknown reason"
        raise PortraitError(f"{path} cannot be read: {why}. Check its permissions.") from None
    return decode_picture(data, str(path))


def decode_picture(data: bytes, name: str = "The picture") -> NDArray[np.uint8]:
    """Decode a picture from the bytes of a file; see `load_picture`.

    Args:
        data: the file's content.
        name: what error messages call it.
    """
    if not data:
        raise PortraitError(f"{name} is empty. Choose another picture.")
    header = _header(data)
    if header is None:
        kind = _other_kind(data)
        raise PortraitError(f"{name} is {kind}. Choose a JPEG, PNG or WebP picture.")
    width, height = header.width, header.height
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise PortraitError(
            f"{name} is too large: {width} x {height} pixels, at most {MAX_PIXELS // 1_000_000} "
            f"million and {MAX_SIDE} on a side. Make it smaller; 1000 x 1000 is plenty.",
            code="too_large",
        )
    damaged = PortraitError(f"{name} is damaged or cut off. Copy it again, or choose another one.")
    if not header.whole or width < 1 or height < 1:
        raise damaged
    picture = _decode(data, cv2.IMREAD_COLOR)
    if picture is None:
        raise damaged
    if header.alpha:
        picture = _over_backdrop(picture, data)
    return np.ascontiguousarray(picture[:, :, ::-1])


def _decode(data: bytes, flags: int) -> NDArray[np.uint8] | None:
    """The decoded picture; None when it is damaged."""
    with _overhearing:
        decoded, said = _overheard(data, flags)
    return None if decoded is None or _DAMAGE.search(said) else decoded


def _overheard(data: bytes, flags: int) -> tuple[NDArray[np.uint8] | None, bytes]:
    """Decode, and keep from the user what libpng and libjpeg write to standard error meanwhile.

    They leave no other way to learn of damage. Standard error belongs to the whole process, so what
    others write in these milliseconds is handed on afterwards.
    """
    try:
        heard, real = tempfile.TemporaryFile(), os.dup(2)
    except OSError:  # no folder for temporary files, or no standard error
        return _imdecode(data, flags), b""
    with heard:
        os.dup2(heard.fileno(), 2)
        try:
            decoded = _imdecode(data, flags)
        finally:
            os.dup2(real, 2)
            os.close(real)
        heard.seek(0)
        said = heard.read()
    others = _SAID.sub(b"", said)
    if others:
        with contextlib.suppress(OSError):  # a full disk is no reason to refuse a picture
            os.write(2, others)
    return decoded, said


def _imdecode(data: bytes, flags: int) -> NDArray[np.uint8] | None:
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    return None if decoded is None else np.asarray(decoded)


def _over_backdrop(picture: NDArray[np.uint8], data: bytes) -> NDArray[np.uint8]:
    raw = _decode(data, cv2.IMREAD_UNCHANGED)
    # Rotated by EXIF as well as transparent: then colour alone must do.
    if raw is None or raw.ndim != 3 or raw.shape[2] != 4 or raw.shape[:2] != picture.shape[:2]:
        return picture
    alpha = raw[:, :, 3:].astype(np.float32) / np.iinfo(raw.dtype).max
    mixed = picture * alpha + 255 * BACKDROP * (1 - alpha)
    return np.asarray(np.round(mixed), np.uint8)


def _header(data: bytes) -> _Header | None:
    """Size and wholeness; None when the file is of none of the three formats."""
    for reader in (_jpeg, _png, _webp):
        try:
            header = reader(data)
        except (struct.error, IndexError):  # the file ends inside the header
            return _Header(0, 0, whole=False)
        if header is not None:
            return header
    return None


def _jpeg(data: bytes) -> _Header | None:
    """Walk the segments of a JPEG to its end-of-image mark (ITU-T T.81, annex B)."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    width = height = 0
    at = 2
    while True:
        at = data.find(b"\xff", at)
        if at < 0:
            return _Header(width, height, whole=False)
        kind = data[at + 1]
        at += 1
        if kind in (0x00, 0xFF) or 0xD0 <= kind <= 0xD8:  # stuffing, fill, restart: no length
            continue
        if kind == 0xD9:
            return _Header(width, height, whole=bool(width and height))
        (length,) = struct.unpack_from(">H", data, at + 1)
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC) and not width:
            height, width = struct.unpack_from(">HH", data, at + 4)
        at += 1 + length


def _png(data: bytes) -> _Header | None:
    """Walk the chunks of a PNG to its last one, and check their sums."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    width, height, _, colour = struct.unpack_from(">IIBB", data, 16)
    alpha, pixels, intact = colour in (4, 6), False, True
    view = memoryview(data)
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        end = at + 8 + length
        if end + 4 > len(data):
            break
        intact = intact and zlib.crc32(view[at + 4 : end]) == struct.unpack_from(">I", data, end)[0]
        if kind == b"IEND":
            return _Header(width, height, whole=pixels and intact, alpha=alpha)
        alpha = alpha or kind == b"tRNS"
        pixels = pixels or kind == b"IDAT"
        at = end + 4
    return _Header(width, height, whole=False, alpha=alpha)


def _webp(data: bytes) -> _Header | None:
    """Read the first chunk of a WebP: lossy, lossless or extended."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    (length,) = struct.unpack_from("<I", data, 4)
    whole = len(data) >= 8 + length
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[i : i + 3], "little") + 1 for i in (24, 27))
        return _Header(width, height, whole, alpha=bool(data[20] & 0x10))
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        return _Header(*size, whole, alpha=bool(bits >> 28 & 1))
    width, height = struct.unpack_from("<HH", data, 26)
    return _Header(width & 0x3FFF, height & 0x3FFF, whole)


def _other_kind(data: bytes) -> str:
    """What a file that is none of the three formats seems to be."""
    start = data[:16]
    for marks, kind in (
        ((b"GIF8",), "a GIF"),
        ((b"BM",), "a BMP"),
        ((b"II*\0", b"MM\0*"), "a TIFF or a camera's raw file"),
        ((b"%PDF",), "a PDF"),
    ):
        if start.startswith(marks):
            return kind
    if start[4:8] == b"ftyp":
        brand = start[8:12]
        if brand[:3] in (b"hei", b"hev", b"mif", b"msf"):
            return "a HEIC picture"
        return "an AVIF picture" if brand[:3] == b"avi" else "a video"
    text = data[:4096]
    try:
        text.decode("utf-8")
        is_text = b"\0" not in text
    except UnicodeDecodeError as error:  # a letter may be cut in two
        is_text = error.start >= 4093 and b"\0" not in text
    return "a text file, not a picture" if is_text else "not a picture"
