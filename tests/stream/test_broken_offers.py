"""Offers that were damaged on their way: each is answered with 201 or with 4xx in words, and
nothing of it is left, neither in the server nor in its log."""

from __future__ import annotations

import gc
import logging
import os
import random

import pytest

from tests.stream.conftest import Start
from tests.stream.peers import SDP, until
from tests.stream.test_freeing import Traces

DAMAGES = 50
SEED = int(os.environ.get("VISAVIS_SEED", "8840"))


def damage(offer: str, chance: random.Random) -> str:
    """The offer with one to three lines gone, doubled, moved, cut, or with another number."""
    lines = offer.splitlines()
    for _ in range(chance.choice((1, 1, 2, 3))):
        place = chance.randrange(1, len(lines))
        line = lines[place]
        match chance.randrange(6):
            case 0:
                del lines[place]
            case 1:
                lines.insert(chance.randrange(1, len(lines)), line)
            case 2:
                lines.insert(chance.randrange(1, len(lines)), lines.pop(place))
            case 3:
                lines[place] = line[: chance.randrange(len(line))]
            case 4:
                digits = [n for n, letter in enumerate(line) if letter.isdecimal()]
                if digits:
                    at = chance.choice(digits)
                    number = chance.choice(("", "0", "-1", "7", "999999999999", "x"))
                    lines[place] = line[:at] + number + line[at + 1 :]
            case 5:
                name, colon, _ = line.partition(":")
                lines[place] = name + colon + chance.choice(("", "*", "a b c d", "=;=;/"))
    return "\r\n".join(lines) + "\r\n"


@pytest.mark.parametrize("kind", ["caller", "receiver"])
async def test_damaged_offers(start: Start, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    server = await start()
    slug = server.ready()
    await server.http.get("/healthz")
    client = await (server.caller() if kind == "caller" else server.receiver(slug))
    offer = await client.offer()
    traces = Traces()
    chance = random.Random(SEED)
    accepted = 0
    for number in range(DAMAGES):
        text = damage(offer, chance)
        response = await server.http.post(client.path, content=text, headers=SDP)
        assert response.status_code in (201, 400), (number, response.text, text)
        if response.status_code == 201:
            accepted += 1
            left = await server.http.delete(response.headers["Location"])
            assert left.status_code in (200, 404), number
        else:
            assert response.json()["detail"], number
    assert 0 < accepted < DAMAGES
    await until(lambda: list(server.calls) == [slug], "the calls to end")
    assert server.calls[slug].receivers == {}
    await traces.gone()
    gc.collect()  # errors of tasks that nobody waited for are logged when the tasks go
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    # asyncio's debug mode notes every step of a task that takes long, as some do on a busy machine.
    assert [text for text in said if not text.startswith("Executing <")] == []
