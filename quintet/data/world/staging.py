"""Scripts on the clock: who speaks when and in which voice, what is seen, and what is heard.

The assistant answers as in the other scenes: soon after the last sound of what it answers
(`scenes.answer_step`), one step after a typed message or a picture. Whoever interrupts it is heard
for a step before it falls silent. All that a script leaves open is drawn from the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from quintet.config import SAMPLE_RATE, STEP_SAMPLES, STEPS_PER_SECOND, UserError
from quintet.data.world.grammar import as_typed
from quintet.data.world.motion import MovingPicture, steps_of
from quintet.data.world.pictures import canonical_picture, take_picture
from quintet.data.world.room import Room, hear
from quintet.data.world.scenes import (
    CUT_DELAY,
    DRAWING_STEPS,
    PICTURE_SIZE,
    TYPED_DELAY,
    Line,
    Quiet,
    Reply,
    Scene,
    Shown,
    Typed,
    answer_step,
    two_voices,
)
from quintet.data.world.script import (
    LANGUAGES,
    Cue,
    Draw,
    Intent,
    Interrupt,
    Overlap,
    Pause,
    Said,
    Script,
    Show,
    Silence,
    Video,
    Wait,
    find_awaited,
)
from quintet.data.world.speakers import draw_speaker
from quintet.data.world.things import Thing
from quintet.data.world.transcripts import spread
from quintet.data.world.wide_things import WIDE_BY_NAME
from quintet.data.world.wide_words import SENTENCES, TO_OTHERS, pick
from quintet.media.loudness import speech_spans
from quintet.media.speech import ASSISTANT_VOICE, Voice, Word, random_voice, say, throat
from quintet.media.voices import Engine, Espeak

MAX_STEPS = 480  # of a scene: two minutes
SEEN_DELAY = 1  # steps from a picture to an answer: it is complete when it arrives
GAPS = (0.2, 1.2)  # seconds between lines where the script says nothing
INTERRUPTED = 0.8  # of a line that is interrupted is heard at most
WRITTEN = 12  # characters a step at least: how long what is only written is taken to last
FREE = "free"  # the kind of replies to which the script gives no intent
FRAMES_EACH = (1, 2, 4)  # steps between the frames of a video: 4, 2 or 1 a second


def stage_script(
    script: Script,
    seed: int,
    split: str,
    room: Room | None = None,
    engine: Engine | None = None,
    voices: Sequence[str] = (),
    other_speaker: bool = False,
) -> Scene:
    """The scene of a script, a pure function of its arguments if the engine is one.

    Args:
        split: "train" or "test": voices, backgrounds and sizes are disjoint.
        room: what the microphone hears beside the lines; by default nothing.
        engine: who speaks; by default espeak-ng.
        voices: the names of the engine's, if it is another: the first is the assistant's, every
            second of the others is kept for the test split.
        other_speaker: the assistant answers in a voice of espeak-ng's that is drawn from the seed.

    Raises:
        UserError: the scene lasts more than `MAX_STEPS`, there are too few voices, the engine
            fails, or it is another and a voice is to be drawn.
    """
    if seed < 0 or split not in ("train", "test"):
        raise UserError(
            f"A scene has a seed of at least 0 and a split train or test, not {seed} and {split!r}."
        )
    rng = np.random.default_rng((seed, split == "test", 3))
    cast, speaker = _cast(rng, split, voices), None
    if other_speaker:
        if voices:
            raise UserError(
                "Another's voice for the assistant is one of espeak-ng's; name no other voices."
            )
        speaker = draw_speaker(seed, split, (cast["user"], cast["other"]))
        cast["assistant"] = speaker.voice
    stage = _Stage(rng, seed, split, engine or Espeak(), cast)
    for index, cue in enumerate(script.cues):
        stage.act(script.cues, index, cue)
    num_steps = stage.end_step() + 1
    if num_steps > MAX_STEPS:
        raise UserError(
            f"The script {script.title!r} lasts more than {MAX_STEPS // STEPS_PER_SECOND} seconds; "
            "write two scripts."
        )
    room = room or Room()
    scene = Scene(
        seed, split, num_steps, np.zeros(0, np.float32), tuple(stage.lines), tuple(stage.typed),
        tuple(sorted(stage.shown, key=lambda shown: shown.step)), tuple(stage.replies), "",
        script.write(), room, tuple(stage.quiet),
    )  # fmt: skip
    return replace(scene, microphone=stage.microphone(room, scene), speaker=speaker)


def _cast(rng: np.random.Generator, split: str, names: Sequence[str]) -> dict[str, Voice]:
    """A voice for everybody; no two share a throat."""
    if names:
        own = sorted(set(names[1:]) - {names[0]})[int(split == "test") :: 2]
        if len(own) < 2:
            raise UserError("A scene needs five voices of an engine; name more of them.")
        first, second = rng.choice(len(own), 2, replace=False)
        speed = int(rng.integers(140, 181))
        return {"user": Voice(own[int(first)], speed), "other": Voice(own[int(second)]),
                "assistant": Voice(names[0])}  # fmt: skip
    user, other = two_voices(rng, split)
    return {"user": user, "other": other, "assistant": ASSISTANT_VOICE}


def _after(sample: int) -> int:
    """The first step that begins at or after a sample."""
    return -(-sample // STEP_SAMPLES)


@dataclass
class _Spoken:
    """The line that was placed last."""

    speaker: str
    start: int  # samples
    end: int


@dataclass
class _Stage:
    """A scene while it is being placed."""

    rng: np.random.Generator
    seed: int
    split: str
    engine: Engine
    cast: dict[str, Voice]
    free: int = 0  # the sample from which on the next may begin
    paused: bool = True  # the script has said how long to wait, or it has not begun
    earliest: int = 0  # the first step in which the assistant can know what it answers
    reply_end: int = 0  # the first step in which the assistant may answer anew
    video_end: int = 0  # in steps
    kind: str = FREE
    asked: tuple[str, bool] = ("", False)  # the last line of the user; whether it was typed
    drawing: str | None = None
    mark: Overlap | Interrupt | None = None
    moment: int | None = None  # the cue that brings what is waited for
    moment_step: int | None = None  # the step in which it can be answered
    last: _Spoken | None = None
    sounds: list[tuple[int, np.ndarray]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    typed: list[Typed] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    quiet: list[Quiet] = field(default_factory=list)

    def act(self, cues: tuple[Cue, ...], index: int, cue: Cue) -> None:
        """Place one cue."""
        match cue:
            case Said("assistant"):
                self.answer(cue)
            case Said():
                self.speak(cue, index)
            case Show(thing):
                self.show(thing, index)
            case Video():
                self.play(cue, cues, index)
            case Draw(thing):
                self.drawing = thing
            case Pause(seconds) | Silence(seconds):
                start = self.free
                self.free += round(seconds * SAMPLE_RATE)
                self.paused = True
                if isinstance(cue, Silence):
                    self.quiet.append(Quiet(_after(start), _after(self.free), self.kind))
            case Overlap() | Interrupt():
                self.mark = cue
            case Wait():
                self.moment, self.moment_step = find_awaited(cues, index), None
            case Intent(name):
                self.kind = name

    def say(self, said: Said) -> tuple[np.ndarray, tuple[Word, ...]]:
        """The sound of a line, and its words: laid over it where the engine does not tell."""
        voice, language = self.cast[said.speaker], LANGUAGES[said.language]
        sound, words = self.engine.say(said.text, voice, language)
        if not words and len(sound):
            spans = speech_spans(sound) or [(0, len(sound))]
            words = tuple(word for some in spread(said.text.split(), spans) for word in some)
        return sound, words

    def begin(self) -> int:
        """The sample at which the next line begins."""
        mark, last = self.mark, self.last
        if mark is not None and last is not None:
            if isinstance(mark, Overlap):
                return max(last.start, last.end - round(mark.seconds * SAMPLE_RATE))
            most = round(INTERRUPTED * (last.end - last.start))
            return last.start + min(most, round(mark.seconds * SAMPLE_RATE))
        gap = 0.0 if self.paused else float(self.rng.uniform(*GAPS))
        return self.free + round((gap + self.rng.uniform(0, 0.25)) * SAMPLE_RATE)

    def speak(self, said: Said, index: int) -> None:
        """A line of the user, or of somebody else."""
        start = self.begin()
        step = start // STEP_SAMPLES
        if said.way == "types":
            self.typed.append(Typed(step, as_typed(said.text, self.rng)))
            end, answered = (step + 1) * STEP_SAMPLES, step + TYPED_DELAY
        else:
            sound, words = self.say(said)
            end = start + max(len(sound), 1)
            placed = tuple(word.later(start) for word in words)
            voice = self.cast[said.speaker]
            if (code := LANGUAGES[said.language]) != "en-us" and isinstance(self.engine, Espeak):
                voice = replace(voice, name=f"{code}+{throat(voice.name)}")
            speaker = "bystander" if said.speaker == "other" else said.speaker
            self.sounds.append((start, sound))
            self.lines.append(Line(said.text, start, end, voice, speaker, placed))
            answered = answer_step(end)
        spoken_to = self.last is not None and self.last.speaker == "assistant"
        if isinstance(self.mark, Interrupt) and said.speaker == "user" and spoken_to:
            self.cut(step + CUT_DELAY)
        if index == self.moment:
            self.moment_step = answered
        if said.speaker == "user":
            self.asked = said.text, said.way == "types"
        self.earliest = answered
        self.placed(said.speaker, start, end)

    def placed(self, speaker: str, start: int, end: int) -> None:
        """A line was placed, and its mark is spent."""
        self.free = max(self.free, end)
        self.last, self.mark, self.paused = _Spoken(speaker, start, end), None, False

    def cut(self, step: int) -> None:
        """The assistant's last reply ends with the beginning of `step`."""
        if step >= self.reply_end:
            return
        reply = self.replies[-1].cut(step)
        self.replies[-1] = replace(reply, speech=np.ascontiguousarray(reply.heard))
        # The next begins later: in `step` the text of this one may still end.
        self.free, self.reply_end = step * STEP_SAMPLES, step + 1

    def show(self, name: str, index: int) -> None:
        """A picture arrives, whole, in a step."""
        step = _after(self.free) + (0 if self.paused else int(self.rng.integers(0, 3)))
        step = max(step, self.video_end)
        picture, look = take_picture(WIDE_BY_NAME[name], self.rng, self.split, PICTURE_SIZE)
        self.shown.append(Shown(step, WIDE_BY_NAME[name], picture, look))
        self.earliest = step + SEEN_DELAY
        if index == self.moment:
            self.moment_step = self.earliest
        self.free, self.paused = max(self.free, (step + 1) * STEP_SAMPLES), False

    def play(self, video: Video, cues: tuple[Cue, ...], index: int) -> None:
        """A video runs from now on, or from the end of the one before."""
        start = max(_after(self.free), self.video_end)
        each = steps_of(video.seconds, len(video.things))
        things = tuple(WIDE_BY_NAME[name] for name in video.things)
        seed = int(self.rng.integers(1 << 31))
        moving = MovingPicture(things, each, seed, self.split, PICTURE_SIZE)
        apart = min(each, pick(self.rng, FRAMES_EACH))
        for scene in range(len(things)):
            for step in range(scene * each, (scene + 1) * each, apart):
                picture, thing, look = moving.frame(step)
                self.shown.append(Shown(start + step, thing, picture, look))
        self.video_end = start + moving.num_steps
        self.earliest = start + SEEN_DELAY
        if index == self.moment:
            wait = next(c for c in reversed(cues[:index]) if isinstance(c, Wait))
            self.moment_step = start + video.things.index(wait.until) * each + SEEN_DELAY
        self.free, self.paused = max(self.free, start * STEP_SAMPLES), True

    def answer(self, said: Said) -> None:
        """A line of the assistant, with what it draws."""
        if self.mark is not None:
            step = max(self.begin() // STEP_SAMPLES, self.reply_end)
        elif self.moment_step is not None:
            step = max(self.moment_step, self.reply_end)
        else:
            step = max(self.earliest, _after(self.free), self.reply_end)
        speech, words = np.zeros(0, np.float32), tuple[Word, ...]()
        lasts = -(-len(said.text) // WRITTEN)
        if said.way == "says":
            speech, words = self.say(said)
            lasts = _after(len(speech))
        drawing, thing = None, self._meant(said.text)
        if self.drawing is not None:
            thing = WIDE_BY_NAME[self.drawing]
            drawing, lasts = canonical_picture(thing, PICTURE_SIZE), max(lasts, DRAWING_STEPS)
        request, typed = self.asked
        self.replies.append(
            Reply(step, self.kind, request, typed, said.text, speech, thing, drawing, words)
        )
        self.reply_end, self.drawing = step + lasts, None
        self.moment = self.moment_step = None
        start = step * STEP_SAMPLES
        self.placed("assistant", start, start + max(1, len(speech)))
        self.free = max(self.free, self.reply_end * STEP_SAMPLES)

    def _meant(self, text: str) -> Thing | None:
        """The last thing that was shown, if it is spoken of."""
        thing = self.shown[-1].thing if self.shown else None
        return thing if thing is not None and thing.name in text.lower() else None

    def end_step(self) -> int:
        """The step after everything that happens."""
        ends = [line.end_sample for line in self.lines]
        return max(_after(max([self.free, *ends])), self.reply_end, self.video_end)

    def microphone(self, room: Room, scene: Scene) -> np.ndarray:
        """What is heard, float32 [num_steps * 6000]."""
        track = np.zeros(scene.num_steps * STEP_SAMPLES, np.float32)
        for reply in scene.replies:
            start = reply.step * STEP_SAMPLES
            track[start : start + len(reply.speech)] += reply.speech[: len(track) - start]
        babble = []
        if room.babble_db is not None:
            voices = [random_voice(self.rng, self.split) for _ in range(room.babblers)]
            texts = [pick(self.rng, (*SENTENCES, *TO_OTHERS)) for _ in voices]
            babble = [say(text, voice)[0] for text, voice in zip(texts, voices, strict=True)]
        return hear(room, self.rng, self.split, self.sounds, track, babble)
