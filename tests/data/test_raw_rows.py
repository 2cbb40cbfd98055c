"""A person's documents become the rows that the stages train on, and nothing is lost unsaid."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import make_config, make_tokenizers, needs_world
from raw import png

from quintet.config import SAMPLE_RATE, UserError
from quintet.data.raw_rows import Report, RowMaker
from quintet.data.sources.document import Blob, Document, Picture, Sound
from quintet.data.turn_rows import TURN_TIME
from quintet.media.audio import read_audio
from quintet.media.images import fit_image, read_image_bytes
from quintet.media.speech import Voice, synthesize
from quintet.media.voice_activity import VoiceActivity
from quintet.timeline.streams import Modality, Stream
from quintet.timeline.targets import NOT_ASKED, Sample

CONFIG = make_config()
TOKENIZERS = make_tokenizers(CONFIG)
PICTURE = Picture(Blob.of_bytes(png(0), "a picture"))


def _made(
    document: Document, rows: int = 64, kinds: tuple[str, ...] = ("pretrain",)
) -> tuple[list[tuple[str, Sample]], Report]:
    report = Report()
    maker = RowMaker(CONFIG, TOKENIZERS, rows, kinds)
    return list(maker.samples(document, report)), report


def test_text_and_pictures_stand_in_their_order() -> None:
    text = TOKENIZERS.text
    made, report = _made(Document("d", ("draw a cat.", PICTURE, "hello.")))
    ((kind, sample),) = made
    codes = TOKENIZERS.encode_image(fit_image(read_image_bytes(png(0)), CONFIG.image.size))
    expected = [
        *text.encode("draw a cat."), text.end_id, text.image_id,
        *(codes + CONFIG.text.vocab_size), *text.encode("hello."), text.end_id,
    ]  # fmt: skip
    assert kind == "pretrain" and sample.rows.tokens[:, 0].tolist() == expected
    assert set(sample.rows.stream) == {Stream.TEXT_IN} and set(sample.rows.step) == {TURN_TIME}
    assert not sample.rows.flag.any()
    assert np.array_equal(sample.text_target[:-1], expected[1:])
    assert (sample.audio_target == NOT_ASKED).all()
    assert (report.pictures, report.characters) == (1, 17)


@pytest.mark.parametrize("most_rows", range(37, 45))
def test_a_long_document_is_divided_and_no_row_is_lost(most_rows: int) -> None:
    document = Document("d", ("hello. " * 40, PICTURE, PICTURE, "draw a cat." * 9, PICTURE) * 3)
    (_, whole), *rest = _made(document, rows=100_000)[0]
    assert not rest
    parts = [sample for _, sample in _made(document, rows=most_rows)[0]]
    assert max(map(len, parts)) <= most_rows and len(parts) > 10
    assert np.array_equal(np.concatenate([p.rows.tokens for p in parts]), whole.rows.tokens)
    for part in parts:  # pictures are whole, behind the entry that announces them
        image = part.rows.modality == Modality.IMAGE
        assert image.sum() % CONFIG.image.num_tokens == 0
        begins = np.flatnonzero(image & (part.rows.position % CONFIG.image.num_tokens == 0))
        assert (part.rows.tokens[begins - 1, 0] == TOKENIZERS.text.image_id).all()
        assert len(begins) == image.sum() // CONFIG.image.num_tokens
        assert part.rows.position[image].tolist() == list(range(image.sum()))


def test_what_is_left_of_a_long_text_is_not_copied_for_every_sample() -> None:
    maker = RowMaker(CONFIG, TOKENIZERS, 64, ("pretrain",))
    made = maker.samples(Document("d", ("hello. " * 100_000,)), Report())
    next(made)
    tracemalloc.start()
    try:
        for _ in range(3):
            next(made)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 400_000  # bytes; of the entries that are left, a list has more


def test_what_cannot_be_read_is_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    broken = Picture(Blob.of_bytes(b"\x89PNG\r\n\x1a\n1", "a broken picture"))
    big = Picture(Blob.of_bytes(b"\x89PNG" + bytes(20_000_000), "a big picture"))
    document = Document("d", ("half \ud83d.", broken, "hello.", big, PICTURE), missing_pictures=2)
    ((_, sample),), report = _made(document)
    words = TOKENIZERS.text.encode("hello.")
    assert sample.rows.tokens[: len(words), 0].tolist() == words
    assert [entry["name"] for entry in report.skipped] == ["d", "a broken picture", "a big picture"]
    assert report.pictures == 1 and report.missing_pictures == 2


def _sound(samples: np.ndarray, folder: Path, name: str = "talk.wav") -> Sound:
    soundfile.write(folder / name, samples, SAMPLE_RATE)
    return Sound(Blob.of_file(folder / name))


@needs_world
def test_recordings_become_samples_of_their_speech(tmp_path: Path) -> None:
    pytest.importorskip("silero_vad")
    said = synthesize("Could you tell me where the library is?", Voice("en-us"))
    said = np.pad(0.5 * said / np.abs(said).max(), SAMPLE_RATE)
    part = _sound(np.concatenate([said, said]), tmp_path)
    made, report = _made(Document("d", (part, "hello.")), kinds=("pretrain", "audio"))
    assert [kind for kind, _ in made] == ["pretrain", "audio", "audio"]
    sound = read_audio(tmp_path / "talk.wav")
    for (_, sample), speech in zip(made[1:], VoiceActivity().segments([sound]), strict=True):
        padded = np.pad(speech.sound_S, (0, -len(speech.sound_S) % 6_000))
        assert np.array_equal(sample.rows.tokens, TOKENIZERS.encode_audio(padded))
        assert set(sample.rows.stream) == {Stream.AUDIO_IN}
        assert np.array_equal(sample.rows.step, sample.rows.position // 3)  # time = audio position
        assert np.array_equal(sample.audio_target[:-1], sample.rows.tokens[1:])
        assert (sample.text_target == NOT_ASKED).all()
    assert report.sounds == 1 and report.heard_seconds == pytest.approx(len(sound) / SAMPLE_RATE)
    assert 0.4 < report.speech_seconds / report.heard_seconds < 0.8


@needs_world
def test_sound_before_a_damage_is_kept(tmp_path: Path) -> None:
    pytest.importorskip("silero_vad")
    said = synthesize("Could you tell me where the library is?", Voice("en-us"))
    sound = np.pad(0.5 * said / np.abs(said).max(), SAMPLE_RATE)
    _sound(np.concatenate([sound, sound, sound]), tmp_path, "talk.flac")
    data = bytearray((tmp_path / "talk.flac").read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    cut = Sound(Blob.of_bytes(bytes(data), "cut.flac"))
    made, report = _made(Document("d", (cut,)), kinds=("audio",))
    assert len(made) >= 1 and [entry["name"] for entry in report.skipped] == ["cut.flac"]
    nothing = Sound(Blob.of_bytes(b"RIFF1234", "broken.wav"))
    assert _made(Document("d", (nothing,)), kinds=("audio",))[1].skipped[0]["name"] == "broken.wav"


def test_samples_too_short_for_a_picture_are_refused() -> None:
    with pytest.raises(UserError, match="raise --rows to at least 25"):
        RowMaker(CONFIG, TOKENIZERS, 4, ("pretrain",))
    large = replace(CONFIG, image=replace(CONFIG.image, size=48))
    with pytest.raises(UserError, match="raise --rows to at least 65"):
        RowMaker(large, TOKENIZERS, 64, ("pretrain",))


def test_reports_add_up() -> None:
    one, two = Report(documents=1, heard_seconds=2.5), Report(documents=2)
    one.skip("a", "b")
    two.rows["audio"] = 7
    two.add(one)
    assert two.documents == 3 and two.skipped == [{"name": "a", "why": "b"}]
    assert two.rows == {"pretrain": 0, "audio": 7} and two.heard_seconds == 2.5
