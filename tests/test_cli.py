"""The commands as a person meets them: they work, and a mistake is one sentence and status 2."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import needs_world, run
from PIL import Image
from safetensors.numpy import save_file
from safetensors.torch import load_file as load_torch
from safetensors.torch import save_file as save_torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from quintet.data.world.scenes import _in_own_voice
from quintet.media import espeak


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "question.wav"
    soundfile.write(path, 0.1 * np.sin(np.arange(9_000) / 9), 16_000)
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "apple.png"
    Image.new("RGB", (40, 30), "red").save(path)
    return path


def test_talk_writes_the_reply(
    sound: Path, picture: Path, model_folder: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "deep" / "reply"
    assert run("talk", sound, "--image", picture, "--text", "hello.", "--model", model_folder,
               "--out", out) == 0  # fmt: skip
    names = {path.name for path in out.iterdir()}
    assert {"reply.wav", "reply.txt", "timeline.png", "stats.json"} <= names
    assert soundfile.info(out / "reply.wav").samplerate == 24_000
    assert "It writes:" in capsys.readouterr().out


def test_chat_once_and_line_by_line(
    picture: Path, model_folder: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    out = tmp_path / "chat"
    assert run("chat", "--model", model_folder, "--out", out, "--once", "hello.",
               "--image", picture) == 0  # fmt: skip
    lines = iter([f"/image {picture}", "/image nope.png", "/dance", "hello.", "/quit"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    assert run("chat", "--model", model_folder, "--out", out) == 0
    told = capsys.readouterr().err
    assert "nope.png" in told and "/dance" in told


def test_tokens_there_and_back(
    sound: Path, picture: Path, model_folder: Path, tmp_path: Path, capsys
) -> None:
    text = tmp_path / "words.txt"
    text.write_text("Grüße, 世界 ▁\n", encoding="utf-8")
    for path, quality in ((sound, "bit/s"), (picture, "PSNR"), (text, "bytes a token")):
        assert run("encode", path, "--model", model_folder) == 0
        assert quality in capsys.readouterr().out
        tokens = path.with_name(path.name + ".safetensors")
        assert run("decode", tokens, "--model", model_folder) == 0
        made = path.with_name(f"{path.name}.decoded{path.suffix}")
        assert made.is_file()
    assert (tmp_path / "words.txt.decoded.txt").read_text(encoding="utf-8") == text.read_text(
        encoding="utf-8"
    )
    assert soundfile.info(tmp_path / "question.wav.decoded.wav").frames == 13_500


@needs_world
def test_world_writes_scenes_and_a_page(tmp_path: Path) -> None:
    out = tmp_path / "world"
    assert run("world", "--out", out, "--scenes", 2, "--seed", 3) == 0
    assert (out / "index.html").is_file()
    labels = json.loads((out / "scene-0000" / "scene.json").read_text())
    assert labels["seed"] == 3


def _huge_png(path: Path) -> Path:
    """A header that claims 30,000 x 30,000 pixels, in 70 bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checked = kind + body
        return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


def _bad_inputs(folder: Path) -> dict[str, Path]:
    files = {name: folder / name for name in (
        "missing.wav", "broken.wav", "broken.m4a", "empty.wav", "hour.flac", "broken.png",
        "text.pdf", "million.txt", "latin.txt", "broken.safetensors", "foreign.safetensors",
        "typo.toml", "unknown.toml", "stages.toml", "setting.toml",
    )}  # fmt: skip
    files["broken.wav"].write_bytes(b"RIFF1234")
    files["broken.m4a"].write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0")
    soundfile.write(files["empty.wav"], np.zeros(0), 24_000)
    soundfile.write(files["hour.flac"], np.zeros(4_000 * 3_601, np.int16), 4_000)
    files["broken.png"].write_bytes(b"\x89PNG\r\n\x1a\n123")
    files["text.pdf"].write_bytes(b"%PDF")
    files["million.txt"].write_text("x" * 1_000_000)
    files["latin.txt"].write_bytes(b"Gr\xfc\xdfe")
    files["broken.safetensors"].write_bytes(b"abc")
    metadata = {"format_version": "1", "medium": "sound"}
    save_file({"tokens": np.full((4, 3), 9_999)}, files["foreign.safetensors"], metadata=metadata)
    stage = '[[stages]]\nname = "pretrain"\n[stages.train]\nsteps = 1\nbatch_size = 1\n'
    files["typo.toml"].write_text(f'preset = "nano"\n{stage}lerning_rate = 3\n')
    files["unknown.toml"].write_text('preset = "giant"\n' + stage)
    files["stages.toml"].write_text('preset = "nano"\n[[stages]]\nname = "dance"\n')
    files["setting.toml"].write_text(f'preset = "nano"\n{stage}[[stages]]\nname = "documents"\n'
                                     "shard_syze = 3\n")  # fmt: skip
    files["huge.png"] = _huge_png(folder / "huge.png")
    return files


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return _bad_inputs(tmp_path_factory.mktemp("bad"))


