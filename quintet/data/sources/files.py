"""A folder of texts, pictures and sounds: files whose names differ in the suffix only belong
together, as a picture and its caption do."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from quintet.config import UserError
from quintet.data.sources.document import Blob, Document, Part, Picture, Sound
from quintet.data.sources.tars import TEXTS, text_of
from quintet.media.audio import SUFFIXES as SOUNDS
from quintet.media.images import SUFFIXES as PICTURES

SUFFIXES = (*PICTURES, *SOUNDS, *TEXTS)
TEXT_BYTES = 1 << 20  # of a longer text, each so many are a document


class Files:
    """Documents of one or more files each, in the order of their names; of the files, the bytes
    are given."""

    def __init__(self, paths: dict[Path, int]) -> None:
        groups: dict[Path, list[tuple[Path, int]]] = {}
        for path in sorted(paths):
            groups.setdefault(path.with_suffix(""), []).append((path, paths[path]))
        # Files of each document; of a long text alone, also where its part begins.
        self._groups: list[tuple[list[Path], int]] = []
        sizes: list[int] = []
        for files in groups.values():
            names, size = [path for path, _ in files], sum(size for _, size in files)
            alone = len(names) == 1 and names[0].suffix.lower() in TEXTS
            for start in range(0, max(1, size), TEXT_BYTES if alone else max(1, size)):
                self._groups.append((names, start))
                sizes.append(min(size - start, TEXT_BYTES) if alone else size)
        self.sizes = np.array(sizes, np.int64)

    def name(self, index: int) -> str:
        names, start = self._groups[index]
        return f"{names[0]}, from byte {start:,}" if start else " + ".join(map(str, names))

    def read(self, index: int) -> Document:
        names, start = self._groups[index]
        if len(names) == 1 and names[0].suffix.lower() in TEXTS:
            text = _text(names[0], start)
            return Document(self.name(index), (text,) if text else ())
        kinds: tuple[list[Part], list[Part], list[Part]] = ([], [], [])
        for path in names:
            suffix, blob = path.suffix.lower(), Blob.of_file(path)
            if suffix in PICTURES:
                kinds[0].append(Picture(blob))
            elif suffix in SOUNDS:
                kinds[1].append(Sound(blob))
            else:
                kinds[2].append(text_of(blob))
        return Document(self.name(index), tuple(part for kind in kinds for part in kind))


def _text(path: Path, start: int) -> str:
    """The characters that begin within `TEXT_BYTES` from `start`.

    Raises:
        UserError: it is not UTF-8.
    """
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(TEXT_BYTES + 3)  # a character has up to four bytes
    first = _next_character(data, 0) if start else 0
    end = _next_character(data, TEXT_BYTES)
    try:
        return data[first:end].decode("utf-8" if start else "utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; convert it.") from None


def _next_character(data: bytes, at: int) -> int:
    """The first place from `at` on where a character begins."""
    while at < len(data) and data[at] & 0xC0 == 0x80:
        at += 1
    return at
