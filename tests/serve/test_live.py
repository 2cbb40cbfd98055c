"""The live protocol in process: what goes in comes to the session, what comes out is sent."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fake import FakeModel
from fastapi.testclient import TestClient
from PIL import Image
from starlette.testclient import WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from quintet.config import STEP_SAMPLES, UserError
from quintet.live.sampling import Sampling
from quintet.serve import create_app, protocol
from quintet.serve.protocol import MAX_TEXT, parse_event


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def client(model: FakeModel) -> Iterator[TestClient]:
    with TestClient(create_app(model, max_sessions=1)) as client:
        yield client


@pytest.fixture
def live(client: TestClient) -> Iterator[WebSocketTestSession]:
    with client.websocket_connect("/live") as live:
        assert live.receive_json()["type"] == "hello"
        yield live


def next_event(live: WebSocketTestSession, wanted: Callable[[dict[str, Any]], bool]) -> dict:
    """The next event that `wanted` accepts; sound and other events are passed over."""
    for _ in range(40):
        message = live.receive()
        if message["type"] == "websocket.close":
            raise WebSocketDisconnect(message["code"], message.get("reason"))
        event = json.loads(message["text"]) if message.get("text") else {}
        if event and wanted(event):
            return event
    raise AssertionError("The event never came.")


def of_type(kind: str) -> Callable[[dict[str, Any]], bool]:
    return lambda event: event["type"] == kind


def error(live: WebSocketTestSession) -> str:
    """The next error's message, which must be one sentence."""
    message = next_event(live, of_type("error"))["message"]
    assert message.endswith(".")
    assert "\n" not in message
    return message


def still_alive(live: WebSocketTestSession) -> bool:
    return next_event(live, of_type("step"))["step"] > 0


