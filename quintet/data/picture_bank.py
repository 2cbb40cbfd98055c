"""Many crops of pictures in one array, for training on pictures alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from quintet.config import UserError
from quintet.data import pages, photographs
from quintet.data.world.pictures import world_crop

DRAWN_SHARE = 0.25  # of the world's pictures: as the assistant draws them

Source = Callable[[np.random.Generator, str], np.ndarray]  # of a split: uint8 [crop, crop, 3]


@dataclass(frozen=True)
class Mixture:
    """Where crops come from: the synthetic world, and shares of rendered text and photographs.

    Raises:
        UserError: shares that leave nothing to the world.
    """

    crop: int  # pixels on a side of a crop
    largest: int  # of the world's pictures that crops are cut from
    pages: float = 0.0
    photographs: float = 0.0
    photograph_folder: str | None = None  # a person's own, beside those that scikit-image has

    def __post_init__(self) -> None:
        if min(self.pages, self.photographs) < 0 or self.pages + self.photographs >= 1:
            raise UserError(
                f"pages = {self.pages} and photographs = {self.photographs} are shares of the "
                "pictures; their sum must be below 1."
            )

    @property
    def shares(self) -> dict[str, float]:
        """Of each source that is in use."""
        rest = 1 - self.pages - self.photographs
        shares = {"world": rest, "pages": self.pages, "photographs": self.photographs}
        return {name: share for name, share in shares.items() if share > 0}

    def sources(self) -> dict[str, Source]:
        """What makes the crops of each source in use.

        Raises:
            UserError: fonts or photographs are missing.
        """
        made: dict[str, Source] = {"world": self._world}
        if self.pages:
            made["pages"] = lambda rng, split: pages.render_crop(rng, split, self.crop)
        if self.photographs:
            bank = {split: photographs.photographs(split) for split in ("train", "test")}
            if self.photograph_folder:
                bank["train"] += photographs.pictures_in(Path(self.photograph_folder))
            made["photographs"] = lambda rng, split: photographs.photograph_crop(
                rng, bank[split], self.crop
            )
        return made

    def _world(self, rng: np.random.Generator, split: str) -> np.ndarray:
        drawn = DRAWN_SHARE if split == "train" else 0.0
        return world_crop(rng, split, self.crop, max(self.crop, self.largest), drawn)


def make_crops(mixture: Mixture, count: int, seed: int, split: str) -> dict[str, np.ndarray]:
    """`count` crops of each source: uint8 [count, crop, crop, 3]."""
    return {
        name: np.stack([source(np.random.default_rng((seed, i)), split) for i in range(count)])
        for name, source in mixture.sources().items()
    }


def picture_bank(folder: Path, mixture: Mixture, count: int, seed: int) -> np.ndarray:
    """uint8 [count, crop, crop, 3] for training, the sources in their shares; read from `folder`
    if they were made before. Crop i depends on (mixture, seed, i) alone."""
    shares = mixture.shares
    named = "-".join(f"{name}{round(1_000 * share)}" for name, share in shares.items())
    path = folder / f"{mixture.crop}-{mixture.largest}-{named}-{count}-{seed}.u8"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        sources, partial = mixture.sources(), path.with_suffix(".partial")
        with partial.open("wb") as file:
            for index in track(range(count), "pictures", transient=True):
                rng = np.random.default_rng((seed, 1, index))
                name = str(rng.choice(list(shares), p=list(shares.values())))
                sources[name](rng, "train").tofile(file)
        partial.replace(path)
    return np.memmap(path, np.uint8, "r").reshape(count, mixture.crop, mixture.crop, 3)
