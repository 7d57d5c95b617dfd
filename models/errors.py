"""What can go wrong for a user, in words.

Every message is one line that says what is wrong and what to do; `code` is a stable slug for
programs.

* VisavisError
  + PortraitError     the picture cannot become an avatar
  + ViewpointError    the viewpoint is not one
  + SetupError        something this machine needs is missing; the message holds the command that
  mends it
  + CapacityError     all places are taken; later there may be one
"""

from __future__ import annotations


class VisavisError(Exception):
    """An error that a user can cause and mend.

    Args:
        reason: what is wrong and what to do; white space is folded, so that it always prints as one
            line.
        code: a stable slug such as "no_face".
    """

    default_code = "error"

    def __init__(self, reason: str, code: str | None = None) -> None:
        # Names of files get into messages, and may hold control characters.
        printable = "".join(c if c.isprintable() or c.isspace() else "?" for c in reason)
        self.reason = " ".join(printable.split())
        self.code = code or self.default_code
        super().__init__(self.reason)


class PortraitError(VisavisError):
    """The picture cannot become an avatar.

    `code` is one of those of `models.portrait.FrameCheck`, or `bad_picture` for a file that is no
    picture.
    """

    default_code = "bad_picture"


class ViewpointError(VisavisError):
    """The viewpoint is not one: a wrong type, or a number that is not finite."""

    default_code = "bad_viewpoint"


class SetupError(VisavisError):
    """Something this machine needs is missing."""

    default_code = "setup"


class CapacityError(VisavisError):
    """All places are taken."""

    default_code = "full"
