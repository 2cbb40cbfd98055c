"""Live scenes of the synthetic world: scripts placed on the clock, with everything labelled.

A scene is one to three events with pauses between them. The assistant's answer to a spoken
request begins with the first step before which, all of it said, a twelfth of a second was quiet; a
typed request is complete when it arrives and is answered in the next step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from quintet.config import SAMPLE_RATE, STEP_SAMPLES, UserError
from quintet.data.world.grammar import ABOUT_A_PICTURE, KINDS, Request, as_dashed_off, request
from quintet.data.world.microphone import microphone
from quintet.data.world.pictures import Look, canonical_picture, take_picture
from quintet.data.world.room import Room
from quintet.data.world.speakers import Speaker, draw_speaker
from quintet.data.world.things import THINGS, Thing
from quintet.media.speech import ASSISTANT_VOICE, Voice, Word, random_voice, say, throat

KIND_SHARES = {
    "name": 0.18, "check": 0.14, "draw": 0.18, "say": 0.15, "repeat": 0.09, "count": 0.05,
    "greet": 0.05, "chatter": 0.16,
}  # fmt: skip
QUIET_SCENES = 0.08  # nothing but noise and other people's talk
LONG_WAITS = 0.12  # of the scenes: nothing happens for three to seven seconds, then something does
BYSTANDER_SHARE = 0.5  # of the chatter: somebody else speaks than the user
TYPED_SHARE = 0.3  # of the requests; the others are spoken
PICTURE_UNASKED = 0.1  # of the events: a picture is shown and nobody asks
PICTURE_SIZE = 96  # pixels on a side
DRAWING_STEPS = 5  # a drawn picture takes this many steps to arrive
RECORDED = "recorded"  # the split of scenes cut from recordings, and the kind of their replies
QUIET_SAMPLES = SAMPLE_RATE // 12  # heard after a spoken request before its answer: nano's frame
TYPED_DELAY = 1  # steps from a typed request to its answer
CUT_DELAY = 2  # steps from the one in which somebody interrupts to silence


@dataclass(frozen=True)
class Shown:
    """A picture that the user shows during `step`."""

    step: int
    thing: Thing
    picture: np.ndarray  # uint8 [H, W, 3]
    look: Look | None = None


@dataclass(frozen=True)
class Typed:
    """A message that the user types; it arrives whole during `step`."""

    step: int
    text: str


@dataclass(frozen=True)
class Line:
    """Something that a person says into the microphone."""

    text: str
    start_sample: int
    end_sample: int
    voice: Voice | None  # None: a recording
    speaker: str = "user"  # or "bystander"
    words: tuple[Word, ...] = ()  # on the scene's clock


@dataclass(frozen=True)
class Reply:
    """What the assistant should do from the start of `step` on."""

    step: int
    kind: str
    request: str
    typed: bool
    text: str
    speech: np.ndarray  # float32 [samples], 24 kHz
    thing: Thing | None
    drawing: np.ndarray | None  # uint8 [H, W, 3]
    words: tuple[Word, ...] = ()  # on the clock of `speech`
    until_step: int | None = None  # somebody interrupts: silent from this step on

    @property
    def heard(self) -> np.ndarray:
        """What of `speech` is said before somebody interrupts."""
        if self.until_step is None:
            return self.speech
        return self.speech[: (self.until_step - self.step) * STEP_SAMPLES]

    def cut(self, step: int) -> Reply:
        """The same, silent from `step` on; of its words, what is heard of them."""
        length = (step - self.step) * STEP_SAMPLES
        words = tuple(
            replace(word, end=min(word.end, length)) for word in self.words if word.start < length
        )
        return replace(self, words=words, until_step=step)

    @property
    def num_steps(self) -> int:
        """Steps from the first of the answer to its last; one that is only written takes one."""
        spoken = -(-len(self.heard) // STEP_SAMPLES)
        return max(spoken, DRAWING_STEPS if self.drawing is not None else 1)


@dataclass(frozen=True)
class Moment:
    """A stretch of time in which it is known how one should behave (`encounters` says how)."""

    kind: str
    start_sample: int
    end_sample: int


@dataclass(frozen=True)
class Quiet:
    """Steps [start, end) in which the assistant rightly says nothing, and what is tested there."""

    start_step: int
    end_step: int
    kind: str


@dataclass(frozen=True)
class Scene:
    """A script with its media. `microphone` is float32 [num_steps * 6000].

    `split` is "train" or "test", or "recorded": then `source` says where it was cut from, and
    `seed` is its number. What was staged from a script has its text, its room and its silences.
    """

    seed: int
    split: str
    num_steps: int
    microphone: np.ndarray
    lines: tuple[Line, ...]
    typed: tuple[Typed, ...]
    shown: tuple[Shown, ...]
    replies: tuple[Reply, ...]
    source: str = ""
    script: str = ""
    room: Room | None = None
    quiet: tuple[Quiet, ...] = ()
    moments: tuple[Moment, ...] = ()
    speaker: Speaker | None = None  # in whose voice the assistant answers; None: its own

    def given(self, afterwards: int = 0) -> list[tuple[np.ndarray, np.ndarray | None, str | None]]:
        """What a session is given in each step, and in so many silent ones after the last: sound
        [STEP_SAMPLES], a picture, a typed message."""
        shown = {one.step: one.picture for one in self.shown}
        typed = {one.step: one.text for one in self.typed}
        sound = np.pad(self.microphone, (0, afterwards * STEP_SAMPLES)).reshape(-1, STEP_SAMPLES)
        return [(heard, shown.get(step), typed.get(step)) for step, heard in enumerate(sound)]


def answer_step(end_sample: int) -> int:
    """The step in which something is answered whose last sound ends at `end_sample`: the first
    that begins when it has been quiet for a twelfth of a second."""
    return -(-(end_sample + QUIET_SAMPLES) // STEP_SAMPLES)


def assistant_speech(text: str, voice: Voice = ASSISTANT_VOICE) -> np.ndarray:
    """The assistant's voice saying `text`, float32 [samples]: always the same sound."""
    return assistant_says(text, voice)[0]


