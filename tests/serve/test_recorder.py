"""A server that records: what people said to it replays, and others are told nothing of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_config, run
from running import RunningServer
from websockets.sync.client import ClientConnection, connect

from quintet.config import STEP_SAMPLES
from quintet.live.pretrained import Quintet
from quintet.live.recording import Recording
from quintet.live.sampling import Sampling
from quintet.serve.recorder import RecordedModel, Recorder


def _steps(live: ClientConnection, count: int) -> None:
    while count:
        frame = live.recv(timeout=20)
        count -= isinstance(frame, str) and json.loads(frame)["type"] == "step"


def test_what_two_people_say_replays(model_folder: Path, tmp_path: Path, capsys) -> None:
    recorder = Recorder(tmp_path / "recordings")
    server = RunningServer(RecordedModel(Quintet.from_pretrained(model_folder), recorder), 2)
    address = server.address.replace("http", "ws") + "live"
    loud = (8_000 * np.random.default_rng(0).standard_normal(2 * STEP_SAMPLES)).astype("<i2")
    try:
        with connect(address) as one, connect(address) as other:
            _steps(one, 2)
            one.send(json.dumps({"type": "text", "text": "hello."}))
            other.send(loud.tobytes())
            one.send(loud.tobytes())
            _steps(other, 4)
            _steps(one, 4)
            one.send(json.dumps({"type": "reset"}))
            _steps(one, 4)
    finally:
        server.stop()
    recorder.close()
    files = list(recorder.folder.iterdir())
    assert len(files) == 3
    texts = [text for file in files for text in Recording.load(file).texts.values()]
    assert texts == ["hello."]
    for file in files:
        assert run("replay", file, "--model", model_folder) == 0
        assert "same to the last row" in capsys.readouterr().out
    changed = Recording.load(files[0])
    changed.answers[1].text_image.append((changed.answers[0].text_image or [(0, 1)])[0])
    changed.save(files[0])
    assert run("replay", files[0], "--model", model_folder) == 1
    assert "Different from step 2 of" in capsys.readouterr().out
    assert run("replay", files[0], "--model", "nano") == 2
    assert "another model" in capsys.readouterr().err


def test_a_replay_computes_on_as_many_threads_as_the_server(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    Recording(make_config(), 0, Sampling()).save(tmp_path / "empty.safetensors")
    assert run("replay", tmp_path / "empty.safetensors", "--model", model_folder) == 0
    assert threads == [1]