MISTAKES = [
    "talk {missing.wav} --out {out}",
    "talk {broken.wav} --out {out}",
    "talk {text.pdf} --out {out}",
    "talk {empty.wav} --out {out}",
    "talk {hour.flac} --out {out}",
    "talk --image {huge.png} --out {out}",
    "talk --image {broken.png} --out {out}",
    "talk --out {out}",
    "talk --text hello --model nonsense --out {out}",
    "talk --text hello --out {broken.png}",
    "talk --text hello",
    "talk --text hello --voice nobody --out {out}",
    "talk --text hello --voice {empty.wav} --out {out}",
    "chat --voice nobody",
    "chat --once hello --voice {broken.wav}",
    "talk --loud",
    "dance",
    "encode {text.pdf}",
    "encode {missing.wav}",
    "encode {million.txt}",
    "encode {latin.txt}",
    "encode {huge.png} --out {out}",
    "encode {broken.png} --codebooks 1 --out {out}",
    "encode {broken.wav} --codebooks many",
    "encode {broken.wav} --size 48",
    "encode {broken.png} --size 0",
    "encode {broken.png} --size 3073",
    "encode {broken.png} --out {folder}",
    "decode {foreign.safetensors} --out {folder}",
    "decode {foreign.safetensors} --out {out}.mp3",
    "encode {broken.m4a} --out {out}",
    "encode {empty.wav} --model nonsense",
    "decode {missing.wav}",
    "decode {foreign.safetensors} --tokens 3",
    "decode {foreign.safetensors} --tokens 0",
    "decode {broken.safetensors}",
    "decode {foreign.safetensors}",
    "train nonsense --out {out}",
    "train {typo.toml} --out {out}",
    "train {unknown.toml} --out {out}",
    "train {stages.toml} --out {out}",
    "train {setting.toml} --out {out}",
    "train tiny --stage dance --out {out}",
    "train tiny --stage realtime --out {out}",
    "world --out {broken.png}",
    "world --out {out} --from {missing.wav}",
    "world --out {out} --processes 0",
    "world --out {out} --scenes 0",
    "eval nonsense --out {out}",
    "bench dance",
    "serve nonsense",
    "serve --port 99999",
    "chat --once hello --out {broken.png}",
    "chat --image {huge.png} --out {out}",
]


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_is_one_sentence(
    command: str, bad: dict[str, Path], model_folder: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "out"
    for name, path in bad.items():
        command = command.replace(f"{{{name}}}", str(path))
    command = command.replace("{folder}", str(tmp_path))
    arguments = command.replace("{out}", str(out)).split()
    if arguments[0] in ("talk", "chat", "encode", "decode") and "--model" not in arguments:
        arguments += ["--model", str(model_folder)]
    if arguments[0] == "serve" and "nonsense" not in arguments:
        arguments.insert(1, str(model_folder))
    before = {path: path.stat().st_size for path in bad.values() if path.exists()}
    assert run(*arguments) == 2
    told = capsys.readouterr()
    assert len(told.err.strip().splitlines()) == 1 and "Traceback" not in told.err, told.err
    assert not list(tmp_path.rglob("*.partial")) and not (out.exists() and list(out.rglob("*.wav")))
    assert before == {path: path.stat().st_size for path in bad.values() if path.exists()}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("world --out x --seed abc", "--seed takes a whole number from 0 to 2,147,483,648."),
        ("world --out x --seed -1", "--seed takes a whole number from 0 to 2,147,483,648."),
        ("encode x --codebooks many", "--codebooks takes a whole number of at least 1."),
        ("serve --port high", "--port takes a whole number."),
        ("plan nano", "Missing option '--gpus'."),
        ("bench serve --minutes long", "--minutes takes a number from 0.05 to 1,440."),
        ("plan nano --gpus 1 --price high", "--price takes a number."),
    ],
)
def test_who_gives_no_number_is_told_which_ones_there_are(wrong: str, told: str, capsys) -> None:
    assert run(*wrong.split()) == 2
    command = wrong.split()[0]
    assert capsys.readouterr().err == f"{told} See: quintet {command} --help\n"