def assistant_says(
    text: str, voice: Voice = ASSISTANT_VOICE
) -> tuple[np.ndarray, tuple[Word, ...]]:
    """The same, and its words."""
    return _in_own_voice(text) if voice == ASSISTANT_VOICE else say(text, voice)


@functools.lru_cache(maxsize=4_096)
def _in_own_voice(text: str) -> tuple[np.ndarray, tuple[Word, ...]]:
    """Kept, for its answers come again; in voices that are drawn for a scene they do not."""
    return say(text, ASSISTANT_VOICE)


@dataclass
class Draft:
    """A scene while it is being written."""

    rng: np.random.Generator
    split: str
    voice: Voice
    bystander: Voice
    max_steps: int
    speaker: Speaker | None = None
    step: int = 0  # where the next event may begin
    sounds: list[tuple[int, np.ndarray]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    typed: list[Typed] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)

    def pause(self, least: int, most: int) -> None:
        self.step += int(self.rng.integers(least, most + 1))

    def speak(self, text: str, speaker: str) -> int:
        """Say `text` from somewhere in the current step on; the step in which it is answered."""
        voice = self.voice if speaker == "user" else self.bystander
        sound, words = say(text, voice)
        start = self.step * STEP_SAMPLES + int(self.rng.integers(STEP_SAMPLES))
        return self.place(Line(text, start, start + len(sound), voice, speaker, words), sound)

    def place(self, line: Line, sound: np.ndarray) -> int:
        """A line whose words are on the clock of its `sound`; the step in which it is answered."""
        self.sounds.append((line.start_sample, sound))
        placed = tuple(word.later(line.start_sample) for word in line.words)
        self.lines.append(replace(line, words=placed))
        return answer_step(line.end_sample)

    def show(self, thing: Thing) -> None:
        self.show_picture(thing, *take_picture(thing, self.rng, self.split, PICTURE_SIZE))

    def show_picture(self, thing: Thing, picture: np.ndarray, look: Look) -> None:
        self.shown.append(Shown(self.step, thing, picture, look))

    def event(self, asked: Request) -> None:
        """Write one event and move on to where its answer ends."""
        if asked.kind in ABOUT_A_PICTURE and asked.thing:
            self.show(asked.thing)
            self.pause(0, 8)
        elif self.rng.random() < PICTURE_UNASKED:
            self.show(THINGS[int(self.rng.integers(len(THINGS)))])
            self.pause(1, 6)
        if asked.kind == "chatter":
            overheard = self.rng.random() < BYSTANDER_SHARE
            self.step = self.speak(asked.text, "bystander" if overheard else "user")
        else:
            self.ask(asked, TYPED_SHARE)

    def ask(self, asked: Request, typed_share: float) -> None:
        """Say or type it, and place the answer."""
        answer, typed = self.say_or_type(asked.text, typed_share)
        self.step = answer + self.answer(asked, answer, typed)

    def say_or_type(self, text: str, typed_share: float) -> tuple[int, bool]:
        """Say or type `text`; the step in which it is answered, and whether it was typed."""
        if self.rng.random() < typed_share:
            self.typed.append(Typed(self.step, as_dashed_off(text, self.rng)))
            return self.step + TYPED_DELAY, True
        return self.speak(text, "user"), False

    def tracks(self) -> tuple[list[Any], ...]:
        """What has been written so far."""
        return self.sounds, self.lines, self.typed, self.shown, self.replies, self.moments

    def attempt(self, write: Callable[[], None]) -> bool:
        """Write one event if it ends before the scene must; otherwise leave no trace of it."""
        before, step = [len(track) for track in self.tracks()], self.step
        write()
        if self.step < self.max_steps:
            return True
        for track, length in zip(self.tracks(), before, strict=True):
            del track[length:]
        self.step = step
        return False

    def answer(self, asked: Request, step: int, typed: bool) -> int:
        """Place the assistant's answer at `step`; how many steps it lasts."""
        voice = self.speaker.voice if self.speaker else ASSISTANT_VOICE
        speech, words = assistant_says(asked.reply, voice)
        drawing = None
        if asked.kind == "draw" and asked.thing:
            drawing = canonical_picture(asked.thing, PICTURE_SIZE)
        self.replies.append(
            Reply(
                step, asked.kind, asked.text, typed, asked.reply, speech, asked.thing, drawing,
                words,
            )
        )  # fmt: skip
        return self.replies[-1].num_steps

    def scene(self, seed: int) -> Scene:
        """As it is by now; the last to draw from the generator."""
        num_steps = min(self.step + 1, self.max_steps)
        return Scene(
            seed, self.split, num_steps,
            microphone(self.sounds, num_steps * STEP_SAMPLES, self.split, self.rng),
            tuple(self.lines), tuple(self.typed), tuple(self.shown), tuple(self.replies),
            moments=tuple(self.moments), speaker=self.speaker,
        )  # fmt: skip


