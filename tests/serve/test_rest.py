"""An unmodified `openai` client on the HTTP API."""

from __future__ import annotations

import base64
import io
import itertools
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
import soundfile
from fake import FakeModel
from openai import OpenAI
from PIL import Image
from running import RunningServer

from quintet.config import SAMPLE_RATE
from quintet.live import load
from quintet.serve import turn_mode
from quintet.serve.keys import Keys
from quintet.serve.rest import requests
from quintet.serve.rest.sound_api import spoken_pieces

KEY = "a-key-of-sixteen-and-more"
Messages = list[Any]


@pytest.fixture(scope="module")
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture(scope="module")
def server(model: FakeModel) -> Iterator[RunningServer]:
    server = RunningServer(model, keys=Keys([KEY]))
    yield server
    server.stop()


@pytest.fixture
def client(server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(api_key=KEY, base_url=server.address + "v1", max_retries=0) as client:
        yield client


def wav(seconds: float, spoken: bool = True) -> bytes:
    sound = 0.3 * np.sin(np.arange(int(seconds * SAMPLE_RATE)) / 9) * spoken
    file = io.BytesIO()
    soundfile.write(file, sound, SAMPLE_RATE, format="WAV")
    return file.getvalue()


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (30, 20), "blue").save(file, "PNG")
    return file.getvalue()


def user(*parts: Any) -> Messages:
    return [{"role": "user", "content": list(parts)}]


def test_the_model_is_listed(client: OpenAI) -> None:
    name = client.models.list().data[0].id
    assert client.models.retrieve(name).id == name
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("another")
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model=name, input="x")


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "v1/chat/completions", 405, "POST"),
        ("OPTIONS", "v1/audio/speech", 405, "POST"),
        ("POST", "v1/models", 405, "GET"),
        ("GET", "v1/models/a%0Ab", 404, None),  # a line break, which no route matches
        ("DELETE", "v1/files/1", 404, None),
    ],
)
def test_what_is_not_there_is_told_in_the_same_shape(
    server: RunningServer, method: str, path: str, status: int, allowed: str | None
) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(server.address + path, None, headers, method=method)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == status and refused.value.headers["Allow"] == allowed
    assert json.loads(refused.value.read())["error"]["message"].endswith(".")


def test_words_pictures_and_sound_go_in(client: OpenAI, model: FakeModel) -> None:
    picture = "data:image/png;base64," + base64.b64encode(png()).decode()
    messages: Messages = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi"},
        *user(
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": picture}},
            {"type": "input_audio",
             "input_audio": {"data": base64.b64encode(wav(0.5)).decode(), "format": "wav"}},
        ),
    ]  # fmt: skip
    answer = client.chat.completions.create(model="any", messages=messages, seed=3)
    assert answer.choices[0].message.content == "you gave look a picture 0.50 s"
    assert [message["role"] for message in model.chats[-1]] == ["user", "assistant", "user"]


def test_sound_comes_out(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="any", messages=user({"type": "text", "text": "hello"}),
        modalities=["text", "audio"], audio={"voice": "alloy", "format": "wav"},
    )  # fmt: skip
    said = answer.choices[0].message.audio
    assert said is not None and said.transcript == "you gave hello"
    sound, rate = soundfile.read(io.BytesIO(base64.b64decode(said.data)))
    assert rate == SAMPLE_RATE and len(sound) == 6_000


def test_answers_stream(client: OpenAI) -> None:
    hello = user({"type": "text", "text": "hello"})
    chunks = list(client.chat.completions.create(model="any", messages=hello, stream=True))
    words = [chunk.choices[0].delta.content for chunk in chunks]
    assert words == ["", "you", " gave", " ", "hello", None]
    assert chunks[-1].choices[0].finish_reason == "stop"
    spoken = list(
        client.chat.completions.create(
            model="any", messages=hello, stream=True, modalities=["text", "audio"],
            audio={"voice": "alloy", "format": "pcm16"},
        )
    )  # fmt: skip
    parts = [chunk.choices[0].delta.audio for chunk in spoken[1:-1]]  # type: ignore[attr-defined]
    assert "".join(getattr(part, "transcript", None) or "" for part in parts) == "you gave hello"
    assert len(base64.b64decode(parts[-1].data)) == 12_000


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "tool", "content": "x", "tool_call_id": "1"}], "messages.0.role"),
        (user({"type": "file", "file": {}}), "messages.0.content.0"),
        (user({"type": "image_url", "image_url": {"url": "http://10.0.0.1/x.png"}}),
         "messages.0.content.0"),
        (user({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}),
         "messages.0.content.0"),
        (user({"type": "text", "text": "refuse"}), "messages"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_bad_messages_are_refused(
    client: OpenAI, messages: Messages, param: str, stream: bool
) -> None:
    with pytest.raises(openai.APIError) as refused:
        list(client.chat.completions.create(model="any", messages=messages, stream=stream))
    assert refused.value.param == param and refused.value.type == "invalid_request_error"


def test_a_broken_model_is_told_as_such(client: OpenAI) -> None:
    crash = user({"type": "text", "text": "crash"})
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="any", messages=crash)
    with pytest.raises(openai.APIError) as failed:
        list(client.chat.completions.create(model="any", messages=crash, stream=True))
    assert failed.value.code == "model_failed"


