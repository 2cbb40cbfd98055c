"""Bodies of HTTP requests: forms of any content, and streams that a client leaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import pytest
import torch

from quintet.live.turns import TurnReply
from quintet.serve.api.problems import RequestError
from quintet.serve.api.settings import validated
from quintet.serve.rest import requests
from quintet.serve.rest.chat_api import ChatRequest, Completion
from quintet.serve.rest.requests import form
from quintet.serve.turn_mode import TurnMode

TYPE = "multipart/form-data; boundary=edge"


def _body(*fields: tuple[str, bytes], end: bytes = b"--") -> bytes:
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + content
        for name, content in fields
    ]
    return b"\r\n".join([*parts, b"--edge" + end + b"\r\n"])


@pytest.mark.parametrize(
    "content", [b"", b"\r\n", b"x--edge", b"\r\n\r\n--", bytes(range(256)) * 3, b"a\n\rb\n"]
)
def test_a_file_comes_out_as_it_went_in(content: bytes) -> None:
    assert form(TYPE, _body(("file", content), ("model", b"x"))) == {"file": content, "model": b"x"}
    quoted = 'Multipart/Form-Data; boundary="edge"'
    assert form(quoted, b"preamble\r\n" + _body(("file", content)))["file"] == content


def test_no_form_is_told_and_a_flood_of_fields_is_not_parsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for kind in ("application/json", "multipart/form-data", "multipart/form-data; boundary=", ""):
        with pytest.raises(RequestError, match="multipart/form-data"):
            form(kind, _body(("a", b"1")))
    assert form(TYPE, b"nothing") == {}
    parsed: list[bytes] = []
    parse = requests.message_from_bytes
    monkeypatch.setattr(
        requests,
        "message_from_bytes",
        lambda data, **kind: (parsed.append(data), parse(data, **kind))[1],
    )
    with pytest.raises(RequestError, match="64 parts"):
        form(TYPE, _body(*[("a", b"1")] * 1_000))
    with pytest.raises(RequestError, match="64 parts"):
        form(TYPE, _body(*[("a", b"1")] * 65))
    assert parsed == []
    assert len(form(TYPE, _body(*[(f"a{number}", b"1") for number in range(64)]))) == 64
    parsed.clear()
    assert form(TYPE, _body(("a", b"\n" * 2_000_000)))["a"] == b"\n" * 2_000_000
    assert form(TYPE, _body(("a" * 9_000, b"1"), ("b", b"2"))) == {"b": b"2"}
    assert sum(map(len, parsed)) < 1_000  # never what the fields hold


@pytest.mark.parametrize("broken", ["boundary*=idna''x..y", "boundary*=utf-16''x", "boundary*"])
def test_a_boundary_over_which_the_parser_of_heads_trips_is_none(broken: str) -> None:
    with pytest.raises(RequestError, match="multipart/form-data"):
        form("multipart/form-data; " + broken, _body(("a", b"1")))


def test_a_name_over_which_the_parser_of_heads_trips_is_none() -> None:
    part = b"--edge\r\nContent-Disposition: form-data; name*=a; name*0=b\r\n\r\nx\r\n"
    assert form(TYPE, part + _body(("a", b"1"))) == {"a": b"1"}


@pytest.mark.parametrize(
    ("seed", "taken"),
    [(None, True), (-(2**63), True), (2**63 - 1, True), (-(2**63) - 1, False), (2**63, False),
     (2**64, False)],
)  # fmt: skip
def test_a_seed_is_one_that_a_generator_takes(seed: int | None, taken: bool) -> None:
    values = {"messages": [{"role": "user", "content": "hi"}], "seed": seed}
    if not taken:
        with pytest.raises(RequestError) as refused:
            validated(ChatRequest, values, "body")
        assert refused.value.param == "body.seed"
        return
    asked = validated(ChatRequest, values, "body")
    if asked.seed is not None:
        torch.Generator().manual_seed(asked.seed)


def test_who_leaves_a_stream_leaves_nothing_behind() -> None:
    begun, finish = threading.Event(), threading.Event()

    class Slow:
        voices: ClassVar[dict[str, np.ndarray]] = {}

        def chat(
            self,
            messages: Sequence[dict[str, object]],
            seed: int = 0,
            *,
            tell: Callable[[str], None] | None = None,
            pause: Callable[[], None] | None = None,
            voice: str | None = None,
        ) -> TurnReply:
            assert tell is not None
            tell("one ")
            begun.set()
            finish.wait(10)
            return TurnReply("one ", [], np.zeros(0, np.float32))

    async def leave() -> set[asyncio.Task[None]]:
        turns = TurnMode(Slow())
        asked = ChatRequest(messages=[{"role": "user", "content": "hi"}], stream=True)
        completion = Completion("any", asked, turns)
        await completion.prepare()

        async def read() -> None:
            async for _ in completion.pieces():
                pass

        reading = asyncio.create_task(read())
        await asyncio.to_thread(begun.wait, 10)
        await asyncio.sleep(0.05)
        reading.cancel()
        await asyncio.wait([reading])
        finish.set()
        turns.close()
        for _ in range(5):
            await asyncio.sleep(0)
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(leave()) == set()
