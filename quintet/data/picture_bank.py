"""Many crops of pictures in one array, for training on pictures alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from quintet.config import UserError
from quintet.data import pages, photographs
from quintet.data.plain import plain_crop
from quintet.data.world.pictures import world_crop
from quintet.whole_file import whole_file

DRAWN_SHARE = 0.25  # of the world's pictures: as the assistant draws them

Source = Callable[[np.random.Generator], np.ndarray]  # uint8 [crop, crop, 3]


@dataclass(frozen=True)
class Mixture:
    """Where crops come from: the synthetic world, and shares of the other sources.

    Raises:
        UserError: shares that leave nothing to the world, or a folder that nothing is taken from.
    """

    crop: int  # pixels on a side of a crop
    largest: int  # of the world's pictures that crops are cut from
    pages: float = 0.0
    photographs: float = 0.0
    photograph_folder: str | None = None  # a person's own, beside those that scikit-image has
    plain: float = 0.0  # areas of every colour
    small_text: float = 1.0  # above 1, more of the pages' text is small

    def __post_init__(self) -> None:
        shares = (self.pages, self.photographs, self.plain)
        if min(shares) < 0 or sum(shares) >= 1:
            raise UserError(
                f"pages = {self.pages}, photographs = {self.photographs} and plain = {self.plain} "
                "are shares of the pictures; their sum must be below 1."
            )
        if not 0.1 <= self.small_text <= 10:
            raise UserError(f"small_text is {self.small_text}; it lies between 0.1 and 10.")
        if self.photograph_folder and not self.photographs:
            raise UserError("photograph_folder needs a share, photographs, above 0; give it one.")

    @property
    def shares(self) -> dict[str, float]:
        """Of each source that is in use."""
        shares = {"pages": self.pages, "photographs": self.photographs, "plain": self.plain}
        shares = {"world": 1 - sum(shares.values()), **shares}
        return {name: share for name, share in shares.items() if share > 0}

    def sources(self, split: str) -> dict[str, Source]:
        """What makes the crops of each source in use.

        Raises:
            UserError: fonts or photographs are missing.
        """
        drawn, largest = DRAWN_SHARE if split == "train" else 0.0, max(self.crop, self.largest)
        made: dict[str, Source] = {
            "world": lambda rng: world_crop(rng, split, self.crop, largest, drawn)
        }
        if self.pages:
            made["pages"] = lambda rng: pages.render_crop(rng, split, self.crop, self.small_text)
        if self.photographs:
            bank = photographs.photographs(split)
            if self.photograph_folder and split == "train":
                bank += photographs.pictures_in(self.photograph_folder)
            made["photographs"] = lambda rng: photographs.photograph_crop(rng, bank, self.crop)
        if self.plain:
            made["plain"] = lambda rng: plain_crop(rng, self.crop)
        return made

    def choose(self, rng: np.random.Generator) -> str:
        """The name of a source, each as often as its share."""
        return str(rng.choice(list(self.shares), p=list(self.shares.values())))

    def fingerprint(self) -> str:
        """Tells mixtures apart, and what a person's folder held."""
        known = repr(self)
        if self.photograph_folder and self.photographs:
            files = photographs.files_in(self.photograph_folder)
            known += repr([(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files])
        return hashlib.sha256(known.encode()).hexdigest()[:12]


def held_out_crops(mixture: Mixture, count: int, seed: int) -> dict[str, np.ndarray]:
    """`count` crops of each source, of what training never shows: uint8 [count, crop, crop, 3]."""
    return {
        name: np.stack([source(np.random.default_rng((seed, i, 2))) for i in range(count)])
        for name, source in mixture.sources("test").items()
    }


def picture_bank(folder: Path, mixture: Mixture, count: int, seed: int) -> np.ndarray:
    """uint8 [count, crop, crop, 3] for training, the sources in their shares; read from `folder`
    if they were made before. Crop i depends on (mixture, seed, i), on the fonts and photographs,
    and on the libraries that draw them."""
    path = folder / f"{mixture.crop}-{count}-{seed}-{mixture.fingerprint()}.u8"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        sources = mixture.sources("train")
        with whole_file(path) as file:
            for index in track(range(count), "pictures", transient=True):
                rng = np.random.default_rng((seed, index, 1))
                sources[mixture.choose(rng)](rng).tofile(file)
    return np.memmap(path, np.uint8, "r").reshape(count, mixture.crop, mixture.crop, 3)