@pytest.mark.parametrize("kind", ["mp3", "wav", "flac", "opus", "pcm"])
def test_speech(client: OpenAI, kind: Any) -> None:
    data = client.audio.speech.create(
        model="any", voice="alloy", input="hello", response_format=kind
    ).content
    if kind == "pcm":
        assert len(data) == 12_000
    else:
        sound, _ = soundfile.read(io.BytesIO(data))
        assert len(sound) >= 6_000
    with pytest.raises(openai.BadRequestError, match="choose one"):
        client.audio.speech.create(model="any", voice="x", input="y", response_format="aac")
    with pytest.raises(openai.BadRequestError, match="nothing to say"):
        client.audio.speech.create(model="any", voice="x", input=" \n")


def test_transcripts(client: OpenAI) -> None:
    def write(kind: Any) -> Any:
        return client.audio.transcriptions.create(
            model="any", file=("a.wav", wav(1)), response_format=kind
        )

    words = "you gave transcribe this. 1.00 s"
    assert write("json").text == words
    assert write("text") == words + "\n"
    assert write("srt") == f"1\n00:00:00,000 --> 00:00:01,000\n{words}\n\n"
    assert write("vtt").startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n")
    verbose = write("verbose_json")
    assert verbose.duration == 1 and verbose.segments[0].text == words
    events = list(
        client.audio.transcriptions.create(model="any", file=("a.wav", wav(1)), stream=True)
    )
    assert [event.type for event in events] == ["transcript.text.delta", "transcript.text.done"]
    assert events[-1].text == words  # type: ignore[union-attr]
    silence = client.audio.transcriptions.create(model="any", file=("a.wav", wav(1, False)))
    assert silence.text == ""
    with pytest.raises(openai.BadRequestError):
        client.audio.transcriptions.create(model="any", file=("a.wav", b"no sound"))


def test_files_are_cut_at_pauses() -> None:
    tone, still = np.full(SAMPLE_RATE, 0.3, np.float32), np.zeros(SAMPLE_RATE, np.float32)
    pieces = spoken_pieces(np.concatenate([still, tone, still, tone, tone, still]))
    assert len(pieces) == 2
    assert pieces[0][0] <= SAMPLE_RATE and 2 * SAMPLE_RATE <= pieces[0][1] <= pieces[1][0]
    assert pieces[1][0] <= 3 * SAMPLE_RATE and pieces[1][1] >= 5 * SAMPLE_RATE
    tone[:1_000] = 0  # between words
    long = spoken_pieces(np.tile(tone, 40))
    assert long[0][0] == 0 and long[-1][1] == 40 * SAMPLE_RATE
    assert all(end == begin for (_, end), (begin, _) in itertools.pairwise(long))


def test_pictures_are_drawn(client: OpenAI, model: FakeModel) -> None:
    drawn = client.images.generate(model="any", prompt="a cat", n=2).data or []
    assert len(drawn) == 2
    picture = Image.open(io.BytesIO(base64.b64decode(drawn[0].b64_json or "")))
    assert picture.size == (48, 48)
    assert model.chats[-1][0]["content"] == "draw a cat"
    with pytest.raises(openai.BadRequestError):
        client.images.generate(model="any", prompt="a cat", response_format="url")


def test_who_may_not_ask(
    server: RunningServer, client: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OpenAI(api_key="wrong", base_url=server.address + "v1") as stranger:
        with pytest.raises(openai.AuthenticationError) as refused:
            stranger.models.list()
        assert refused.value.code == "invalid_api_key"

    def status(body: bytes, **headers: str) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {KEY}"} | headers
        request = urllib.request.Request(
            server.address + "v1/chat/completions", body, headers, method="POST"
        )
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(request)
        return error.value.code, json.loads(error.value.read())["error"]["code"]

    assert status(b"{}", Origin="https://evil.example") == (403, "foreign_origin")
    assert status(b"[" * 100_000) == (400, "invalid_json")
    assert status(b'{"messages": []}') == (400, "invalid_value")
    monkeypatch.setattr(requests, "MAX_BODY", 1_000)
    assert status(b" " * 2_000) == (413, "request_too_large")
    monkeypatch.setattr(requests, "MAX_COMING", 100)  # of all that are on their way
    assert status(b" " * 200) == (429, "busy")
    for _ in range(3):  # nothing is on its way any more
        assert status(b" " * 90) == (400, "invalid_json")
    monkeypatch.undo()
    monkeypatch.setattr(turn_mode, "WAITING", 0)
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(
            model="any", messages=user({"type": "text", "text": "hello"})
        )


def test_the_bundled_model_answers() -> None:
    server = RunningServer(load("nano"))
    try:
        with OpenAI(api_key="any", base_url=server.address + "v1") as client:
            ask = user({"type": "text", "text": "count to three."})
            chunks = list(client.chat.completions.create(model="nano", messages=ask, stream=True))
            words = [chunk.choices[0].delta.content or "" for chunk in chunks]
            assert "".join(words) == "One, two, three." and len(words) > 4
            said = client.audio.speech.create(
                model="nano", voice="quintet", input="banana", response_format="wav"
            )
            sound, _ = soundfile.read(io.BytesIO(said.content))
            assert len(sound) > SAMPLE_RATE // 2 and sound.std() > 0.01
            assert client.images.generate(model="nano", prompt="a cat").data
    finally:
        server.stop()