def test_of_processes_that_torchrun_started_one_speaks(tmp_path: Path, monkeypatch, capsys) -> None:
    """And torchrun itself finds the sentence of each, for the summary that it ends with."""
    for rank, times in (("0", 1), ("1", 0)):
        report = tmp_path / f"{rank}.json"
        monkeypatch.setenv("LOCAL_RANK", rank)
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(report))
        assert run("train", "nonsense") == 2
        assert capsys.readouterr().err.count("There is no recipe 'nonsense'") == times
        failed = ChildFailedError("train", {0: ProcessFailure(0, 1, 2, str(report))})
        assert "traceback : There is no recipe 'nonsense'" in str(failed)


def test_a_training_that_is_interrupted_says_how_it_goes_on(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("quintet.stages.recipe.run_stage", interrupt)
    assert run("train", "tiny", "--out", tmp_path) == 130
    told = capsys.readouterr().err.strip()
    assert "the same command goes on" in told and len(told.splitlines()) == 1


def test_a_million_characters_are_refused(model_folder: Path, tmp_path: Path, capsys) -> None:
    text = "x" * 1_000_000
    assert run("talk", "--text", text, "--model", model_folder, "--out", tmp_path / "out") == 2
    assert "1,000,000 characters" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_weights_of_another_shape_are_refused(model_folder: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    weights = load_torch(folder / "model.safetensors")
    weights["text_image_head.weight"] = weights["text_image_head.weight"][:3].clone()
    save_torch(weights, folder / "model.safetensors")
    assert run("talk", "--text", "hello", "--model", folder, "--out", tmp_path / "out") == 2
    assert "another shape" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(model_folder: Path, tmp_path: Path, capsys) -> None:
    tmp_path.chmod(0o500)
    assert run("talk", "--text", "hi", "--model", model_folder, "--out", tmp_path / "no") == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_without_the_speech_program_a_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    program = tmp_path / "espeak_process.py"
    text = espeak.PROGRAM.read_text(encoding="utf-8")
    program.write_text(text.replace("libespeak-ng", "libmissing"), encoding="utf-8")
    _in_own_voice.cache_clear()
    espeak.close()
    monkeypatch.setattr(espeak, "PROGRAM", program)
    assert run("world", "--out", tmp_path / "world", "--scenes", 9, "--seed", 500) == 2
    assert "install the Debian package" in capsys.readouterr().err
    espeak.close()


def test_help_is_quick_and_names_every_command() -> None:
    """Without the heavy libraries: `--help` must not wait for them."""
    code = (
        "import sys, quintet.cli as c\n"
        "try: c.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("serve", "talk", "chat", "encode", "decode", "world", "train", "eval", "bench"):
        assert f"\n  {command} " in done.stdout


def test_without_arguments_the_help_is_printed(capsys) -> None:
    assert run() == 0
    told = capsys.readouterr()
    assert not told.err and "\n  talk " in told.out and told.out.count("\n") > 10
