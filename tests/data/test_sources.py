"""Every form of data gives the same kind of documents, and damage is told, not raised through."""

from __future__ import annotations

import errno
import io
import json
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
from raw import png, write_heap, write_lines, write_tar

from quintet.config import UserError
from quintet.data.sources import files, opening
from quintet.data.sources import parquet as parquet_module
from quintet.data.sources.document import Blob, Document, Found, Picture, Sound
from quintet.data.sources.opening import Documents
from quintet.data.sources.parquet import Parquet
from quintet.data.sources.records import document_of


def _shown(document: Document) -> list[object]:
    """Texts as they are, and the bytes of everything else."""
    return [p if isinstance(p, str) else p.blob.read(10**7) for p in document.parts]


def _all(place: Path) -> list[Document]:
    documents = Documents(place)
    return [documents.read(index) for index in range(len(documents))]


def test_files_that_share_a_name_are_one_document(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "cat.png").write_bytes(png(0))
    (tmp_path / "deep" / "cat.txt").write_text("a cat.")
    (tmp_path / "deep" / "cat.wav").write_bytes(b"RIFF")
    (tmp_path / "dog.md").write_text("a dog.")
    (tmp_path / ".hidden.txt").write_text("no.")
    cat, dog = _all(tmp_path)
    assert _shown(cat) == [png(0), b"RIFF", "a cat."]
    assert isinstance(cat.parts[0], Picture) and isinstance(cat.parts[1], Sound)
    assert _shown(dog) == ["a dog."]


def test_a_long_text_is_several_documents_and_no_character_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "TEXT_BYTES", 7)
    text = "a€𝄞ü漢" * 20 + "end"
    (tmp_path / "long.txt").write_text(text, encoding="utf-8")
    (tmp_path / "none.txt").write_text("")
    parts = [part for document in _all(tmp_path) for part in document.parts]
    assert len(parts) > 20 and "".join(map(str, parts)) == text


def test_texts_and_images_in_parallel(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "a.png").write_bytes(png(1))
    write_tar(tmp_path / "docs.tar", {"./b.png": png(2)})
    write_tar(tmp_path / "more.tar", {"c.png": png(3)})
    images = [None, "inside/a.png", None, "b.png", "more.tar/c.png", "https://x.org/d.png", None]
    write_lines(tmp_path / "docs.jsonl", [
        {"texts": ["one", None, "two", None, None, None, "three"], "images": images},
    ])  # fmt: skip
    document = Documents(tmp_path / "docs.jsonl").read(0)
    assert _shown(document) == ["one", png(1), "two", png(2), png(3), "three"]
    assert document.missing_pictures == 1


