"""A real session behind the socket: untrained, but with the real cache and the real limits."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from running import RunningServer
from websockets.sync.client import ClientConnection, connect

from quintet.live.pretrained import Quintet

FOREIGN = "zqxj " * 400  # a token a character


@pytest.fixture
def live(model_folder: Path) -> Iterator[ClientConnection]:
    server = RunningServer(Quintet.from_pretrained(model_folder))
    try:
        with connect(server.address.replace("http", "ws") + "live", max_size=None) as live:
            assert json.loads(live.recv(timeout=20))["type"] == "hello"
            yield live
    finally:
        server.stop()


def next_event(live: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        frame = live.recv(timeout=20)
        if isinstance(frame, str) and json.loads(frame)["type"] == kind:
            return json.loads(frame)


def show(live: ClientConnection, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(256, size=(40, 60, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    data = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    live.send(json.dumps({"type": "image", "data": data}))


def write(live: ClientConnection, text: str) -> None:
    live.send(json.dumps({"type": "text", "text": text}))


def test_pictures_and_long_texts_never_overflow_the_cache(live: ClientConnection) -> None:
    rows = pictures = 0
    for seed in range(12):
        show(live, seed)
        write(live, FOREIGN[:500])  # the most that a message may hold; five fill the cache
        step = next_event(live, "step")
        rows += step["counts"]["text_in"]
        pictures += step["counts"]["image_in"] > 0
    for _ in range(4):
        last = next_event(live, "step")
    assert rows > 2_048
    assert pictures >= 3
    assert last["step"] > 12


def test_too_long_a_text_is_told_in_characters_and_costs_no_picture(
    live: ClientConnection,
) -> None:
    show(live, 0)
    write(live, FOREIGN[:1_900])
    message = next_event(live, "error")["message"]
    assert "1,900 characters" in message
    assert message.endswith("send it in parts of 510 characters.")
    write(live, FOREIGN[:510])
    while not next_event(live, "step")["counts"]["text_in"]:
        pass
