"""Who talks to the server may choose the voice that it answers in, whatever protocol they speak."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import run
from fake import FakeModel
from fastapi.testclient import TestClient
from running import RunningServer
from scripted_output import silent, speaking
from starlette.testclient import WebSocketTestSession
from talk import Talk
from test_dialogue import LOUD, QUIET
from test_live import error, next_event, of_type, still_alive
from websockets.sync.client import connect

from quintet.config import STEP_SAMPLES
from quintet.live.pretrained import Quintet
from quintet.live.recording import Recording
from quintet.serve import connection, create_app
from quintet.serve.api.problems import RequestError
from quintet.serve.conductor import Conductor
from quintet.serve.protocol import encode_sound
from quintet.serve.realtime.dialogue import Dialogue
from quintet.serve.realtime.realtime_socket import RealtimeConnection
from quintet.serve.recorder import RecordedModel, Recorder
from quintet.serve.voices import known_voice, voice_header, voice_names

LINDA, OTHER = [[1, 2, 3]], [[4, 5, 6], [7, 8, 9]]
VOICES = {"linda": np.array(LINDA, np.int32), "quintet": np.array(OTHER, np.int32),
          "otto": np.array(OTHER, np.int32)}  # fmt: skip


@pytest.fixture
def model() -> FakeModel:
    model = FakeModel()
    model.voices = VOICES
    return model


@pytest.fixture
def client(model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(connection, "STEP_SECONDS", 0.02)
    with TestClient(create_app(model, max_sessions=1)) as client:
        while not client.get("/ready").json()["warm"]:
            time.sleep(0.01)
        model.speakers.clear()
        yield client


def test_the_own_voice_is_first_and_no_other_takes_its_name(model: FakeModel) -> None:
    assert voice_names(model) == ["quintet", "linda", "otto"]
    assert voice_names(FakeModel()) == ["quintet"]
    assert known_voice("linda", model) == "linda"
    model.voices = {"Zoë\n": VOICES["linda"]}  # a header is ASCII, and one line
    assert voice_header("Zoë\n", model) == {"Quintet-Voice": "Zo%C3%AB%0A"}
    for none in (None, "quintet", "alloy", "Linda", "", 3, ["linda"], {"id": "linda"}):
        assert known_voice(none, model) is None


# ---- the page's protocol


def test_a_voice_begins_a_new_conversation_and_holds_for_later_ones(
    client: TestClient, model: FakeModel
) -> None:
    with client.websocket_connect("/live") as live:
        assert live.receive_json()["voices"] == ["quintet", "linda", "otto"]
        assert still_alive(live)
        for event, codes in (
            ({"type": "voice", "name": "linda"}, LINDA), ({"type": "reset"}, LINDA),
            ({"type": "voice", "name": "otto"}, OTHER),
            ({"type": "voice", "name": "quintet"}, None), ({"type": "reset"}, None),
        ):  # fmt: skip
            live.send_json(event)
            next_event(live, of_type("reset"))
            assert next_event(live, of_type("step"))["step"] == 1
            assert model.speakers[-1] == codes
    assert model.speakers == [None, LINDA, LINDA, OTHER, None, None]
    with client.websocket_connect("/live") as live:  # the voice is that of one connection
        assert live.receive_json()["type"] == "hello" and still_alive(live)
    assert model.speakers[-1] is None


@pytest.mark.parametrize("name", ["alloy", "", None, 5, ["linda"], "\ud800", "x" * 5_000, ".."])
def test_an_unknown_voice_is_refused_and_the_conversation_goes_on(
    client: TestClient, model: FakeModel, name: Any
) -> None:
    with client.websocket_connect("/live") as live:
        assert live.receive_json()["type"] == "hello"
        live.send_text(json.dumps({"type": "voice", "name": name}))
        message = error(live)
        assert message.endswith("; choose one of: quintet, linda, otto.") and len(message) < 160
        assert still_alive(live)
    assert model.speakers == [None]


def test_what_was_given_before_the_choice_does_not_reach_the_new_conversation(
    client: TestClient, model: FakeModel
) -> None:
    with client.websocket_connect("/live") as live:
        assert live.receive_json()["type"] == "hello"
        live.send_json({"type": "voice", "name": "linda"})
        live.send_json({"type": "text", "text": "hello."})  # after it, so it does
        next_event(live, lambda event: event.get("text") == "you wrote hello.")
    assert model.speakers[-1] == LINDA


# ---- the Realtime API


def _voice(name: object) -> dict[str, Any]:
    return {"type": "realtime", "audio": {"output": {"voice": name}}}


def test_the_voice_may_change_until_something_was_said() -> None:
    talk = Talk(voices=VOICES)
    assert talk.dialogue.voice.name is None
    talk.hear(QUIET)
    talk.write("this waits")  # and is given to whoever is there then
    for name, known in (("linda", "linda"), ("alloy", None), ({"id": "otto"}, "otto")):
        talk.dialogue.update(_voice(name))
        assert talk.dialogue.voice.name == known
        assert talk.last("session.updated")["session"]["audio"]["output"]["voice"] == name
    talk.dialogue.respond(None, None)
    talk.step(silent())
    assert [text for *_, text in talk.given if text] == ["this waits"]
    with pytest.raises(RequestError) as refused:
        talk.dialogue.update(_voice("linda") | {"instructions": "be kind"})
    assert refused.value.code == "cannot_update_voice"
    assert refused.value.param == "session.audio.output.voice"
    assert talk.dialogue.settings.instructions == ""  # the whole update is refused
    talk.dialogue.update(_voice("otto"))  # as it is already


@pytest.mark.parametrize("how", ["heard", "read", "saw", "said"])
def test_whatever_the_model_had_to_do_with_fixes_its_voice(how: str) -> None:
    talk = Talk(voices=VOICES)
    if how == "heard":
        talk.hear(LOUD)
    elif how == "said":
        talk.step(speaking("hi"))
    else:
        talk.dialogue.script.append("hi" if how == "read" else np.zeros((4, 4, 3), np.uint8))
        talk.step(silent())
    with pytest.raises(RequestError):
        talk.dialogue.update(_voice("linda"))
    for none in ("alloy", "marin", "quintet"):  # these are one: the model's own
        talk.dialogue.update(_voice(none))


@pytest.mark.parametrize("how", ["begun", "committed", "timed out"])
def test_a_turn_fixes_the_voice_however_quiet_it_is(how: str) -> None:
    vad: dict[str, Any] = {"type": "server_vad", "threshold": 0.2}
    if how == "timed out":
        vad["idle_timeout_ms"] = 5_000
    talk = Talk({"turn_detection": vad}, voices=VOICES)
    faint = np.random.default_rng(0).standard_normal(STEP_SAMPLES).astype(np.float32)
    faint = encode_sound(np.float32(0.008) * faint)  # less than what is silence to the choice
    talk.hear(*[QUIET] * 4)
    talk.dialogue.update(_voice("linda"))
    talk.events.clear()
    if how == "begun":
        talk.hear(*[faint] * 2)
        assert talk.kinds() == ["input_audio_buffer.speech_started"]
    elif how == "committed":
        talk.dialogue.ears.append(QUIET)
        talk.dialogue.commit()
        talk.step(*[silent()] * 3)
        assert "input_audio_buffer.committed" in talk.kinds()
    else:
        talk.hear(*[QUIET] * 20)
        assert "input_audio_buffer.timeout_triggered" in talk.kinds()
    with pytest.raises(RequestError) as refused:
        talk.dialogue.update(_voice("otto"))
    assert refused.value.code == "cannot_update_voice"


def test_what_is_committed_by_push_to_talk_waits_for_whoever_is_there() -> None:
    talk = Talk({"turn_detection": None}, voices=VOICES)
    talk.dialogue.ears.append(LOUD)
    talk.dialogue.commit()
    talk.dialogue.update(_voice("linda"))
    talk.dialogue.respond(None, None)
    talk.step(silent())
    assert talk.dialogue.voice.name == "linda" and talk.given[-1][0]  # the sound was not lost


def test_a_response_has_no_voice_but_its_session_s() -> None:
    talk = Talk(voices=VOICES)
    talk.dialogue.update(_voice("linda"))
    with pytest.raises(RequestError) as refused:
        talk.dialogue.respond({"audio": {"output": {"voice": "otto"}}}, None)
    assert refused.value.code == "cannot_update_voice"
    assert refused.value.param == "response.audio.output.voice"
    talk.dialogue.respond({"audio": {"output": {"voice": "linda"}}}, None)
    told = talk.last("response.created")["response"]
    assert told["audio"]["output"]["voice"] == "linda"
    other = Talk()
    other.dialogue.respond({"audio": {"output": {"voice": "marin"}}}, None)
    assert other.last("response.created")["response"]["audio"]["output"]["voice"] == "marin"


def _until(live: WebSocketTestSession, kind: str) -> dict[str, Any]:
    return next_event(live, of_type(kind))


def test_a_realtime_session_gets_the_voice_that_it_asks_for(
    client: TestClient, model: FakeModel
) -> None:
    with client.websocket_connect("/v1/realtime?model=x") as live:
        _until(live, "session.created")
        live.send_json({"type": "session.update", "session": _voice("linda")})
        _until(live, "session.updated")
        item = {"type": "message", "role": "user",
                "content": [{"type": "input_text", "text": "hello"}]}  # fmt: skip
        live.send_json({"type": "conversation.item.create", "item": item})
        live.send_json({"type": "response.create"})
        done = _until(live, "response.done")["response"]
        assert done["output"][0]["content"][0]["transcript"] == "you wrote hello"
        live.send_json({"type": "session.update", "session": _voice("otto")})
        assert _until(live, "error")["error"]["code"] == "cannot_update_voice"
        live.send_json({"type": "session.update", "session": _voice("linda")})
        _until(live, "session.updated")
    assert model.speakers in ([LINDA], [None, LINDA])  # the update came before its seat, or after


def test_a_client_secret_begins_a_session_in_its_voice(
    client: TestClient, model: FakeModel
) -> None:
    asked = {"session": _voice("otto")}
    secret = client.post("/v1/realtime/client_secrets", json=asked).json()["value"]
    headers = {"Authorization": f"Bearer {secret}"}
    with client.websocket_connect("/v1/realtime?model=x", headers=headers) as live:
        assert _until(live, "session.created")["session"]["audio"]["output"]["voice"] == "otto"
        live.send_json({"type": "response.create"})
        _until(live, "response.created")
        _until(live, "response.done")
    assert model.speakers == [OTHER]


def test_what_an_old_session_says_to_silence_is_not_the_new_voice_s(
    client: TestClient, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choice comes while a step is being computed that says something by itself."""
    step = RealtimeConnection._ask
    asked = 0

    async def ask(self: RealtimeConnection, *given: Any) -> Any:
        nonlocal asked
        asked += 1
        made = await step(self, *given)
        if asked == 1:
            self.dialogue.update(_voice("linda"))
            return speaking("the old one speaks")
        return made

    monkeypatch.setattr(RealtimeConnection, "_ask", ask)
    with client.websocket_connect("/v1/realtime?model=x") as live:
        assert _until(live, "session.created")
        assert _until(live, "session.updated")
        while asked < 4:
            time.sleep(0.01)
        live.send_json({"type": "input_audio_buffer.clear"})
        assert live.receive_json()["type"] == "input_audio_buffer.cleared"  # and no response
    assert model.speakers == [None, LINDA]


