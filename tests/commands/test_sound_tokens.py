"""Sound to tokens and back: pieces equal the whole, hours fit, bad files are one sentence."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from conftest import make_config, run
from safetensors import safe_open
from safetensors.numpy import save_file

from quintet.commands import sound_tokens
from quintet.commands.sound_tokens import encode_sound, fingerprint, smallest_type
from quintet.config import AudioConfig
from quintet.media.audio import audio_writer, read_audio
from quintet.tokenizers.audio import AudioTokenizer
from quintet.tokenizers.codec_folder import load_codec, save_codec
from quintet.train.spectral import MultiScaleMelLoss

HOP = make_config().audio.hop


@pytest.fixture(scope="module")
def codec_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing but a codec: 3 codebooks of 16, 12 frames a second."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("codecs") / "codec"
    save_codec(AudioTokenizer(make_config().audio), folder)
    return folder


def write_noise(path: Path, seconds: float, rate: int = 24_000, channels: int = 1) -> Path:
    sound = 0.1 * np.random.default_rng(0).standard_normal((round(rate * seconds), channels))
    soundfile.write(path, sound, rate)
    return path


def encoded(path: Path, codec: Path, *options: object) -> tuple[np.ndarray, dict[str, str]]:
    assert run("encode", path, "--model", codec, *options) == 0
    out = path.with_name(path.name + ".safetensors")
    with safe_open(out, "numpy") as file:
        return file.get_tensor("tokens"), file.metadata()


@pytest.mark.parametrize("seconds", [1 / 24_000, 0.05, 2.49, 2.51])  # a last piece may be short
def test_pieces_equal_the_whole(
    seconds: float, codec_folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(sound_tokens, "PIECE_SAMPLES", 24_000)
    path = write_noise(tmp_path / "a.wav", seconds)
    codes, metadata = encoded(path, codec_folder)
    assert "nan" not in capsys.readouterr().out
    sound, codec = read_audio(path), load_codec(codec_folder)
    assert metadata["samples"] == str(len(sound)) and codes.dtype == np.uint8
    padded = torch.from_numpy(np.pad(sound, (0, -len(sound) % HOP)))[None]
    whole, _ = codec.encode(padded)
    assert np.array_equal(codes, whole[0].numpy())
    assert run("decode", f"{path}.safetensors", "--model", codec_folder) == 0
    made = read_audio(tmp_path / "a.wav.decoded.wav")
    expected = codec.decode(whole)[0][0].numpy()[: len(sound)]
    assert made.shape == sound.shape
    np.testing.assert_allclose(made, expected, atol=1e-4)  # 16 bits


def test_the_header_says_what_another_program_needs(codec_folder: Path, tmp_path: Path) -> None:
    codes, metadata = encoded(write_noise(tmp_path / "a.wav", 1.01, 44_100, 2), codec_folder)
    assert codes.shape == (13, 3)
    assert metadata.pop("codec") == fingerprint(load_codec(codec_folder))
    assert metadata == {
        "format_version": "1", "medium": "sound", "model": str(codec_folder),
        "sample_rate": "24000", "samples": "24240", "samples_per_frame": "2000",
        "frames_per_second": "12", "num_codebooks": "3", "codebook_size": "16",
        "bits_per_second": "144",
    }  # fmt: skip


def test_tokens_of_a_codec_of_the_same_sizes_are_refused(
    codec_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(9)
    save_codec(AudioTokenizer(load_codec(codec_folder).config), tmp_path / "other")
    sound, tokens = write_noise(tmp_path / "a.wav", 1.0, 24_000, 1), tmp_path / "a.safetensors"
    out = tmp_path / "a.out.wav"
    run("encode", sound, "--out", tokens, "--model", codec_folder)
    capsys.readouterr()
    assert run("decode", tokens, "--out", out, "--model", tmp_path / "other") == 2
    assert "another model" in capsys.readouterr().err
    assert run("decode", tokens, "--out", out, "--model", codec_folder) == 0


def test_the_smallest_type_holds_every_code() -> None:
    assert [smallest_type(size) for size in (2, 256, 257, 65_536, 65_537)] == [
        np.uint8, np.uint8, np.uint16, np.uint16, np.int32,
    ]  # fmt: skip


def test_sound_needs_no_transformer(model_folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("quintet.commands.tokens.load", None)
    path = write_noise(tmp_path / "a.wav", 0.5)
    encoded(path, model_folder)
    assert run("decode", f"{path}.safetensors", "--model", model_folder) == 0


def test_a_long_file_takes_no_more_memory_than_a_short_one(
    codec_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    """Counted: what the codec is given at once, which bounds what it needs. Measured: what numpy
    and Python hold. The codec's own work is left out, being slow and the same for every piece."""
    lengths: list[int] = []

    def encode(self: AudioTokenizer, audio_BS: torch.Tensor, state: object) -> object:
        lengths.append(audio_BS.shape[1])
        return torch.zeros(1, audio_BS.shape[1] // HOP, 3, dtype=torch.int64), None

    def decode(self: AudioTokenizer, codes_BTQ: torch.Tensor, state: object) -> object:
        lengths.append(codes_BTQ.shape[1] * HOP)
        return torch.zeros(1, codes_BTQ.shape[1] * HOP), None

    monkeypatch.setattr(AudioTokenizer, "encode", encode)
    monkeypatch.setattr(AudioTokenizer, "decode", decode)
    monkeypatch.setattr(MultiScaleMelLoss, "forward", lambda self, made, real: torch.zeros(()))
    peaks = []
    for minutes in (2, 20):
        path = tmp_path / f"{minutes}.wav"
        with audio_writer(path) as write:
            for _ in range(6 * minutes):
                write(np.full(240_000, 0.1))
        tracemalloc.start()
        codes, _ = encoded(path, codec_folder)
        assert run("decode", f"{path}.safetensors", "--model", codec_folder) == 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(codes) == minutes * 60 * 12
        assert soundfile.info(f"{path}.decoded.wav").frames == minutes * 60 * 24_000
    assert max(lengths) <= sound_tokens.PIECE_SAMPLES
    assert peaks[1] < 1.1 * peaks[0] + 500_000


def test_fewer_codebooks(codec_folder: Path, tmp_path: Path, capsys) -> None:
    path = write_noise(tmp_path / "a.wav", 1)
    all_of_them, _ = encoded(path, codec_folder)
    fewer, metadata = encoded(path, codec_folder, "--codebooks", 2)
    assert np.array_equal(fewer, all_of_them[:, :2]) and metadata["num_codebooks"] == "2"
    assert metadata["bits_per_second"] == "96" and " 96 bit/s" in capsys.readouterr().out
    assert run("decode", f"{path}.safetensors", "--model", codec_folder) == 0
    codec = load_codec(codec_folder, 2)
    expected = codec.decode(torch.from_numpy(fewer).long()[None])[0][0].numpy()
    np.testing.assert_allclose(read_audio(f"{path}.decoded.wav"), expected, atol=1e-4)
    capsys.readouterr()
    assert run("encode", path, "--model", codec_folder, "--codebooks", 4) == 2
    assert "3 codebooks" in capsys.readouterr().err
    assert run("encode", path, "--model", codec_folder, "--codebooks", 0) == 2
    (tmp_path / "a.txt").write_text("words")
    assert run("encode", tmp_path / "a.txt", "--model", codec_folder, "--codebooks", 1) == 2
    assert "--codebooks" in capsys.readouterr().err


@pytest.mark.parametrize("name, codec", [("a.m4a", "aac"), ("a.webm", "libopus")])
def test_films_and_phones(name: str, codec: str, codec_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=48_000, layout="mono")
        size = 960 if codec == "libopus" else 1_024
        for start in range(0, 48_000, size):
            sound = np.sin(np.arange(start, start + size)[None] / 20).astype(np.float32)
            form = "flt" if codec == "libopus" else "fltp"
            frame = av.AudioFrame.from_ndarray(sound, format=form, layout="mono")
            frame.sample_rate, frame.pts = 48_000, start
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    codes, metadata = encoded(path, codec_folder)
    assert len(codes) == -(-int(metadata["samples"]) // HOP) and len(codes) in (12, 13)
    assert run("decode", f"{path}.safetensors", "--model", codec_folder) == 0
    assert soundfile.info(f"{path}.decoded.wav").frames == int(metadata["samples"])


def test_sound_is_decoded_to_wav_alone(codec_folder: Path, tmp_path: Path, capsys) -> None:
    path = write_noise(tmp_path / "a.wav", 1 / 24)
    encoded(path, codec_folder)
    assert "0.04 s of sound in 3 codes" in capsys.readouterr().out
    tokens, before = f"{path}.safetensors", sorted(tmp_path.iterdir())
    assert run("decode", tokens, "--out", tmp_path / "a.mp3", "--model", codec_folder) == 2
    told = capsys.readouterr().err
    assert "a.mp3" in told and told.endswith("end it in .wav.\n")
    assert sorted(tmp_path.iterdir()) == before


OURS = {
    "format_version": "1", "medium": "sound", "sample_rate": "24000", "samples": "7000",
    "samples_per_frame": "2000", "num_codebooks": "3", "codebook_size": "16",
}  # fmt: skip
GOOD = np.zeros((4, 3), np.uint8)
LONG = np.zeros((12 * 3_600 * 12 + 2, 3), np.uint8)
BAD_TOKENS: dict[str, tuple[np.ndarray, dict[str, str], str]] = {
    "a code too high": (np.full((4, 3), 16, np.uint8), {}, "another model"),
    "a code too low": (np.full((4, 3), -1, np.int32), {}, "another model"),
    "a code beyond 63 bits": (np.full((4, 3), 2**63, np.uint64), {}, "another model"),
    "not whole": (np.zeros((4, 3), np.float32), {}, "another model"),
    "truth values": (np.zeros((4, 3), bool), {}, "another model"),
    "one axis": (np.zeros(4, np.uint8), {}, "another model"),
    "three axes": (np.zeros((4, 3, 1), np.uint8), {}, "another model"),
    "too many books": (np.zeros((4, 5), np.uint8), {"num_codebooks": "5"}, "another model"),
    "no frames": (np.zeros((0, 3), np.uint8), {}, "no sound"),
    "no books": (np.zeros((4, 0), np.uint8), {}, "no sound"),
    "books unlike the header's": (np.zeros((4, 2), np.uint8), {}, "num_codebooks is 3"),
    "too long": (LONG, {"samples": str(len(LONG) * HOP)}, "longer than 12 hours"),
    "another rate": (GOOD, {"sample_rate": "48000"}, "another model"),
    "other frames": (GOOD, {"samples_per_frame": "320"}, "another model"),
    "other codebooks": (GOOD, {"codebook_size": "1024"}, "another model"),
    "an absurd rate": (GOOD, {"sample_rate": "1e9"}, "sample_rate is '1e9'"),
    "a length beyond the end": (GOOD, {"samples": "8001"}, "samples is '8001'"),
    "a length without the last frame": (GOOD, {"samples": "6000"}, "samples is '6000'"),
    "a negative length": (GOOD, {"samples": "-1"}, "samples is '-1'"),
    "an absurd length": (GOOD, {"samples": "9" * 5_000}, "samples is '99999"),
    "superscripts": (GOOD, {"samples": "70²"}, "samples is"),
    "a later version": (GOOD, {"format_version": "2"}, "newer"),
    "no medium": (GOOD, {"medium": "smell"}, "does not say what its tokens are"),
}


@pytest.mark.parametrize("case", BAD_TOKENS)
def test_bad_token_files_are_one_sentence(
    case: str, codec_folder: Path, tmp_path: Path, capsys
) -> None:
    tokens, changes, told = BAD_TOKENS[case]
    path, out = tmp_path / "x.safetensors", tmp_path / "x.wav"
    save_file({"tokens": tokens}, path, metadata={**OURS, **changes})
    assert run("decode", path, "--out", out, "--model", codec_folder) == 2
    error = capsys.readouterr().err.strip()
    assert told in error and error.endswith(".") and len(error.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("lacking", "told"), [("samples", "samples is ''"), ("format_version", "no format_version")]
)
def test_a_header_that_lacks_its_length_or_version_is_refused(
    lacking: str, told: str, codec_folder: Path, tmp_path: Path, capsys
) -> None:
    path, metadata = tmp_path / "x.safetensors", {k: v for k, v in OURS.items() if k != lacking}
    save_file({"tokens": GOOD}, path, metadata=metadata)
    assert run("decode", path, "--model", codec_folder) == 2
    error = capsys.readouterr().err.strip()
    assert told in error and error.endswith("encode it again.")


def _cut(path: Path, seconds: float) -> Path:
    write_noise(path, seconds)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def _bad_sounds(folder: Path) -> dict[str, tuple[Path, str]]:
    paths = {name: folder / name for name in ("a.mp4", "b.m4a", "c.wav", "d.wav", "e.wav", "f.wav")}
    paths["a.mp4"].write_bytes(bytes(1_000))
    paths["b.m4a"].write_bytes(b"")
    soundfile.write(paths["c.wav"], np.full(100, np.nan), 24_000, subtype="FLOAT")
    soundfile.write(paths["d.wav"], np.zeros((10, 9)), 24_000)
    soundfile.write(paths["e.wav"], np.zeros(0), 24_000)
    soundfile.write(paths["f.wav"], np.zeros(10), 2_000)
    return {
        "rubbish": (paths["a.mp4"], "not a sound file"),
        "nothing": (paths["b.m4a"], "not a sound file"),
        "not numbers": (paths["c.wav"], "not numbers"),
        "nine channels": (paths["d.wav"], "9 channels"),
        "empty": (paths["e.wav"], "empty"),
        "a slow rate": (paths["f.wav"], "2,000 samples a second"),
        "cut flac": (_cut(folder / "g.flac", 2), "damaged"),
        "missing": (folder / "missing.webm", "no sound file"),
        "a folder": (folder, "is a folder; name a"),
    }


def test_bad_sounds_are_one_sentence(codec_folder: Path, tmp_path: Path, capsys) -> None:
    for case, (path, told) in _bad_sounds(tmp_path).items():
        out = tmp_path / "out.safetensors"
        assert run("encode", path, "--out", out, "--model", codec_folder) == 2, case
        error = capsys.readouterr().err.strip()
        assert told in error and error.endswith(".") and len(error.splitlines()) == 1, case
        assert not out.exists()


def test_more_than_twelve_hours_are_refused(
    codec_folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    assert sound_tokens.MAX_SECONDS == 12 * 3_600
    monkeypatch.setattr(sound_tokens, "MAX_SECONDS", 2.0)
    assert run("encode", write_noise(tmp_path / "a.wav", 2.1), "--model", codec_folder) == 2
    assert "lasts longer than" in capsys.readouterr().err


def test_a_cut_file_gives_what_it_holds(codec_folder: Path, tmp_path: Path) -> None:
    codes, metadata = encoded(_cut(tmp_path / "a.wav", 4), codec_folder)
    assert abs(int(metadata["samples"]) - 48_000) < 100 and len(codes) == 24


def test_the_progress_is_silent_off_the_terminal(
    codec_folder: Path, tmp_path: Path, monkeypatch, capfd
) -> None:
    monkeypatch.setattr(sound_tokens, "LONG_SECONDS", 0.1)
    path = write_noise(tmp_path / "a.wav", 1)
    encoded(path, codec_folder)
    assert capfd.readouterr().err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")  # what makes rich believe in a terminal
    encoded(path, codec_folder)
    assert "encoding a.wav" in capfd.readouterr().err


def test_every_number_of_bits_is_told(tmp_path: Path) -> None:
    """A codec with codes of more than a byte, and frames that divide no second."""
    torch.manual_seed(0)
    config = AudioConfig(channels=2, strides=(7, 10), latent_dim=4, num_codebooks=1,
                         codebook_size=300, lstm_layers=1)  # fmt: skip
    save_codec(AudioTokenizer(config), tmp_path / "codec")
    codes, metadata, note = encode_sound(
        write_noise(tmp_path / "a.wav", 1), str(tmp_path / "codec")
    )
    assert codes.dtype == np.uint16 and codes.shape == (343, 1)
    assert metadata["frames_per_second"] == "342.8571429"
    assert "1.00 s of sound in 343 codes" in note
