"""What an examination of a machine found, as words and as JSON."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass, field
from enum import Enum

LINE = 100
INDENT = " " * 39


class State(Enum):
    """How a finding stands."""

    OK = "ok"
    NOTE = "note"
    """Calls can be served without it; slower, or not tested."""
    MISSING = "missing"
    """No call can be served without it."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: what, in a word or two.
        state: how it stands.
        text: what was found, in one line.
        mend: the command that mends it, or None.
        facts: the same for programs.
    """

    name: str
    state: State
    text: str
    mend: str | None = None
    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """The whole examination: groups of findings by title."""

    groups: dict[str, list[Finding]]

    @property
    def ready(self) -> bool:
        """Whether a call can be served."""
        states = [finding.state for group in self.groups.values() for finding in group]
        return State.MISSING not in states

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        groups = {
            title: [{**asdict(finding), "state": finding.state.value} for finding in group]
            for title, group in self.groups.items()
        }
        return {"ready": self.ready, **groups}

    def in_words(self) -> str:
        """For people: a line for each finding, and below it the command that mends it."""
        lines = []
        for title, group in self.groups.items():
            lines.append(title.capitalize())
            for finding in group:
                lines += _row(finding.state.value, finding.name, finding.text)
                if finding.mend:
                    # On one line, however long, so that it can be copied.
                    lines.append(f"{INDENT}run: {finding.mend}")
            lines.append("")
        lines.append(
            "This machine can serve calls."
            if self.ready
            else "This machine cannot serve calls yet: see what is missing above."
        )
        return "\n".join(lines)


def _row(state: str, name: str, text: str) -> list[str]:
    first = f"  {state:<9}{name:<28}"
    return textwrap.wrap(
        text,
        LINE,
        initial_indent=first,
        subsequent_indent=INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
