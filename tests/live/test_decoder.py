"""The tip loop's rows: their places are counted as in training, and its answer says how sure it
was of silence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_config, make_model, make_timeline, make_tokenizers

from quintet.config import STEP_SAMPLES, OmniConfig, TextConfig
from quintet.live.decoder import Answer, TipDecoder
from quintet.live.sampling import Sampling
from quintet.live.session import Session
from quintet.model.cache import KVCache
from quintet.model.embedding import RowTensors
from quintet.timeline.rows import Rows, concatenate
from quintet.timeline.streams import Modality, Stream

HOT = Sampling(text_temperature=1.0, image_temperature=1.0, audio_temperature=1.0, top_p=1.0)
CONFIG = make_config()
TOKENIZERS = make_tokenizers(CONFIG)


def _decoder(config: OmniConfig = CONFIG) -> TipDecoder:
    cache = KVCache(config.model, config.live.max_rows)
    return TipDecoder(make_model(config), TOKENIZERS.text, HOT, 0, cache)


def test_a_session_counts_places_by_modality_and_source() -> None:
    session = Session(make_model(CONFIG), TOKENIZERS, HOT, seed=1)
    seen: list[Rows] = []
    extend = session.decoder.extend

    def record(rows: Rows) -> None:
        seen.append(rows)
        extend(rows)

    session.decoder.extend = record  # type: ignore[method-assign]
    for step in range(6):
        picture = np.full((12, 12, 3), 90, np.uint8) if step % 3 == 1 else None
        session.step(np.zeros(STEP_SAMPLES, np.float32), picture, "hello." if step == 2 else None)
    rows = concatenate(seen)
    for modality in Modality:
        for is_output in (0, 1):
            mine = rows.position[(rows.modality == modality) & (rows.flag == is_output)]
            assert mine.tolist() == list(range(len(mine)))
    assert {(int(m), int(f)) for m, f in zip(rows.modality, rows.flag, strict=True)} >= {
        (Modality.TEXT, 0), (Modality.IMAGE, 0), (Modality.AUDIO, 0), (Modality.AUDIO, 1),
    }  # fmt: skip


def test_rows_that_are_read_are_counted_on_from() -> None:
    rows = make_timeline(CONFIG, 4, 3).rows().shifted(steps=2, positions=30)
    decoder = _decoder()
    decoder.read(rows)
    assert decoder.cache.length == len(rows)
    with torch.inference_mode():
        hidden_BTD = decoder.model(RowTensors.from_rows([rows]))
    torch.testing.assert_close(decoder.hidden_1D, hidden_BTD[:, -1], rtol=1e-4, atol=1e-4)
    for stream, modality, is_output in (
        (Stream.AUDIO_IN, Modality.AUDIO, 0), (Stream.TEXT_OUT, Modality.TEXT, 1),
    ):  # fmt: skip
        before = rows.position[(rows.modality == modality) & (rows.flag == is_output)]
        tokens = np.zeros((2, CONFIG.audio.num_codebooks), np.int32)
        after = decoder.rows(stream, modality, tokens, 9).position
        assert after.tolist() == [before.max() + 1, before.max() + 2]


@torch.inference_mode()
def test_an_answer_tells_how_sure_it_was_of_silence() -> None:
    config = replace(CONFIG, text=TextConfig(TOKENIZERS.text.vocab_size + 2))  # two are free
    decoder = _decoder(config)
    decoder.read(make_timeline(config, 3, 1).rows())
    tip, text = decoder.hidden_1D, TOKENIZERS.text
    assert tip is not None
    words = decoder.model.text_image_head.words(tip)
    words[:, text.vocab_size : -1] = -torch.inf
    no_words = float(words.softmax(-1)[0, -1])
    no_sound = float(decoder.model.audio_head.silence(tip))
    answer = decoder.run(decoder.answer(3, budget=0, frames=0))
    assert answer.no_output == pytest.approx((1.0, no_sound), rel=1e-5)
    assert not answer.text_image and not answer.frames
    length = decoder.cache.length
    answer = decoder.run(decoder.answer(3, budget=2, frames=2))
    assert decoder.cache.length - length == len(answer.text_image) + len(answer.frames)
    assert np.isclose(answer.no_output[0], no_words) and 0 < no_words < 1
    assert len(answer.text_image) <= 2 and len(answer.frames) <= 2
    assert Answer([], []).no_output == (1.0, 1.0)  # who was not asked is silent
    decoder.picture_left = 2  # inside a picture silence is impossible
    answer = decoder.run(decoder.answer(3, budget=2, frames=0))
    assert answer.no_output[0] == 0.0 and decoder.picture_left == 0
    assert [modality for modality, _ in answer.text_image] == [Modality.IMAGE] * 2
