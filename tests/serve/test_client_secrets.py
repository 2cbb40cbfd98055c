"""Client secrets: made with a key, good for live sessions until they expire, for nothing else."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from fake import FakeModel
from openai import AsyncOpenAI, OpenAI
from openai.types.realtime import ClientSecretCreateResponse
from running import RunningServer
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from quintet.serve import keys
from quintet.serve.api.settings import Settings
from quintet.serve.keys import ClientSecrets, Keys

KEY = "a-key-of-sixteen-and-more"
SESSION: Any = {
    "type": "realtime", "instructions": "be brief", "output_modalities": ["text"],
    "audio": {"input": {"turn_detection": None}},
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    server = RunningServer(FakeModel(), max_sessions=4, keys=Keys([KEY]))
    yield server
    server.stop()


@pytest.fixture
def client(server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(api_key=KEY, base_url=server.address + "v1", max_retries=0) as client:
        yield client


def made(client: OpenAI, **wishes: Any) -> ClientSecretCreateResponse:
    secret = client.realtime.client_secrets.create(**wishes)
    ClientSecretCreateResponse.model_validate(json.loads(secret.model_dump_json()), strict=True)
    assert not secret.model_extra and not secret.session.model_extra
    assert secret.value.startswith("ek_") and len(secret.value) > 40
    return secret


def test_a_secret_opens_sessions_with_the_settings_that_were_bound_to_it(
    server: RunningServer, client: OpenAI
) -> None:
    secret = made(client, session=SESSION, expires_after={"anchor": "created_at", "seconds": 60})
    assert 50 < secret.expires_at - time.time() <= 60

    async def job() -> None:
        async with (
            AsyncOpenAI(api_key=secret.value, base_url=server.address + "v1") as browser,
            browser.realtime.connect(model="fake") as live,
        ):
            created: Any = await live.recv()
            assert created.session.instructions == "be brief"
            assert created.session.output_modalities == ["text"]
            await live.session.update(session={"type": "realtime", "instructions": "be long"})
            assert (await live.recv()).session.instructions == "be long"  # type: ignore[union-attr]

    for _ in range(2):  # one session's changes are not the next one's
        asyncio.run(job())


def test_browsers_send_it_as_a_subprotocol_on_every_socket(
    server: RunningServer, client: OpenAI
) -> None:
    offered: Any = ["realtime", f"openai-insecure-api-key.{made(client).value}"]
    for path in ("v1/realtime", "v1/live/sessions", "live"):
        address = server.address.replace("http", "ws") + path
        with connect(address, subprotocols=offered) as live:
            assert live.subprotocol == "realtime"


def test_it_opens_nothing_else(server: RunningServer, client: OpenAI) -> None:
    secret = made(client)
    with OpenAI(api_key=secret.value, base_url=server.address + "v1", max_retries=0) as browser:
        for ask in (browser.models.list, browser.realtime.client_secrets.create):
            with pytest.raises(openai.AuthenticationError):
                ask()


@pytest.mark.parametrize("known", [[KEY], []])
def test_who_has_an_unknown_one_stays_outside(known: list[str]) -> None:
    server = RunningServer(FakeModel(), keys=Keys(known))
    try:
        headers = {"Authorization": "Bearer ek_unknown"}
        with pytest.raises(InvalidStatus) as refused:
            connect(
                server.address.replace("http", "ws") + "v1/realtime", additional_headers=headers
            )
        assert refused.value.response.status_code == 401
    finally:
        server.stop()


def test_they_expire_are_few_and_only_hashes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(time=lambda: 1_000.0)
    monkeypatch.setattr(keys, "time", clock)
    monkeypatch.setattr(keys, "MAX_SECRETS", 2)
    secrets, settings = ClientSecrets(), Settings()
    first, second = secrets.make(settings, 10), secrets.make(settings, 20)
    assert first and second and first[0] != second[0] and first[1] == 1_010
    assert secrets.make(settings, 10) is None
    assert first[0] not in repr(vars(secrets))
    clock.time = lambda: 1_010.0
    assert secrets.find(first[0]) is None and secrets.find(second[0])
    assert len(secrets) == 1 and secrets.make(settings, 10)


@pytest.mark.parametrize(
    ("wishes", "param"),
    [
        ({"expires_after": {"anchor": "created_at", "seconds": 9}}, "body.expires_after.seconds"),
        ({"expires_after": {"anchor": "created_at", "seconds": 7_201}},
         "body.expires_after.seconds"),
        ({"session": {"type": "transcription"}}, "session.type"),
        ({"session": {"type": "realtime", "colour": 1}}, "session.colour"),
        ({"session": {"type": "realtime", "tools": [{"a": "b" * 70_000}]}}, "session"),
    ],
)  # fmt: skip
def test_what_cannot_be_bound_is_refused(client: OpenAI, wishes: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.realtime.client_secrets.create(**wishes)
    assert refused.value.param == param