def test_images_stand_before_the_texts_that_match_them(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    record = {
        "text_list": ["one", "two"],
        "image_info": [
            {"image_name": "gone.png", "raw_url": "http://x.org", "matched_text_index": 0},
            {"image_name": "a.png", "matched_text_index": 1},
        ],
    }
    write_lines(tmp_path / "docs.jsonl", ["", record, "  "])
    document = Documents(tmp_path / "docs.jsonl").read(0)
    assert _shown(document) == ["one", png(1), "two"] and document.missing_pictures == 1


def test_parquet_gives_the_same_forms(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    image = {"bytes": png(1), "path": "a.png"}
    columns = {
        "texts": [["one", None], [None, "two"], None],
        "images": [[None, image], [image, None], None],
        "text": [None, None, "plain"],
        "other": [1, 2, 3],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet", row_group_size=2)
    first, second, third = _all(tmp_path)
    assert _shown(first) == ["one", png(1)] and _shown(second) == [png(1), "two"]
    assert _shown(third) == ["plain"]
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[20:60] = bytes(40)
    (tmp_path / "a.parquet").write_bytes(data)
    damaged = Documents(tmp_path / "a.parquet")
    with pytest.raises(UserError, match="damaged"):
        for index in range(3):
            damaged.read(index)


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.7])  # in the footer
def test_a_parquet_file_with_a_damaged_footer_is_left_out_and_named(
    place: float, tmp_path: Path
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": ["one", "two"]}), path)
    data = bytearray(path.read_bytes())
    footer = int.from_bytes(data[-8:-4], "little")
    at = len(data) - 8 - int(footer * (1 - place))
    data[at : at + 4] = b"\xff" * 4
    path.write_bytes(data)
    (tmp_path / "b.txt").write_text("kept.")
    documents = Documents(tmp_path)
    assert [documents.read(index).parts for index in range(len(documents))] == [("kept.",)]
    (entry,) = documents.found.damaged
    assert entry["name"] == str(path)
    assert "is damaged" in entry["why"] and len(entry["why"].splitlines()) == 1


@pytest.mark.parametrize(("first", "whole"), [(-2, 2), (3, 6), (2**60, 6)])
def test_a_parquet_footer_that_counts_rows_that_are_not_there_is_damaged(
    first: int, whole: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = [SimpleNamespace(num_rows=rows, total_byte_size=9) for rows in (first, 4)]
    footer = SimpleNamespace(num_row_groups=2, num_rows=whole, row_group=groups.__getitem__)
    monkeypatch.setattr(parquet_module, "_open", lambda path: SimpleNamespace(metadata=footer))
    with pytest.raises(UserError, match="is damaged"):
        Parquet(tmp_path / "a.parquet", Found())


@pytest.mark.parametrize("what", ["opening", "reading"])
def test_a_machine_that_cannot_read_parquet_is_no_damage(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": ["one", "two"]}), path)
    documents = Documents(path)

    def fails(*given: object, **named: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    name = {"opening": "__init__", "reading": "read_row_group"}[what]
    monkeypatch.setattr(parquet.ParquetFile, name, fails)
    with pytest.raises(OSError, match="Too many open files"):
        documents.read(0)
    if what == "opening":
        with pytest.raises(OSError, match="Too many open files"):
            Documents(path)


def test_a_tar_groups_its_members_and_follows_its_records(tmp_path: Path) -> None:
    record = json.dumps({"texts": [None, "see"], "images": ["b.0.png", None]}).encode()
    write_tar(tmp_path / "a.tar", {
        "x/1.txt": b"one", "x/1.png": png(1), "x/1.flac": b"fLaC", "b.json": record,
        "b.0.png": png(2), "c.jpg": png(3), "c.json": b'{"caption": "three", "width": 7}',
        "d.cls": b"4",
    })  # fmt: skip
    documents = Documents(tmp_path / "a.tar")
    shown = [_shown(documents.read(index)) for index in range(len(documents))]
    assert shown == [[png(1), b"fLaC", "one"], [png(2), "see"], [png(3), "three"]]
    assert documents.found.left_out == {".cls": 1} and not documents.found.damaged


def test_a_tar_that_ends_with_folders_or_links_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (("a", tarfile.DIRTYPE), ("a/b.txt", tarfile.REGTYPE),
                           ("c", tarfile.DIRTYPE), ("d.txt", tarfile.SYMTYPE)):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.type, member.size = kind, 4 if kind == tarfile.REGTYPE else 0
            member.linkname = "a/b.txt" if kind == tarfile.SYMTYPE else ""
            tar.addfile(member, io.BytesIO(b"text"))
    documents = Documents(path)
    assert documents.found.damaged == []
    assert [documents.read(index).parts for index in range(len(documents))] == [("text",)]


@pytest.mark.parametrize("damage", ["cut in a member", "cut in a header", "overwritten header"])
def test_a_damaged_tar_gives_what_stands_before_the_damage(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_tar(path, {f"{index}.txt": b"text" for index in range(5)})
    data = path.read_bytes()
    place = 3 * 1_024
    path.write_bytes({
        "cut in a member": data[: place + 513], "cut in a header": data[: place + 99],
        "overwritten header": data[:place] + b"x" * 512 + data[place + 512 :],
    }[damage])  # fmt: skip
    documents = Documents(path)
    assert len(documents) == 3
    assert [entry["name"] for entry in documents.found.damaged] == [str(path)]


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (b"0", 2**80),  # beyond all numbers
        (b"0", 2**63 - 1),
        (b"Z", 2**80),  # of a kind that is passed over
        (b"Z", 2**63 - 1),
        (b"0", -512),  # back into itself
        (b"0", -3_584),  # back to the first
        (b"0", -99_999),  # before the beginning
    ],
)
def test_a_tar_whose_header_has_a_wrong_size_gives_what_stands_before_it(
    kind: bytes, size: int, tmp_path: Path
) -> None:
    """A number of more than eleven octal digits is of base 256, and may be below zero."""
    path = tmp_path / "a.tar"
    write_tar(path, {f"{index}.txt": b"text" for index in range(5)})
    data, place = bytearray(path.read_bytes()), 3 * 1_024
    data[place + 124 : place + 136] = size.to_bytes(12, "big", signed=True)
    data[place + 124] = 0o200 if size > 0 else 0o377
    data[place + 148 : place + 157] = b" " * 8 + kind
    data[place + 148 : place + 156] = b"%06o\0 " % sum(data[place : place + 512])
    path.write_bytes(data)
    documents = Documents(path)
    assert len(documents) == 3
    assert [entry["name"] for entry in documents.found.damaged] == [str(path)]


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ([], "no record"),
        ({}, "holds nothing"),
        ({"texts": ["a"], "images": []}, "form"),
        ({"texts": 7, "images": []}, "form"),
        ({"texts": "hello"}, "line 1 .*texts is no list"),
        ({"texts": ["a"], "images": "b"}, "images is no list"),
        ({"text_list": "hello"}, "text_list is no list"),
        ({"text_list": ["a"], "image_info": "b"}, "image_info is no list"),
        ({"images": "cat.png", "text": "a cat."}, "line 1 .*images is no list"),
        ({"texts": [7], "images": [None]}, "form"),
        ({"texts": [None], "images": [7]}, "form"),
        ({"text_list": ["a"], "image_info": [{"matched_text_index": 1}]}, "form"),
        ({"text_list": ["a"], "image_info": [7]}, "form"),
        ({"texts": [None], "images": ["data:image/png,abc"]}, "not in base64"),
        ({"texts": [None], "images": ["data:image/png;base64,a!"]}, "base64 is damaged"),
        ({"audio": "gone.wav"}, "not there"),
    ],
)
def test_a_record_of_another_form_is_told(record: object, told: str) -> None:
    with pytest.raises(UserError, match=told):
        document_of(record, "line 1", lambda name: None)


def test_a_name_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(0))
    inner = tmp_path / "data"
    inner.mkdir()
    names = ["../secret.png", str(tmp_path / "secret.png"), "a\0b", "x" * 5_000, "."]
    (inner / "link.png").symlink_to(tmp_path / "secret.png")
    write_lines(
        inner / "a.jsonl", [{"texts": ["see"], "images": [n]} for n in [*names, "link.png"]]
    )
    for document in _all(inner / "a.jsonl"):
        assert document.missing_pictures == 1 and document.parts == ("see",)


def test_parts_of_files_read_as_files(tmp_path: Path) -> None:
    path = tmp_path / "all"
    path.write_bytes(b"0123456789")
    blob = Blob("part", 5, path, 3)
    with blob.open() as file:
        assert file.read() == b"34567" and file.read() == b""
        assert file.seek(-2, io.SEEK_END) == 3 and file.read(1) == b"6" and file.tell() == 4
    with pytest.raises(UserError, match="5 bytes; make it 4 or less"):
        blob.read(4)
    with pytest.raises(UserError, match="cut off"):
        Blob("part", 9, path, 3).read(100)


@pytest.mark.parametrize("closed", ["web.jsonl", "shard.tar"])
def test_a_file_that_may_not_be_read_is_left_out_and_named(
    closed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_heap(tmp_path)
    opened = io.open

    def refuses(path: object, *given: Any, **named: Any) -> Any:
        if Path(str(path)).name == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *given, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(io, "open", refuses)  # of pathlib
    monkeypatch.setattr(tarfile, "bltn_open", refuses)
    documents = Documents(tmp_path)
    names = [documents.name(index) for index in range(len(documents))]
    assert names and not any(closed in name for name in names)
    (entry,) = documents.found.damaged
    assert entry["name"] == str(tmp_path / closed) and "Permission denied" in entry["why"]


def test_a_file_that_goes_while_others_are_opened_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_heap(tmp_path)
    paths = opening._paths

    def gone(place: Path) -> Any:
        found = paths(place)
        (place / "shard.tar").unlink()
        (place / "notes.txt").unlink()
        return found

    monkeypatch.setattr(opening, "_paths", gone)
    documents = Documents(tmp_path)
    assert [entry["name"] for entry in documents.found.damaged] == [str(tmp_path / "shard.tar")]
    names = [documents.name(index) for index in range(len(documents))]
    place = names.index(str(tmp_path / "notes.txt"))
    with pytest.raises(FileNotFoundError):  # which the one who asks counts as skipped
        documents.read(place)


def test_a_heap_of_everything(tmp_path: Path) -> None:
    write_heap(tmp_path)
    documents = Documents(tmp_path)
    assert documents.found.left_out == {".pdf": 1, ".cls": 1}
    told = []
    for index in range(len(documents)):
        try:
            documents.read(index)
        except UserError as error:
            told.append(str(error))
    assert len(told) == 4  # line 6 and 8 of the records, the text in Latin-1, the record e.json
    (tmp_path / "one-more.txt").write_text("x")
    assert Documents(tmp_path).fingerprint != documents.fingerprint


def test_nothing_to_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no"):
        Documents(tmp_path / "gone")
    with pytest.raises(UserError, match="holds no documents"):
        Documents(tmp_path)
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(UserError, match="of no known kind"):
        Documents(tmp_path / "a.pdf")