def test_a_choice_during_the_change_to_another_loses_nothing_that_was_given(
    client: TestClient, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew, ask = Conductor.renew, RealtimeConnection._ask
    dialogues: list[Dialogue] = []
    asked: list[tuple[Any, str | None]] = []  # in which voice, and what was read

    async def renew_slowly(self: Conductor, seat: int, voice: str | None = None) -> None:
        await renew(self, seat, voice)
        if voice == "linda":
            dialogues[-1].update(_voice("otto"))
            dialogues[-1].script.append("hello")

    async def ask_and_note(self: RealtimeConnection, *given: Any) -> Any:
        dialogues.append(self.dialogue)
        asked.append((model.speakers[-1], given[3]))
        return await ask(self, *given)

    monkeypatch.setattr(Conductor, "renew", renew_slowly)
    monkeypatch.setattr(RealtimeConnection, "_ask", ask_and_note)
    with client.websocket_connect("/v1/realtime?model=x") as live:
        _until(live, "session.created")
        while not asked:
            time.sleep(0.01)
        live.send_json({"type": "session.update", "session": _voice("linda")})
        _until(live, "session.updated")
        until = time.monotonic() + 10
        while not any(text for _, text in asked) and time.monotonic() < until:
            time.sleep(0.01)
    assert [one for one in asked if one[1]] == [(OTHER, "hello")]
    assert model.speakers == [None, LINDA, OTHER]


# ---- the Live API and HTTP


@pytest.mark.parametrize(("name", "codes"), [("linda", LINDA), ("alloy", None), (None, None)])
def test_a_live_session_starts_in_its_voice(
    client: TestClient, model: FakeModel, name: str | None, codes: list[list[int]] | None
) -> None:
    audio = {"output": {"voice": name}} if name else {}
    with client.websocket_connect("/v1/live/sessions") as live:
        live.send_json({"type": "session.start", "session": {"model": "x", "audio": audio}})
        told = _until(live, "session.started")["session"]["audio"]["output"]["voice"]
        assert told == (name or "quintet")
        _until(live, "session.output_audio.delta")
    assert model.speakers == [codes]


def test_http_answers_in_the_voice_that_is_asked_for(
    client: TestClient, model: FakeModel, tmp_path: Path
) -> None:
    about = client.get("/v1/models").json()["data"][0]
    assert about["voices"] == ["quintet", "linda", "otto"]
    told = client.get("/openapi.json").json()["paths"]["/v1/models"]["get"]["responses"]["200"]
    described = told["content"]["application/json"]["schema"]["properties"]["data"]["items"]
    assert about.keys() == described["properties"].keys() == set(described["required"])
    file = tmp_path / "voice.wav"
    file.write_bytes(b"nobody asks for this")
    hello = [{"role": "user", "content": "hello"}]
    for name, known in (("linda", "linda"), ("alloy", None), (str(file), None), (None, None),
                        ({"id": "otto"}, "otto"), ("quintet", None)):  # fmt: skip
        asked = {"input": "hello", "voice": name, "response_format": "pcm"}
        answered = client.post("/v1/audio/speech", json=asked)
        assert answered.status_code == 200
        assert answered.headers["quintet-voice"] == (known or "quintet")
        assert model.chat_voices[-1] == known
        asked = {"messages": hello, "modalities": ["text", "audio"],
                 "audio": {"voice": name, "format": "wav"}}  # fmt: skip
        for stream in (False, True):
            answered = client.post("/v1/chat/completions", json=asked | {"stream": stream})
            assert answered.status_code == 200
            assert answered.headers["quintet-voice"] == (known or "quintet")
            assert model.chat_voices[-1] == known
    asked = {"messages": hello, "audio": {"voice": "linda"}}
    assert "quintet-voice" not in client.post("/v1/chat/completions", json=asked).headers
    assert model.chat_voices[-1] is None  # nobody hears it


# ---- with a model


def test_the_voice_reaches_the_model_and_its_recording_replays(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    system = Quintet.from_pretrained(model_folder)
    codes = np.random.default_rng(0).integers(16, size=(12, 3)).astype(np.int32)
    system.voices = {"linda": codes}
    recorder = Recorder(tmp_path / "recordings")
    server = RunningServer(RecordedModel(system, recorder))
    loud = (8_000 * np.random.default_rng(0).standard_normal(2 * STEP_SAMPLES)).astype("<i2")
    try:
        with connect(server.address.replace("http", "ws") + "live") as live:
            assert json.loads(live.recv(timeout=20))["voices"] == ["quintet", "linda"]
            live.send(json.dumps({"type": "voice", "name": "linda"}))
            live.send(loud.tobytes())
            steps = 0
            while steps < 4:
                frame = live.recv(timeout=20)
                event = json.loads(frame) if isinstance(frame, str) else {}
                steps = event.get("step", steps) if event.get("type") != "reset" else 0
    finally:
        server.stop()
        recorder.close()
    found = [(file, Recording.load(file)) for file in recorder.folder.iterdir()]
    (file, recording), = [one for one in found if one[1].speaker is not None]  # fmt: skip
    assert recording.speaker is not None and np.array_equal(recording.speaker, codes)
    assert run("replay", file, "--model", model_folder) == 0
    assert "same to the last row" in capsys.readouterr().out
    recording.speaker = None  # the rows depend on it
    recording.save(file)
    assert run("replay", file, "--model", model_folder) == 1
