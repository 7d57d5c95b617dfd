"""Files that a command writes: refused before the work when they cannot be written, and never left
half written."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from models.errors import VisavisError


class OutputError(VisavisError):
    """The file asked for cannot be written."""

    default_code = "bad_output"


@contextmanager
def output_file(
    path: str | os.PathLike[str],
    extensions: Sequence[str],
    never: str | os.PathLike[str] | None = None,
) -> Iterator[Path]:
    """A file to write to, which takes its name only when the block ends without an error.

    The file is made at once, so that what is wrong with its place shows before the work begins.

    Args:
        path: file to write; an existing one is replaced.
        extensions: allowed endings, lower case, with the dot.
        never: a file that must not be replaced, such as the portrait that is read.

    Yields:
        Path of a temporary file beside it, with the same ending.

    Raises:
        OutputError: unknown ending, a missing folder, no right to write, no room.
    """
    if not os.fspath(path):
        raise OutputError(f"The output's name is empty. Give one with {' or '.join(extensions)}.")
    target = Path(path)
    if target.suffix.lower() not in extensions:
        raise OutputError(
            f"Cannot tell the format of {target}: end its name with {' or '.join(extensions)}."
        )
    try:
        target = target.resolve()
        replaces = target.exists()
        is_folder = target.is_dir()
        is_loop = target.is_symlink()  # still, when it has been followed to its end
    except OSError as error:
        raise write_error(path, error) from error
    except RuntimeError:  # so says Python before 3.13
        is_loop, replaces, is_folder = True, False, False
    if is_loop:
        raise OutputError(f"{path} is a link that leads to itself. Give the name of a file.")
    if is_folder:
        raise OutputError(f"{path} is a folder. Give the name of a file.")
    if not target.parent.is_dir():
        folder = Path(path).parent
        if folder.is_dir():  # then it is a link's target that is missing
            folder = target.parent
        raise OutputError(f"The folder {folder} does not exist. Make it first, or choose another.")
    if never is not None and replaces and os.path.exists(never):
        if os.path.samefile(target, never):
            raise OutputError(f"{path} is the portrait itself. Choose another name to write to.")
    temporary = target.with_name(f".visavis-{secrets.token_hex(6)}{target.suffix.lower()}")
    try:
        try:
            # As open() would: the rights follow the user's umask.
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except OSError as error:
            raise write_error(path, error) from error
        yield temporary
        try:
            os.replace(temporary, target)
        except OSError as error:
            raise write_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_error(path: str | os.PathLike[str], error: OSError) -> OutputError:
    """What the operating system refused, and what to do about it."""
    reason = (error.strerror or str(error)).lower()
    mend = _MENDS.get(error.errno or 0, "Choose another place.")
    return OutputError(f"Cannot write {path}: {reason}. {mend}")


_MENDS = {
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ENOSPC: "Make room, or choose another place.",
    errno.EDQUOT: "Make room, or choose another place.",
    errno.EIO: "Check the disk, or choose another place.",
}
