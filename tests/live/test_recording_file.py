"""The file of a recorded session: what is no such file is told, and what is one is kept whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import make_config, make_model, make_tokenizers
from safetensors import safe_open
from safetensors.numpy import save_file

from quintet.config import STEP_SAMPLES, UserError
from quintet.live.decoder import Answer
from quintet.live.pretrained import Quintet
from quintet.live.recording import Difference, Recording, replay
from quintet.live.sampling import NEVER, Sampling
from quintet.live.session import Session
from quintet.timeline.streams import Modality

CONFIG = make_config()
SOUND = np.full(STEP_SAMPLES, 0.5, np.float32)
PICTURE = np.full((9, 9, 3), 200, np.uint8)

Parts = dict[str, np.ndarray]
Change = Callable[[Parts, dict[str, str]], object]


def _recording() -> Recording:
    made = Recording(CONFIG, 3, Sampling(), "left")
    frame = np.arange(3, dtype=np.int32)
    made.add(SOUND, PICTURE, "hello.", Answer([(Modality.TEXT, 7)], [frame], (0.25, 0.5)))
    made.add(SOUND, None, None, Answer([(Modality.TEXT, 8)], [frame, frame]))
    return made


def _with(path: Path, change: Change) -> None:
    with safe_open(path, "np") as file:
        header = file.metadata()
        parts = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(parts, header)
    save_file(parts, path, header)


def _longer(parts: Parts, *names: str) -> None:
    """One step more of each."""
    for name in names:
        parts[name] = np.concatenate([parts[name], np.zeros_like(parts[name][:1])])


STEPS = ("text_image_counts", "frame_counts", "no_output")
WRONG: dict[str, Change] = {
    "kind": lambda parts, header: header.update(kind=json.dumps("movie")),
    "version": lambda parts, header: header.update(format_version=json.dumps("3")),
    "length": lambda parts, header: parts.update(sound=parts["sound"][:, 1:].copy()),
    "sound": lambda parts, header: parts.update(sound=parts["sound"].astype(np.float64)),
    "sums": lambda parts, header: _longer(parts, "text_image"),
    "steps": lambda parts, header: _longer(parts, *STEPS),
    "shown": lambda parts, header: _longer(parts, "picture_steps"),
    "pictures": lambda parts, header: parts.update(pictures=parts["pictures"].astype(np.int32)),
    "numbers": lambda parts, header: header.update(sampling=json.dumps({"top_p": 3})),
    "settings": lambda parts, header: header.update(sampling=json.dumps({"colour": 3})),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_recording_of_this_version_is_told(wrong: str, tmp_path: Path) -> None:
    _recording().save(tmp_path / "one")
    _with(tmp_path / "one", WRONG[wrong])
    with pytest.raises(UserError, match="not a whole recording"):
        Recording.load(tmp_path / "one")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no file"):
        Recording.load(tmp_path / "one")


def test_a_configuration_that_is_none_is_told_by_its_name(tmp_path: Path) -> None:
    _recording().save(tmp_path / "one")
    _with(tmp_path / "one", lambda parts, header: header.update(config=json.dumps({"colour": 3})))
    with pytest.raises(UserError, match="colour"):
        Recording.load(tmp_path / "one")


def test_everything_in_a_recording_is_read_again(tmp_path: Path) -> None:
    made = _recording()
    made.tune(Sampling(0.5))
    made.save(tmp_path / "one")
    read = Recording.load(tmp_path / "one")
    assert (read.config, read.seed, read.sampling, read.ended) == (CONFIG, 3, Sampling(), "left")
    assert read.texts == {0: "hello."} and read.tuned == {2: Sampling(0.5)}
    assert read.pictures.keys() == {0} and np.array_equal(read.pictures[0], made.pictures[0])
    assert [one.text_image for one in read.answers] == [[(Modality.TEXT, n)] for n in (7, 8)]
    assert [[frame.tolist() for frame in one.frames] for one in read.answers] == [
        [[0, 1, 2]], [[0, 1, 2], [0, 1, 2]],
    ]  # fmt: skip
    assert [one.no_output for one in read.answers] == [(0.25, 0.5), (1.0, 1.0)]
    size = CONFIG.image.size
    assert read.num_bytes == made.num_bytes == 2 * 2 * STEP_SAMPLES + size * size * 3


def test_sessions_of_older_recordings_do_not_yield(tmp_path: Path) -> None:
    recording = Recording(CONFIG, 3, Sampling(), "left")
    recording.add(SOUND, None, None, Answer([], []))
    recording.tune(Sampling(audio_temperature=0.1))
    recording.save(tmp_path / "one")

    def older(_: Parts, header: dict[str, str]) -> None:
        for name in ("sampling", "tuned"):
            fields = json.loads(header[name])
            for one in (fields,) if name == "sampling" else fields.values():
                del one["yield_above"]
            header[name] = json.dumps(fields)

    _with(tmp_path / "one", older)
    read = Recording.load(tmp_path / "one")
    assert [read.sampling, *read.tuned.values()] == [
        Sampling(yield_above=NEVER), Sampling(audio_temperature=0.1, yield_above=NEVER),
    ]  # fmt: skip


def test_a_recording_of_nothing_is_one(tmp_path: Path) -> None:
    Recording(CONFIG, 0, Sampling()).save(tmp_path / "one")
    read = Recording.load(tmp_path / "one")
    assert not read.sound and not read.answers and not read.pictures and not read.num_bytes


def test_what_cannot_be_written_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        _recording().save(tmp_path / "one")
    assert not list(tmp_path.iterdir())


def test_another_model_and_the_last_row_of_all_are_told() -> None:
    system = Quintet(make_model(CONFIG), make_tokenizers(CONFIG))
    session, made = Session(system.model, system.tokenizers, seed=3), _recording()
    made.answers.clear()
    for step, chosen in enumerate((Sampling(), Sampling(3.0, 3.0, 3.0, 1.0))):
        made.tuned[step] = session.decoder.sampling = chosen
        made.answers.append(session.step(*made.input(step)).answer or Answer([], []))
    assert replay(made, system) is None
    frames = made.answers[1].frames
    last = frames.pop()
    assert replay(made, system) == Difference(2, "audio", len(frames), None, tuple(last))
    frames += [last, np.arange(3, dtype=np.int32)]  # more than there are
    assert replay(made, system) == Difference(2, "audio", len(frames) - 1, (0, 1, 2), None)
    made.ended = "failed"  # the last answer is not what it was
    assert replay(made, system) is None
    made.answers[0].text_image.append((Modality.TEXT, 5))
    assert replay(made, system)
    made.config = make_config(window_steps=9)
    with pytest.raises(UserError, match="another model than this, test"):
        replay(made, system)
