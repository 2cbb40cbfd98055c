"""Documents of turn mode: what is asked of pictures, and how far noise lies below a voice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import make_config, make_tokenizers, needs_world

from quintet.config import STEP_SAMPLES
from quintet.data import documents
from quintet.data.documents import NOISE_BELOW, DocumentMaker, Material
from quintet.data.world.grammar import how_many, request
from quintet.data.world.pictures import picture_of_several
from quintet.timeline.streams import Modality, Stream


@needs_world
def test_of_pictures_it_is_asked_what_they_are_and_whether_they_are_that() -> None:
    """In a message of their own and in conversations, where the picture comes first."""
    config = make_config()
    tokenizers = make_tokenizers(config)
    maker = DocumentMaker(config, tokenizers, Material.make(config, tokenizers, 1, 0))
    begins = {"This is": 0, "Yes, this is": 0, "No, this is": 0}
    for seed in range(24):
        rows = maker.description(np.random.default_rng(seed)).rows
        answer = tokenizers.text.decode(
            rows.tokens[rows.stream == Stream.TEXT_OUT, 0][:-1].tolist()
        )
        begins[answer.rsplit(" ", 2)[0]] += 1
        assert (rows.modality == Modality.IMAGE).sum() == config.image.num_tokens
    assert min(begins.values()) > 2
    for kind, pictures in (("name", 1), ("check", 1), ("greet", 0)):
        rng = np.random.default_rng(0)
        asked = maker.question(request(kind, rng), rng).turns()
        assert (asked.modality == Modality.IMAGE).sum() == pictures * config.image.num_tokens


@needs_world
def test_of_some_it_is_asked_how_many_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[Any, int]] = []

    def draw(thing: Any, count: int, *rest: Any) -> Any:
        shown.append((thing, count))
        return picture_of_several(thing, count, *rest)

    monkeypatch.setattr(documents, "picture_of_several", draw)
    config = make_config()
    tokenizers = make_tokenizers(config)
    maker, numbers = DocumentMaker(config, tokenizers, Material({}, {})), set[str]()
    for seed in range(24):
        sample, said = (make(np.random.default_rng(seed)) for make in (maker.counting, how_many))
        rows = sample.rows
        (asked, written) = (
            tokenizers.text.decode(rows.tokens[rows.stream == stream, 0][:-1].tolist())
            for stream in (Stream.TEXT_IN, Stream.TEXT_OUT)
        )
        assert written == said.reply and said.text.rstrip(".?").lower() in asked.lower()
        assert shown.pop() == (said.thing, said.count)
        assert (rows.modality == Modality.IMAGE).sum() == config.image.num_tokens
        numbers.add(said.reply.split()[0])
    assert numbers == {"One", "Two", "Three", "Four", "Five"}


@needs_world
def test_noise_lies_below_the_voice_as_far_as_it_says() -> None:
    config, heard = make_config(), list[np.ndarray]()
    maker = DocumentMaker(config, make_tokenizers(config), Material({}, {}))
    maker.tokenizers = SimpleNamespace(encode_audio=heard.append)  # type: ignore[assignment]
    for seed in range(40):
        maker.speech_of("hello.", np.random.default_rng(seed))
    below = []
    for sound in heard:
        assert len(sound) % STEP_SAMPLES == 0
        after = sound[-STEP_SAMPLES:]  # nobody speaks any more
        if after.any():
            below.append(20 * np.log10(np.abs(sound).max() / np.std(after)))
    nearest, farthest = NOISE_BELOW
    assert 20 < len(below) < 40  # some have no noise
    assert nearest - 4 < min(below) < nearest + 10 and farthest - 10 < max(below) < farthest + 4
