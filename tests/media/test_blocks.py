"""Sound in blocks: equal to the whole, in constant memory, from every format, or refused."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr

from quintet.config import SAMPLE_RATE, UserError
from quintet.media.audio import audio_writer, open_audio, read_audio, read_audio_bytes


def noise(rate: int, seconds: float, channels: int = 1) -> np.ndarray:
    """float64 [S, C]"""
    return 0.1 * np.random.default_rng(0).standard_normal((round(rate * seconds), channels))


def tone(rate: int, seconds: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)


def write_av(
    path: Path, codec: str, rate: int, sound: np.ndarray, layout: str = "mono", **options: str
) -> Path:
    """Write float [S] with FFmpeg; the container follows the name."""
    with av.open(str(path), "w", options=options) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.layout, stream.bit_rate = layout, 128_000
        stream.codec_context.open()
        size = stream.codec_context.frame_size or 1_024
        resampler = av.AudioResampler(stream.codec_context.format, layout, rate, size)
        channels = len(av.AudioLayout(layout).channels)
        frame = av.AudioFrame.from_ndarray(
            np.repeat(np.float32(sound), channels)[None], format="flt", layout=layout
        )
        frame.sample_rate = rate
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            file.mux(stream.encode(part))
    return path


def refusal(path: Path, **limits: float) -> str:
    with pytest.raises(UserError) as raised:
        read_audio(path, **limits)
    message = str(raised.value)
    assert "\n" not in message and message.endswith(".")
    return message


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 24_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_blocks_equal_the_whole(rate: int, channels: int, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(rate, 3.3, channels), rate, subtype="FLOAT")
    with open_audio(path) as reader:
        assert reader.seconds == pytest.approx(3.3, abs=1e-3)
        blocks = list(reader)
    assert len(blocks) > 2 and all(0 < len(block) <= 2 * SAMPLE_RATE for block in blocks)
    mono = soundfile.read(path, dtype="float32", always_2d=True)[0].mean(1, dtype=np.float64)
    whole = soxr.resample(mono.astype(np.float32), rate, SAMPLE_RATE)
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-6)
    assert np.array_equal(read_audio(path), np.concatenate(blocks))
    assert np.array_equal(read_audio_bytes(path.read_bytes()), np.concatenate(blocks))


def test_a_long_file_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    peaks = []
    for minutes in (2, 20):
        path = tmp_path / f"{minutes}.wav"
        with audio_writer(path) as write:
            for _ in range(6 * minutes):
                write(noise(SAMPLE_RATE, 10)[:, 0])
        tracemalloc.start()
        with open_audio(path, 3_600) as reader, audio_writer(tmp_path / "copy.wav") as write:
            for block in reader:
                write(block)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (tmp_path / "copy.wav").stat().st_size == 44 + 2 * SAMPLE_RATE * 60 * minutes
    assert peaks[1] < 1.1 * peaks[0] + 100_000


@pytest.mark.parametrize("name, codec, rate, layout", [
    ("a.m4a", "aac", 44_100, "stereo"),
    ("a.mp4", "aac", 48_000, "mono"),
    ("a.aac", "aac", 22_050, "mono"),
    ("a.webm", "libopus", 48_000, "stereo"),
    ("a.mkv", "pcm_s16le", 44_100, "mono"),
    ("a.mov", "pcm_s24le", 48_000, "stereo"),
    ("a.wma", "wmav2", 44_100, "mono"),
    ("a.avi", "pcm_u8", 44_100, "stereo"),
])  # fmt: skip
def test_formats_beyond_libsndfile(
    name: str, codec: str, rate: int, layout: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    write_av(path, codec, rate, tone(rate, 2), layout)
    sound, expected = read_audio(path), tone(SAMPLE_RATE, 2)
    assert abs(len(sound) - len(expected)) < 0.2 * SAMPLE_RATE  # codecs pad
    middle = slice(SAMPLE_RATE // 2, SAMPLE_RATE)
    # The codec may shift the sound by a little: compare with the best shift.
    errors = [np.abs(sound[middle] - np.roll(expected, shift)[middle]).max() for shift in range(55)]
    assert min(errors) < 0.05
    assert np.array_equal(read_audio_bytes(path.read_bytes()), sound)


def test_only_the_first_sound_of_a_film_is_read(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "film.mkv"), "w") as file:
        picture = file.add_stream("mpeg4", rate=10)
        picture.width = picture.height = 32
        streams = [file.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono") for _ in range(2)]
        for _ in range(10):
            image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            file.mux(picture.encode(image))
        for stream, value in zip(streams, (1_000, 9_000), strict=True):
            frame = av.AudioFrame.from_ndarray(
                np.full((1, 4_608), value, np.int16), format="s16", layout="mono"
            )
            frame.sample_rate = SAMPLE_RATE
            file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        file.mux(picture.encode(None))
    np.testing.assert_allclose(read_audio(tmp_path / "film.mkv"), np.full(4_608, 1_000 / 32_768))


def test_a_film_without_sound(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "silent.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        file.mux(stream.encode(image))
        file.mux(stream.encode(None))
    assert "holds no sound" in refusal(tmp_path / "silent.mp4")


def test_a_playlist_opens_nothing(tmp_path: Path) -> None:
    write_av(tmp_path / "a.aac", "aac", 44_100, tone(44_100, 1))
    listed = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{tmp_path}/a.aac\n#EXT-X-ENDLIST\n"
    lists = {"a.m3u8": listed, "a.txt": f"ffconcat version 1.0\nfile {tmp_path}/a.aac\n"}
    for name, content in lists.items():
        (tmp_path / name).write_text(content)
        assert "not a sound file" in refusal(tmp_path / name)


def test_ffmpeg_may_open_decoders_of_sound_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, open_really = {}, av.open

    def watched(*arguments: object, **more: object) -> object:
        given.update(more["options"])
        return open_really(*arguments, **more)

    path = write_av(tmp_path / "a.m4a", "aac", 44_100, tone(44_100, 1))
    monkeypatch.setattr(av, "open", watched)
    assert len(read_audio(path))
    assert given["protocol_whitelist"] == "none"
    names = set(given["codec_whitelist"].split(",")) & av.codecs_available
    assert "aac" in names and {av.codec.Codec(name, "r").type for name in names} == {"audio"}


@pytest.mark.parametrize("name, subtype", [("a.wav", "PCM_16"), ("a.aiff", "PCM_24")])
def test_what_a_cut_file_still_holds_is_kept(name: str, subtype: str, tmp_path: Path) -> None:
    path = tmp_path / name
    soundfile.write(path, noise(SAMPLE_RATE, 4), SAMPLE_RATE, subtype=subtype)
    whole, content = read_audio(path), path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    cut = read_audio(path)
    assert abs(len(cut) - len(whole) // 2) < 100 and np.array_equal(cut, whole[: len(cut)])


def test_a_cut_webm_is_kept_and_a_cut_flac_is_refused(tmp_path: Path) -> None:
    webm = write_av(tmp_path / "a.webm", "libopus", 48_000, tone(48_000, 4))
    whole, content = read_audio(webm), webm.read_bytes()
    webm.write_bytes(content[: len(content) // 2])
    cut = read_audio(webm)
    assert 0.3 * len(whole) < len(cut) < 0.7 * len(whole)
    np.testing.assert_allclose(cut[:-2_000], whole[: len(cut) - 2_000], atol=1e-6)
    flac = tmp_path / "a.flac"
    soundfile.write(flac, noise(SAMPLE_RATE, 4), SAMPLE_RATE)
    flac.write_bytes(flac.read_bytes()[: flac.stat().st_size // 2])
    assert "is damaged" in refusal(flac)
    m4a = write_av(tmp_path / "a.m4a", "aac", 44_100, tone(44_100, 2))
    m4a.write_bytes(m4a.read_bytes()[: m4a.stat().st_size // 2])  # its index is at the end
    assert "not a sound file" in refusal(m4a)


def test_a_gap_is_refused_and_a_damaged_end_is_not(tmp_path: Path) -> None:
    path = write_av(tmp_path / "a.m4a", "aac", 44_100, tone(44_100, 2))
    whole, good = read_audio(path), path.read_bytes()
    sound = good.index(b"mdat") + 4
    rubbish = np.random.default_rng(0).integers(0, 256, 400, np.uint8).tobytes()
    for place, told in ((sound + 6_000, True), (sound + 0, True)):
        path.write_bytes(good[:place] + rubbish + good[place + 400 :])
        assert ("is damaged" in refusal(path)) == told
    end = good.index(b"moov") - 4
    path.write_bytes(good[: end - 100] + rubbish[:100] + good[end:])
    assert 0 <= len(whole) - len(read_audio(path)) < 3_000


def test_limits_hold_where_the_header_is_silent_or_lies(tmp_path: Path) -> None:
    aac = write_av(tmp_path / "a.aac", "aac", 44_100, tone(44_100, 4))  # it has no header
    with open_audio(aac) as reader:
        assert reader.seconds is None
    assert "longer than 3 seconds" in refusal(aac, max_seconds=3)
    m4a = write_av(tmp_path / "a.m4a", "aac", 44_100, tone(44_100, 4))
    assert "longer than 3 seconds" in refusal(m4a, max_seconds=3)
    assert "longer than 3 hours" in _too_long_header(tmp_path)
    five_one = write_av(tmp_path / "b.m4a", "aac", 48_000, tone(48_000, 1), "5.1")
    assert abs(len(read_audio(five_one)) - SAMPLE_RATE) < 3_000


def _too_long_header(folder: Path) -> str:
    """An AU file whose header claims four hours; a file of a few bytes holds them not."""
    path = folder / "four.flac"
    content = io.BytesIO()
    soundfile.write(content, np.zeros(4_000), 4_000, format="FLAC")
    header = bytearray(content.getvalue())
    header[21] = (header[21] & 0xF0) | 0  # total samples: 36 bits that end at byte 26
    header[22:26] = (4 * 3_600 * 4_000).to_bytes(4, "big")
    path.write_bytes(header)
    return refusal(path, max_seconds=3 * 3_600)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [SAMPLE_RATE, 44_100])
def test_a_bad_value_late_in_the_file(value: float, rate: int, tmp_path: Path) -> None:
    sound = noise(rate, 3, 2)
    sound[-1, 1] = value
    soundfile.write(tmp_path / "a.wav", sound, rate, subtype="FLOAT")
    assert "not numbers" in refusal(tmp_path / "a.wav")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rate", [SAMPLE_RATE, 44_100])
def test_huge_values_are_clipped(rate: int, tmp_path: Path) -> None:
    sound = np.full((rate, 2), 3e38)
    sound[::2] *= -1
    soundfile.write(tmp_path / "a.wav", sound, rate, subtype="FLOAT")
    assert np.abs(read_audio(tmp_path / "a.wav")).max() <= 1


@pytest.mark.parametrize("rate", [4_000, 24_000])
def test_one_sample_and_silence(rate: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "one.wav", np.full(1, 0.5), rate)
    assert len(read_audio(tmp_path / "one.wav")) == SAMPLE_RATE // rate
    soundfile.write(tmp_path / "silence.wav", np.zeros(rate), rate)
    assert not read_audio(tmp_path / "silence.wav").any()


def test_garbage_is_refused_in_a_sentence(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "a.m4a"
    good = write_av(path, "aac", 44_100, tone(44_100, 1)).read_bytes()
    for _ in range(60):
        bad = bytearray(good)
        for place in rng.integers(0, len(bad), 30):
            bad[place] = rng.integers(256)
        try:
            assert np.isfinite(read_audio_bytes(bytes(bad))).all()
        except UserError as error:
            assert str(error).endswith(".")
    for size in (1, 100, 10_000):
        with pytest.raises(UserError, match="not a sound file"):
            read_audio_bytes(rng.integers(0, 256, size, np.uint8).tobytes())


def test_a_failed_writing_leaves_the_older_file(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"older")
    with pytest.raises(ZeroDivisionError), audio_writer(tmp_path / "a.wav") as write:
        write(np.zeros(100))
        raise ZeroDivisionError
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]
    assert (tmp_path / "a.wav").read_bytes() == b"older"
    with audio_writer(tmp_path / "a.wav") as write:
        write(np.full(3, 2.0))
        write(np.zeros(0))
        write(np.full(2, -0.5))
    values, rate = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert rate == SAMPLE_RATE and values.tolist() == [32_767] * 3 + [-16_384] * 2
