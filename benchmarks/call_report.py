"""The targets of a call, each with what was measured and whether that is enough."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import call_terms

RESULTS = Path(__file__).parent / "results" / "call.json"

RAW_BOUND = 0.05
"""Share of raw frames above which a delay is not that of refined pictures."""


@dataclass(frozen=True)
class Target:
    """One claim.

    Args:
        name: in words.
        bound: that the figure must not exceed, or must not fall below.
        path: to the figure in the results.
        least: whether `bound` is the least.
        unit: of the figure.
    """

    name: str
    bound: float
    path: tuple[str, ...]
    least: bool = False
    unit: str = " ms"

    def judge(self, results: dict[str, Any]) -> dict[str, Any]:
        """The figure beside the target."""
        value = figure(results, *self.path)
        row: dict[str, Any] = {
            "target": f"{'>=' if self.least else '<='} {self.bound:g}{self.unit}",
            "measured": value,
        }
        if value is None:
            return row | {"verdict": "not measured", "why": why(results, self.path[0])}
        enough = value >= self.bound if self.least else value <= self.bound
        return row | {"verdict": "reached" if enough else "not reached"}


DELAY, CPU, LIVE, SOAK = "motion to photon", "sender's cpu", "live avatar", "soak"
ONCE, LIPS = "avatar once, with a caller", "lip-sync"

TARGETS = (
    Target("motion to photon, p50", 40, (DELAY, "ways", "visavis", "motion_to_photon_ms", "p50")),
    Target("motion to photon, p95", 70, (DELAY, "ways", "visavis", "motion_to_photon_ms", "p95")),
    Target(
        "motion to photon, p50 against stock aiortc, H264",
        0.5,
        (DELAY, "ratios", "stock aiortc, H264"),
        unit="",
    ),
    Target(
        "motion to photon, p50 against stock aiortc, VP8",
        0.5,
        (DELAY, "ratios", "stock aiortc, VP8"),
        unit="",
    ),
    *(
        Target(
            f"sender's CPU per frame at {size} against stock aiortc, H264, {words}",
            0.25,
            (f"{CPU} at {size}", "ratios", f"stock aiortc, H264{name}"),
            unit="",
        )
        for size in (256, 512)
        for name, words in (("", "its own rate"), (" at our rate", "our rate"))
    ),
    Target("camera to avatar, p50", 150, (LIVE, "camera_to_avatar_ms", "p50")),
    Target("re-lifts meanwhile", 15, (LIVE, "relifts_per_second"), True, " per second"),
    Target(
        "frames of one receiver meanwhile", 20, (LIVE, "receiver", "presented_fps"), True, " fps"
    ),
    Target(
        "motion to photon with live avatar, p50",
        40,
        (LIVE, "receiver", "motion_to_photon_ms", "p50"),
    ),
    Target("soak: memory after it has settled", 20, (SOAK, "memory_growth_mb"), unit=" MB"),
    Target("soak: growth of delay", 10, (SOAK, "delay_growth_ms")),
    Target("lip-sync: sound not later", 60, (LIPS, "error", "median")),
    Target("lip-sync: sound not earlier", -45, (LIPS, "error", "median"), True),
)


def figure(results: Any, *path: str) -> Any:
    """A number of the results, or None."""
    for key in path:
        if not isinstance(results, dict) or key not in results:
            return None
        results = results[key]
    return results


def why(results: dict[str, Any], part: str) -> str:
    """Why a part has no figure."""
    return str(figure(results, part, "not measured") or "not asked for")


def judge(results: dict[str, Any]) -> dict[str, Any]:
    """All targets; those of parts that were not asked for are left out."""
    found = {target.name: target.judge(results) for target in TARGETS if target.path[0] in results}
    raw = figure(results, DELAY, "ways", "visavis", "raw_share")
    if raw is not None and raw > RAW_BOUND:
        for name, row in found.items():
            if name.startswith("motion to photon, "):
                row["note"] = f"{100 * raw:.0f} % of our frames went out raw"
                other = name.partition(" against ")[2]
                ratio = figure(results, DELAY, "ratios", f"{other}, raw pictures")
                if ratio is not None:
                    row["note"] += f"; against its own raw pictures {ratio:g}"
    return found


def text(results: dict[str, Any]) -> str:
    """For people."""
    lines = []
    for name, row in results["targets"].items():
        value = row["measured"]
        shown = row.get("why") if value is None else f"{value:g}"
        note = f" ({row['note']})" if "note" in row else ""
        lines.append(f"{row['verdict']:<13}{name}: {shown} (target {row['target']}){note}")
    tables = dict(figure(results, DELAY, "terms") or {})
    tables |= {part: figure(results, part, "terms") for part in (ONCE, LIVE)}
    for name, found in tables.items():
        if found:
            lines += ["", f"{name}:", call_terms.markdown(found)]
    return "\n".join(lines)


def write(results: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")