def make_scene(
    seed: int,
    split: str,
    kinds: tuple[str, ...] | None = None,
    max_steps: int = 64,
    other_speaker: bool = False,
) -> Scene:
    """A scene of at most `max_steps` steps, a pure function of its arguments.

    `split` is "train" or "test": voices, backgrounds and sizes are disjoint. `kinds` restricts
    the events; an empty tuple gives a scene in which nothing is said at all. Where nothing fits
    into `max_steps`, the scene is silent. With `other_speaker` the assistant answers in a voice
    that is drawn from the seed.

    Raises:
        UserError: a negative seed, or a split or kind that the world does not have.
    """
    check_kinds(kinds, KINDS, "The world has")
    check_scene(seed, split, max_steps)
    rng = np.random.default_rng((seed, split == "test"))
    user, bystander = two_voices(rng, split)
    script = Draft(rng, split, user, bystander, max_steps)
    if other_speaker:
        script.speaker = draw_speaker(seed, split, (user, bystander))
    shares = dict(KIND_SHARES)
    if kinds is None and rng.random() < QUIET_SCENES:
        kinds = ("chatter",) if rng.random() < 0.5 else ()
    if kinds is not None:
        shares = {kind: share for kind, share in shares.items() if kind in kinds}
    script.pause(*((12, 30) if rng.random() < LONG_WAITS else (0, 6)))
    for _ in range(int(rng.integers(1, 4)) if shares else 0):
        kind = weighted_choice(shares, rng)
        if not script.attempt(functools.partial(script.event, request(kind, rng))):
            break
        script.pause(2, 10)
        if script.step > max_steps * 0.6:
            break
    if not shares:
        script.pause(12, 36)
    return script.scene(seed)


def check_scene(seed: int, split: str, max_steps: int) -> None:
    """Whether a scene can be made of these.

    Raises:
        UserError: it cannot.
    """
    if seed < 0 or max_steps < 1:
        raise UserError(
            f"A scene needs a seed of at least 0 and at least 1 step, not {seed} and {max_steps}; "
            "choose larger ones."
        )
    if split not in ("train", "test"):
        raise UserError(f"The world has no split {split!r}; choose train or test.")


def check_kinds(kinds: Collection[str] | None, known: Collection[str], who_has: str) -> None:
    """Whether there are events of all `kinds`; `who_has` begins the sentence that says so.

    Raises:
        UserError: there are not.
    """
    if unknown := sorted(set(kinds or ()) - set(known)):
        raise UserError(
            f"{who_has} no events of kind {unknown[0]!r}; choose from: {', '.join(known)}."
        )


def weighted_choice(shares: dict[str, float], rng: np.random.Generator) -> str:
    """One of the names, as often as its share of all says."""
    weights = np.array(list(shares.values()))
    return str(rng.choice(list(shares), p=weights / weights.sum()))


def two_voices(rng: np.random.Generator, split: str) -> tuple[Voice, Voice]:
    """The user's and a bystander's; two people never share a throat."""
    user = bystander = random_voice(rng, split)
    while throat(bystander.name) == throat(user.name):
        bystander = random_voice(rng, split)
    return user, bystander


assert set(KIND_SHARES) == set(KINDS)
