"""Gaps in sound that comes unevenly, and what it waits so that there are no more: simulated.

Two cushions. The server's, for the microphone: its own buffer, ten minutes in a quiet room, pieces
of 20 ms that come late, by a time that varies without memory. The page's, for the speech: its rule
written here once more (`PageCushion`; a test holds the two together), hours of utterances of three
to six steps that come as late as nano's.

    python -m benchmarks.cushion
"""

from __future__ import annotations

from collections import deque
from unittest.mock import patch

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import as_command
from quintet.config import SAMPLE_RATE, STEP_SAMPLES
from quintet.serve import sound_buffer

PIECE = SAMPLE_RATE // 50  # samples that the page sends at once
SEEDS = 10  # of a minute each
STEPS = 240  # of a minute
BEGINNING = 4  # steps in which a stream may be incomplete
MILLISECONDS = (20, 30, 40)  # cushions that are compared
LATE = (0.005, 0.01, 0.02, 0.03)  # seconds, in the mean
HOURS = 2.0  # of one listener
LISTENERS = 20
BETWEEN, STEP = 8_500.0, 250.0  # milliseconds from one utterance to the next, and of a step
# What comes late: milliseconds of first steps (from, to), and the part of all that is late by 60
# milliseconds or more, and by how much at most.
LISTENED = (
    ((25, 60), 0.0, 60), ((25, 60), 1 / 60, 90), ((25, 60), 1 / 15, 90), ((25, 60), 1 / 100, 130),
    ((60, 130), 0.0, 60), ((60, 130), 1 / 60, 90),
)  # fmt: skip
Utterance = list[tuple[float, float]]  # milliseconds of each step: late, and the sound card behind


def microphone_gaps(piece: int, late: float) -> int:
    """Steps with a gap, of 2,400, by pieces of so many samples, late by so many seconds in the
    mean."""
    gaps = 0
    for seed in range(SEEDS):
        rng, buffer = np.random.default_rng(seed), sound_buffer.SoundBuffer()
        come = rng.uniform(0, STEP_SAMPLES) + np.arange(0, STEPS * STEP_SAMPLES, piece)
        come += rng.exponential(late * SAMPLE_RATE, len(come))
        in_step = (np.maximum.accumulate(come) / STEP_SAMPLES).astype(int)
        for step, count in enumerate(np.bincount(in_step)[:STEPS]):
            for _ in range(count):
                buffer.push(np.full(piece, 0.001, np.float32))
            gaps += not buffer.take().all() and step >= BEGINNING
    return gaps


def utterances(
    seed: int, first: tuple[int, int] = (25, 60), often: float = 0.0, most: float = 60
) -> list[Utterance]:
    """Two hours of speech; `often` is the part of its steps that are late by 60 to `most`."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(round(HOURS * 3_600_000 / BETWEEN)):
        count = rng.integers(3, 7)
        late = np.minimum(60, 8 + rng.lognormal(np.log(6), 0.7, count))
        late[0] = rng.uniform(*first)
        if often:
            late = np.where(rng.random(count) < often, rng.uniform(60, most, count), late)
        made.append([*zip(late.tolist(), rng.uniform(0, 6, count).tolist(), strict=True)])
    return made


class PageCushion:
    """The rule of `arrivals.js` and `player.js`, in milliseconds."""

    def __init__(self) -> None:
        self.least, self.slack, self.cushion = 60.0, 0.0, 60.0
        self.ends = 0.0  # on the sound card's clock
        self.after_gaps: list[float] = []  # what each piece behind a gap waited
        self.followed: deque[tuple[float, float]] = deque()  # when, and how late
        self.late = 0.0

    def step(self, follows: bool, due: float, late: float, behind: float) -> None:
        self.late = late
        if follows:
            self.followed.append((due + late, late))
        while self.followed and self.followed[0][0] < due + late - 600_000:
            self.followed.popleft()
        now = due + late - behind
        if self.ends <= now:
            self._begin(follows)
            self.ends = now + self.cushion
        self.ends += STEP

    def _begin(self, follows: bool) -> None:
        if follows:
            self.least = min(250, self.cushion + self.slack + 20)
        else:
            self.least = max(0, self.least - 0.5)
        usual = sorted(late for _, late in self.followed)
        usual = [late for late in usual if late < usual[0] + 250]
        known = not follows and len(usual) >= 12 and self.late <= usual[0] + 250
        self.slack = max(0, self.late - usual[len(usual) // 2]) if known else 0
        wait = max([self.late, *usual]) - self.late + 25
        self.cushion = min(250, max(self.least - self.slack, wait))
        if follows:
            self.after_gaps.append(self.cushion)


def listen(spoken: list[Utterance]) -> tuple[np.ndarray, list[float]]:
    """Milliseconds that each utterance waited on the page, and each piece after a gap."""
    page, due, waited = PageCushion(), 1_000.0, []
    for utterance in spoken:
        due += BETWEEN - STEP * len(utterance)
        for index, (late, behind) in enumerate(utterance):
            due += STEP
            page.step(index > 0, due, late, behind)
            if index == 0:
                waited.append(page.cushion)
    return np.array(waited), page.after_gaps


def main() -> None:
    table = Table("cushion, ms", *(f"{1_000 * late:g} ms late" for late in LATE),
                  title="Microphone: steps of 2,400 with a gap")  # fmt: skip
    for milliseconds in MILLISECONDS:
        with patch.object(sound_buffer, "CUSHION", milliseconds * SAMPLE_RATE // 1_000):
            table.add_row(str(milliseconds), *(str(microphone_gaps(PIECE, late)) for late in LATE))
    Console().print(table)
    table = Table("first steps late by", "others", "waits, ms", "in the first ten minutes",
                  "gaps an hour", title="Speech in the page")  # fmt: skip
    for first, often, most in LISTENED:
        heard = [listen(utterances(seed, first, often, most)) for seed in range(LISTENERS)]
        early = int(600_000 / BETWEEN)
        others = f"1 in {1 / often:.0f} to {most}" if often else "in time"
        table.add_row(
            "{} to {}".format(*first), others, f"{np.mean([waited for waited, _ in heard]):.0f}",
            f"{np.mean([waited[:early] for waited, _ in heard]):.0f}",
            f"{np.mean([len(gaps) for _, gaps in heard]) / HOURS:.2f}",
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    as_command(main)
