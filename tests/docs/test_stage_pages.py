"""What the pages on stages list is what there is."""

from __future__ import annotations

from quintet.stages import documents
from scripts.write_docs import ROOT


def test_every_kind_of_document_is_named() -> None:
    page = (ROOT / "docs" / "stages" / "documents.md").read_text(encoding="utf-8")
    (kinds,) = [part for part in page.split("\n\n") if part.startswith("Kinds for `shards`: ")]
    assert {kind for kind in documents.KINDS if f"`{kind}`" not in kinds} == set()
