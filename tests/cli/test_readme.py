"""What README and CONTRIBUTING tell people to type exists, and what they point to is there."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from stream.command_line import make_parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CONTRIBUTING.md")


def code(page: str) -> list[str]:
    """Everything that is set as code, a line or a span each, without trailing comments."""
    text = (ROOT / page).read_text()
    blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [re.sub(r"\s+#.*", "", line) for line in [*lines, *re.findall(r"`([^`\n]+)`", rest)]]


def commands(page: str, name: str) -> list[list[str]]:
    split = [line.split() for line in code(page) if line.startswith((name, f".venv/bin/{name}"))]
    return [words[1:] for words in split if Path(words[0]).name == name and len(words) > 1]


def test_the_readme_shows_every_command() -> None:
    shown = {words[0] for words in commands("README.md", "visavis")}
    assert shown == {"serve", "demo", "render", "orbit", "export", "doctor", "bench"}


@pytest.mark.parametrize("page", PAGES)
def test_commands_can_be_typed_as_they_stand(page: str) -> None:
    for words in commands(page, "visavis"):
        options = make_parser().parse_args(words)
        assert options.command == words[0]


def test_options_named_in_the_readme_exist() -> None:
    rows = re.findall(r"^\| `visavis (\w+)(.*)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert rows
    for name, rest in rows:
        with contextlib.redirect_stdout(io.StringIO()) as printed, pytest.raises(SystemExit):
            make_parser().parse_args([name, "--help"])
        for option in re.findall(r"(?<![\w-])--[a-z-]+", rest):
            assert f"{option} " in printed.getvalue() or f"{option}]" in printed.getvalue(), option


@pytest.mark.parametrize("page", PAGES)
def test_make_knows_its_targets(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {words[0] for words in commands(page, "make")}
    assert {"serve", "test"} <= asked <= targets


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text())
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert missing == []
