import pytest

from models.errors import CapacityError, PortraitError, SetupError, ViewpointError, VisavisError


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (VisavisError, "error"),
        (PortraitError, "bad_picture"),
        (ViewpointError, "bad_viewpoint"),
        (SetupError, "setup"),
        (CapacityError, "full"),
    ],
)
def test_errors_are_one_line_with_a_code(kind: type[VisavisError], code: str) -> None:
    error = kind("a file named\n'odd\r\n na\x1bme'\tis wrong")
    assert str(error) == error.reason == "a file named 'odd na?me' is wrong"
    assert error.code == code
    assert kind("x", code="other").code == "other"
    assert isinstance(error, VisavisError)
