"""A small heap of a person's data in every form that can be read, damage included."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image


def png(seed: int, size: tuple[int, int] = (20, 14)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def write_lines(path: Path, records: list[object]) -> None:
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_heap(folder: Path, sound: np.ndarray | None = None) -> None:
    """Twenty-nine documents or so, of which some are damaged; `sound` is float [S] at 24 kHz."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "notes.txt").write_text("The brown fox says hello. " * 60, encoding="utf-8")
    (folder / "cat.png").write_bytes(png(0))
    (folder / "cat.txt").write_text("a cat.", encoding="utf-8")
    (folder / "latin.txt").write_bytes(b"Gr\xfc\xdfe")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff123")
    (folder / "broken.wav").write_bytes(b"RIFF1234")
    (folder / "readme.pdf").write_bytes(b"%PDF")
    if sound is not None:
        soundfile.write(folder / "talk.flac", sound, 24_000)
    uri = "data:image/png;base64," + base64.b64encode(png(1)).decode()
    write_lines(folder / "web.jsonl", [
        {"texts": ["Draw this:", None, "and that."], "images": [None, "cat.png", None]},
        {"texts": [None, "an address."], "images": ["https://example.com/a.png", None]},
        {"texts": [None, "a member."], "images": ["inside.png", None]},
        {"texts": [None, "a URI."], "images": [uri, None]},
        {"text": "plain words."},
        {"texts": ["one", "two"], "images": [None]},  # of unequal lengths
        {"texts": ["half of a pair \ud83d."], "images": [None]},
        "{broken",
        {"text_list": ["first.", "second."], "image_info": [
            {"image_name": "cat.png", "matched_text_index": 1},
            {"image_name": "../../etc/passwd", "matched_text_index": 0},
        ]},
        {"texts": ["too deep.", None], "images": [None, {"bytes": None, "path": "x.tar/no.png"}]},
    ])  # fmt: skip
    write_tar(folder / "web.tar", {"inside.png": png(2)})
    samples: dict[str, bytes] = {}
    for index in range(6):
        samples |= {f"a/{index:03}.png": png(index), f"a/{index:03}.txt": b"what is this?"}
    samples |= {
        "b.json": json.dumps({"texts": ["see", None], "images": [None, "b.0.png"]}).encode(),
        "b.0.png": png(9), "c.cls": b"7", "d.png": b"\x89PNG\r\n\x1a\n123", "e.json": b"{",
    }  # fmt: skip
    write_tar(folder / "shard.tar", samples)
