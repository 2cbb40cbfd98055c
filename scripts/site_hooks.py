"""The API's pages of the site: one a room, from docstrings. MkDocs calls these functions."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PACKAGE = Path(__file__).parent.parent / "quintet"
ROOMS = ("media", "tokenizers", "timeline", "model", "live", "serve", "data", "train", "stages",
         "evals")  # fmt: skip
ALONE = ("config", "settings", "products")  # files beside the rooms


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name the pages in the menu."""
    assert config.nav is not None
    config.nav.append({"API": [{room: f"api/{room}.md"} for room in (*ALONE, *ROOMS)]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, which lie in no folder."""
    for room in ROOMS:
        modules = [p for p in sorted((PACKAGE / room).rglob("*.py")) if _is_shown(p)]
        parts = [f"# {room}", *(f"::: {_dotted(path)}" for path in modules)]
        files.append(File.generated(config, f"api/{room}.md", content="\n\n".join(parts) + "\n"))
    for name in ALONE:
        content = f"# {name}\n\n::: quintet.{name}\n"
        files.append(File.generated(config, f"api/{name}.md", content=content))
    return files


def _is_shown(path: Path) -> bool:
    """Files that define something which others may call."""
    kinds = ast.ClassDef | ast.FunctionDef
    body: list[Any] = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(node, kinds) and not node.name.startswith("_") for node in body)


def _dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")
