"""Engines that speak are asked as they want to be asked, and agree on what they give."""

import io
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import needs_world
from fake_endpoint import serving

from quintet.config import SAMPLE_RATE, UserError
from quintet.media.endpoint import Endpoint
from quintet.media.speech import Voice, Word, say
from quintet.media.voices import EndpointVoice, Espeak, Kokoro, Piper

LINE = "Hello there, you."


def _tone(seconds: float, rate: int) -> np.ndarray:
    """A tone with a tenth of a second of silence on both sides."""
    tone = 0.5 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * rate)) / rate)
    return np.pad(tone, rate // 10).astype(np.float32)


@needs_world
def test_espeak_is_what_the_world_speaks_with() -> None:
    voice = Voice("en-us+f3", 150, 40)
    for spoken, expected in zip(Espeak().say(LINE, voice), say(LINE, voice), strict=True):
        assert np.array_equal(spoken, expected)
    german = Espeak().say("Guten Morgen.", voice, "de")
    assert np.array_equal(german[0], say("Guten Morgen.", Voice("de+f3", 150, 40))[0])
    assert [word.text for word in german[1]] == ["Guten", "Morgen."]


def test_piper_is_asked_without_chance(monkeypatch, tmp_path: Path) -> None:
    asked = []

    @dataclass
    class SynthesisConfig:
        length_scale: float
        noise_scale: float
        noise_w_scale: float

    class PiperVoice:
        @classmethod
        def load(cls, path):
            asked.append(path)
            return cls()

        def synthesize(self, text, syn_config):
            asked.append((text, syn_config))
            chunk = types.SimpleNamespace(audio_float_array=_tone(0.5, 22_050), sample_rate=22_050)
            return iter([chunk, chunk])

    module = types.SimpleNamespace(SynthesisConfig=SynthesisConfig, PiperVoice=PiperVoice)
    monkeypatch.setitem(sys.modules, "piper", module)
    (tmp_path / "amy.onnx").touch()
    engine = Piper(tmp_path)
    sound, words = engine.say(LINE, Voice("amy", 80))
    engine.say(LINE, Voice("amy", 80))
    path, (text, config), _ = asked  # loaded once
    assert path == str(tmp_path / "amy.onnx") and text == LINE
    assert config == SynthesisConfig(2.0, 0.0, 0.0)
    assert words == () and sound.dtype == np.float32
    assert len(sound) / SAMPLE_RATE == pytest.approx(1.2, abs=0.01)  # two tones and a gap
    for name in ("bob", "../amy"):
        with pytest.raises(UserError, match="holds no Piper voice"):
            engine.say(LINE, Voice(name))


def test_kokoro_tells_where_its_words_are(monkeypatch) -> None:
    def token(text, whitespace, start=None, end=None):
        return types.SimpleNamespace(text=text, whitespace=whitespace, start_ts=start, end_ts=end)

    made = []

    class KPipeline:
        def __init__(self, lang_code):
            made.append(lang_code)

        def __call__(self, text, voice, speed):
            assert (voice, speed) == ("af_heart", 0.5)
            yield types.SimpleNamespace(
                audio=_tone(1.0, SAMPLE_RATE),
                tokens=[token("Hello", " ", 0.1, 0.4), token("there", "", 0.5, 0.8),
                        token(",", " "), token("you", "", 0.9, 1.05), token(".", "")],
            )  # fmt: skip

    monkeypatch.setitem(sys.modules, "kokoro", types.SimpleNamespace(KPipeline=KPipeline))
    engine = Kokoro()
    sound, words = engine.say(LINE, Voice("af_heart", 80))
    assert abs(len(sound) - SAMPLE_RATE) < 20
    assert [word.text for word in words] == ["Hello", "there,", "you."]
    expected = [
        Word("Hello", 0, 7_200),
        Word("there,", 9_600, 16_800),
        Word("you.", 19_200, 22_800),
    ]
    for word, right in zip(words, expected, strict=True):
        assert abs(word.start - right.start) < 10 and abs(word.end - right.end) < 10
    assert engine.say("Something else.", Voice("af_heart", 80))[1] == ()  # other words than told
    assert made == ["a"]
    with pytest.raises(UserError, match="does not speak"):
        engine.say(LINE, Voice("af_heart"), "fi")


@pytest.mark.parametrize("engine", [Kokoro(), Piper(Path())])
def test_an_engine_that_is_missing_is_named(engine, monkeypatch) -> None:
    for module in ("piper", "kokoro"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match="pip install"):
        engine.say(LINE, Voice("any"))


def test_a_voice_behind_an_endpoint() -> None:
    file = io.BytesIO()
    soundfile.write(file, _tone(0.5, 16_000), 16_000, format="WAV")
    with serving(lambda path, body: (200, file.getvalue())) as (url, came):
        engine = EndpointVoice(Endpoint(url, "key"), "tts")
        sound, words = engine.say(LINE, Voice("alloy", 120))
    assert words == () and len(sound) / SAMPLE_RATE == pytest.approx(0.5, abs=0.01)
    ((path, body, key),) = came
    assert path == "/v1/audio/speech" and key == "Bearer key"
    assert body == {"model": "tts", "input": LINE, "voice": "alloy", "response_format": "wav",
                    "speed": 0.75}  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"RIFF not a sound", b"{}"])
def test_what_is_no_sound_is_refused(content: bytes) -> None:
    with serving(lambda path, body: (200, content)) as (url, _), pytest.raises(UserError):
        EndpointVoice(Endpoint(url), "tts").say(LINE, Voice("alloy"))
