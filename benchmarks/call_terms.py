"""Where each millisecond goes, from the browser's event to the presented frame.

Frames are followed one by one: the number in the pixels leads to the viewpoint, the RTP timestamp
to the packets. The clocks of page and server are those of one machine.
"""

from __future__ import annotations

import bisect
from typing import Any

import numpy as np

from benchmarks.call_delay import Sample, joined
from benchmarks.call_run import percentiles

TERMS = {
    "event": "the hand moves -> the page sends (waits for the animation frame)",
    "channel": "data channel, page to server",
    "tick": "waits for the frame's turn",
    "render": "rasterise, refine, I420",
    "handover": "render thread -> encoder's thread, through the event loop",
    "encode": "encode and cut into packets",
    "send": "encrypt and send, to the last packet",
    "network": "last packet sent -> received by the browser",
    "jitter buffer": "waits in the browser's jitter buffer",
    "decode": "decode",
    "present": "decoded -> handed to the screen",
}


def follow(sample: Sample) -> list[dict[str, float]]:
    """Milliseconds of each term, of each frame that could be followed all the way."""
    clock = 1e3 * sample.server["clock"]
    origin = sample.page["origin"]
    views: dict[int, list[Any]] = {}
    for view in sample.server["viewpoints"]:
        views.setdefault(view[0], []).append(view)
    sent = {row[0]: row[1] for row in sample.server["sent"]}
    ends = [row[1] for row in sample.server["encodes"]]
    emitted = sample.inbound.get("jitterBufferEmittedCount") or 0
    waits = 1e3 * sample.inbound.get("jitterBufferDelay", 0.0) / emitted if emitted else 0.0

    def server(at: float) -> float:
        return 1e3 * at + clock

    found = []
    for frame, row in joined(sample):
        now, timestamp, received, decoding = frame[:4]
        # An encoder may round the stamp by one tick.
        left = next((sent[t] for t in (timestamp, timestamp - 1, timestamp + 1) if t in sent), None)
        if left is None or received is None or row[2] is None:
            continue
        index = bisect.bisect_right(ends, left) - 1
        if index < 0 or np.isnan(decoding):
            continue
        begin, end, _ = sample.server["encodes"][index]
        # A viewpoint may be rendered again, or overtaken: what was encoded is the newest before.
        view = next((v for v in reversed(views.get(row[0], [])) if v[3] <= begin), None)
        if view is None:
            continue
        arrived = origin + received
        terms = {
            "event": row[1] - row[2],
            "channel": server(view[1]) - (origin + row[1]),
            "tick": 1e3 * (view[2] - view[1]),
            "render": 1e3 * (view[3] - view[2]),
            "handover": 1e3 * (begin - view[3]),
            "encode": 1e3 * (end - begin),
            "send": 1e3 * (left - end),
            "network": arrived - server(left),
            "jitter buffer": waits,
            "decode": decoding,
            "present": now - received - waits - decoding,
            "sum": now - row[2],
            "motion to photon": now - row[1],
        }
        found.append(terms)
    return found


def table(samples: list[Sample]) -> dict[str, Any]:
    """Mean, p50 and p95 of each term; the means add up to the mean of the whole."""
    rows = [terms for sample in samples for terms in follow(sample)]
    if not rows:
        return {"not measured": "no frame could be followed"}
    found: dict[str, Any] = {
        name: {**percentiles([row[name] for row in rows], 2), "what": TERMS.get(name, "")}
        for name in (*TERMS, "sum", "motion to photon")
    }
    found["frames"] = len(rows)
    found["least_of_channel_and_network_ms"] = [
        round(min(row[name] for row in rows), 2) for name in ("channel", "network")
    ]
    return found


def markdown(found: dict[str, Any]) -> str:
    """The table for the README."""
    if "frames" not in found:
        return str(found)
    lines = ["| from the event to the picture | mean ms | p50 | p95 |", "|---|---:|---:|---:|"]
    for name, words in {**TERMS, "sum": "**event to presented frame**"}.items():
        row = found[name]
        lines.append(f"| {words} | {row['mean']:.1f} | {row['p50']:.1f} | {row['p95']:.1f} |")
    row = found["motion to photon"]
    lines.append(
        f"| of this motion to photon, from the sending on | {row['mean']:.1f} | {row['p50']:.1f}"
        f" | {row['p95']:.1f} |"
    )
    return "\n".join(lines)