def png(size: tuple[int, int] = (20, 10)) -> str:
    file = io.BytesIO()
    Image.new("RGB", size, (255, 0, 0)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def test_a_text_is_answered_with_words_and_sound(
    live: WebSocketTestSession, model: FakeModel
) -> None:
    live.send_json({"type": "text", "text": "hello."})
    step = next_event(live, lambda event: event["type"] == "step" and event["text"])
    assert step["text"] == "you wrote hello."
    assert step["text_ended"]
    assert step["counts"]["text_out"] == 4
    assert step["no_output"] == [0.02, 0.01]
    assert step["milliseconds"] == 10
    sound = np.frombuffer(live.receive_bytes(), "<i2")  # speaking: the next frame is sound
    assert sound.shape == (STEP_SAMPLES,)
    assert sound[0] == pytest.approx(16_384, abs=2)
    assert model.texts() == ["hello."]


def test_the_model_runs_in_its_own_thread(live: WebSocketTestSession, model: FakeModel) -> None:
    assert still_alive(live)
    assert {name.split("_")[0] for name in model.threads} == {"model"}


def test_a_drawing_comes_as_it_grows(live: WebSocketTestSession) -> None:
    live.send_json({"type": "text", "text": "draw a cat."})
    images = [next_event(live, of_type("image")) for _ in range(2)]
    assert [image["done"] for image in images] == [False, True]
    data = base64.b64decode(images[0]["data"].removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(data)).size == (192, 192)


def test_sound_reaches_the_session(live: WebSocketTestSession, model: FakeModel) -> None:
    live.send_bytes(np.full(3 * STEP_SAMPLES, 8_192, "<i2").tobytes())
    step = next_event(live, lambda event: event.get("input_level", 0) > 0)
    assert step["input_level"] == pytest.approx(0.25, abs=0.001)
    heard = next(audio for audio, _, _ in model.heard if audio.any())
    assert heard.dtype == np.float32
    assert heard.shape == (STEP_SAMPLES,)


def test_a_picture_reaches_the_session(live: WebSocketTestSession, model: FakeModel) -> None:
    live.send_json({"type": "image", "data": png()})
    next_event(live, lambda event: event.get("text") == "I see it.")
    seen = next(image for _, image, _ in model.heard if image is not None)
    assert seen.shape == (10, 20, 3)
    assert seen[0, 0].tolist() == [255, 0, 0]


def test_steps_are_told_in_order(live: WebSocketTestSession) -> None:
    """None is left out or told twice; when they come is a matter of `test_clock`."""
    first = next_event(live, of_type("step"))["step"]
    steps = [next_event(live, of_type("step"))["step"] for _ in range(6)]
    assert steps == list(range(first + 1, first + 7))


def test_reset_begins_a_new_conversation(live: WebSocketTestSession, model: FakeModel) -> None:
    assert still_alive(live)
    sessions = model.num_sessions
    live.send_json({"type": "reset"})
    next_event(live, of_type("reset"))
    assert next_event(live, of_type("step"))["step"] == 1
    assert model.num_sessions == sessions + 1


def test_temperatures_reach_the_session_and_outlast_a_reset(
    live: WebSocketTestSession, model: FakeModel
) -> None:
    live.send_json({"type": "sampling", "text_temperature": 1, "audio_temperature": 0.5})
    live.send_json({"type": "reset"})
    next_event(live, of_type("reset"))
    assert still_alive(live)
    wanted = Sampling(text_temperature=1.0, audio_temperature=0.5)
    assert model.sampled in ([wanted], [wanted, wanted])  # before and after the reset, or after
    live.send_json({"type": "sampling"})  # as the server has it
    for _ in range(3):
        assert still_alive(live)
    assert model.sampled[-1] == Sampling()


@pytest.mark.parametrize(
    "frame",
    [
        "this is not JSON",
        "[" * 100_000,
        "[" + "[]," * 100_000 + "[]]",
        "[]",
        '{"type": "dance"}',
        '{"type": "text"}',
        '{"type": "text", "text": "   "}',
        '{"type": "text", "text": ["a"]}',
        json.dumps({"type": "text", "text": "a" * (MAX_TEXT + 1)}),
        '{"type": "image", "data": "https://example.org/cat.png"}',
        '{"type": "image", "data": "data:image/svg+xml;base64,AAAA"}',
        '{"type": "image", "data": "data:image/png;base64,###"}',
        '{"type": "image", "data": "data:image/png;base64,AAAA"}',
        '{"type": "text", "text": "refuse"}',
        '{"type": "sampling", "text_temperature": -0.1}',
        '{"type": "sampling", "text_temperature": 1e999}',
        '{"type": "sampling", "audio_temperature": NaN}',
        '{"type": "sampling", "audio_temperature": true}',
        '{"type": "sampling", "image_temperature": "hot"}',
    ],
)
def test_a_bad_message_is_an_error_and_the_session_goes_on(
    live: WebSocketTestSession, frame: str
) -> None:
    live.send_text(frame)
    assert error(live)
    assert still_alive(live)


def test_a_refused_text_takes_no_picture_with_it(
    live: WebSocketTestSession, model: FakeModel
) -> None:
    live.send_json({"type": "image", "data": png()})
    live.send_json({"type": "text", "text": "refuse"})
    assert error(live)
    next_event(live, lambda event: event.get("text") == "I see it.")
    assert sum(image is not None for _, image, _ in model.heard) == 1


def test_half_a_surrogate_pair_does_not_reach_the_tokenizer(
    live: WebSocketTestSession, model: FakeModel
) -> None:
    live.send_text('{"type": "text", "text": "a\\ud800"}')
    next_event(live, lambda event: bool(event.get("text")))
    assert model.texts() == ["a?"]


@pytest.mark.parametrize("frame", [b"\0", b"\0" * 200_000])
def test_bad_sound_is_an_error_and_the_session_goes_on(
    live: WebSocketTestSession, frame: bytes
) -> None:
    live.send_bytes(frame)
    assert error(live)
    assert still_alive(live)


def test_pictures_that_come_too_fast_are_refused(live: WebSocketTestSession) -> None:
    for _ in range(5):
        live.send_json({"type": "image", "data": png()})
    assert "too fast" in error(live)
    assert still_alive(live)


def test_many_brackets_are_refused_before_they_are_parsed() -> None:
    with pytest.raises(UserError, match="Only a picture"):
        parse_event("[" + "[]," * 2_000_000 + "[]]")


def test_a_picture_that_comes_too_fast_is_not_even_decoded(
    live: WebSocketTestSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    monkeypatch.setattr(
        protocol, "decode_picture", lambda body: decoded.append(body) or np.zeros((2, 2, 3), "u1")
    )
    for _ in range(6):
        live.send_json({"type": "image", "data": png()})
    assert "too fast" in error(live)
    assert still_alive(live)
    assert len(decoded) == 4


def test_a_flood_of_bad_messages_is_closed(live: WebSocketTestSession) -> None:
    for _ in range(30):
        live.send_text("{")
    with pytest.raises(WebSocketDisconnect) as closed:
        next_event(live, lambda event: False)
    assert closed.value.code == 1008


def test_a_session_that_fails_closes_alone_with_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    with TestClient(create_app(FakeModel(), max_sessions=2)) as client:
        with (
            client.websocket_connect("/live") as failing,
            client.websocket_connect("/live") as other,
        ):
            failing.send_json({"type": "text", "text": "crash"})
            assert "model failed" in error(failing)
            assert failing.receive()["code"] == 1011
            other.send_json({"type": "text", "text": "hello"})
            assert still_alive(other)
        assert 'quintet_closed_total{code="1011"} 1' in client.get("/metrics").text
    failures = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(failures) == 1
    message = failures[0].getMessage()
    assert message.startswith("A live session failed. RuntimeError in ")
    assert "step (fake.py:" in message and "the fake is broken" not in message


def test_a_full_server_says_so_and_a_place_is_free_again(client: TestClient) -> None:
    with client.websocket_connect("/live") as first:
        assert first.receive_json()["type"] == "hello"
        with client.websocket_connect("/live") as second:
            assert "try again later" in second.receive_json()["message"]
            closed = second.receive()
            assert closed["code"] == 1013
            assert "taken" in closed["reason"]
        assert client.get("/ready").status_code == 503
    for _ in range(50):
        if client.get("/ready").json()["sessions"] == 0:
            break
        time.sleep(0.02)
    with client.websocket_connect("/live") as third:
        assert third.receive_json()["type"] == "hello"
    assert 'quintet_rejected_total{reason="full"} 1' in client.get("/metrics").text


def test_a_slow_machine_takes_no_second_conversation() -> None:
    app = create_app(FakeModel(seconds=0.2), max_sessions=4)
    with TestClient(app) as client, client.websocket_connect("/live") as first:
        next_event(first, of_type("step"))
        with client.websocket_connect("/live") as second:
            assert "too slow" in second.receive_json()["message"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://testserver:81", "http://["]
)
def test_other_websites_cannot_connect(client: TestClient, origin: str) -> None:
    headers = {"origin": origin}
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/live", headers=headers):
        pass


def test_the_page_of_this_server_can(client: TestClient) -> None:
    with client.websocket_connect("/live", headers={"origin": "http://testserver"}) as live:
        assert live.receive_json()["preset"] == "nano"
