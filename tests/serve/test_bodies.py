"""Bodies of requests count until they are answered: what waits for a thread has a bound."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from fake import FakeModel

from quintet.config import SAMPLE_RATE
from quintet.serve import create_app
from quintet.serve.rest import requests, sound_api


class Client(httpx.AsyncClient):
    """Of an application in this process."""

    def __init__(self) -> None:
        transport = httpx.ASGITransport(create_app(FakeModel()))
        super().__init__(transport=transport, base_url="http://test/v1")


@pytest.fixture
def go() -> Iterator[threading.Event]:
    """Set at the latest when the test is over, so that no thread waits for ever."""
    event = threading.Event()
    yield event
    event.set()


def test_a_body_counts_until_it_is_answered(
    monkeypatch: pytest.MonkeyPatch, go: threading.Event
) -> None:
    parse, body = requests.parse_json, b'{"messages": [{"role": "user", "content": "hello"}]}'
    begun = threading.Event()

    def held(text: str) -> Any:
        begun.set()
        assert go.wait(30)
        return parse(text)

    monkeypatch.setattr(requests, "parse_json", held)
    monkeypatch.setattr(requests, "MAX_COMING", 2 * len(body) - 1)

    async def job() -> None:
        async with Client() as client:
            first = asyncio.create_task(client.post("/chat/completions", content=body))
            await asyncio.to_thread(begun.wait, 30)
            second = asyncio.create_task(client.post("/chat/completions", content=body))
            done, _ = await asyncio.wait([second], timeout=5)
            go.set()
            assert done and second.result().status_code == 429
            assert (await first).status_code == 200
            for wrong in (body, b"{", b"[" * 100):  # all that is over counts no more
                status = (await client.post("/chat/completions", content=wrong)).status_code
                assert status == (200 if wrong == body else 400)

    asyncio.run(job())


@pytest.mark.parametrize("stream", ["true", "false"])
def test_of_many_sounds_few_are_decoded_at_once(
    monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    """A file of some kilobytes is megabytes once decoded, and waits to be cut into pieces."""
    monkeypatch.setattr(requests, "AT_WORK", 2)
    decode, cut, lock = sound_api.read_audio_bytes, sound_api.spoken_pieces, threading.Lock()
    held = [0]  # sounds, after each that was decoded or cut

    def count(change: int) -> None:
        with lock:
            held.append(held[-1] + change)

    def decoded(*given: Any) -> np.ndarray:
        sound = decode(*given)
        count(1)
        return sound

    def cut_up(sound: np.ndarray) -> list[tuple[int, int]]:
        count(-1)
        return cut(sound)

    monkeypatch.setattr(sound_api, "read_audio_bytes", decoded)
    monkeypatch.setattr(sound_api, "spoken_pieces", cut_up)
    file = io.BytesIO()
    soundfile.write(file, np.zeros(SAMPLE_RATE), SAMPLE_RATE, format="FLAC")

    async def job() -> None:
        async with Client() as client:
            files, path = {"file": file.getvalue()}, "/audio/transcriptions"
            answers = await asyncio.gather(
                *(client.post(path, files=files, data={"stream": stream}) for _ in range(24))
            )
            assert [answer.status_code for answer in answers] == [200] * 24

    asyncio.run(job())
    assert held[-1] == 0 and len(held) == 1 + 2 * 24 and max(held) <= 2
