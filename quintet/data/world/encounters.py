"""Longer scenes in which people do not wait for their turn.

Beside the requests of `scenes`, in a row of up to a dozen:

- *interruption*: somebody speaks while the assistant does, to stop it or to ask something else. It
  falls silent two steps after the one in which they begin, so that at least a quarter of a second
  of them is heard first, and answers what is asked;
- *backchannel*: "mm-hm" while the assistant speaks. It goes on;
- *hesitation*: a request breaks off in the middle and goes on later. The gap is not for answering;
- *watch*: "tell me when you see a cat". "Okay, a cat." Other pictures are passed over, the cat is
  told at once;
- *dictation*: until told to stop, the assistant writes down every line, silently.

Each leaves a `Moment`. In training some who interrupt are heard late: the assistant goes on for a
*slip* of some steps, which nothing learns to say, and then falls silent. Whoever has only seen that
one stops at once does not stop at all once the moment is missed (Ross et al. 2011, arXiv 1011.0686:
mistakes lead where no example has been). A scene is a pure function of its seed and split, as all
are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from quintet.config import SAMPLE_RATE, STEP_SAMPLES
from quintet.data.world.grammar import NUMBERS, Request, request
from quintet.data.world.scenes import (
    CUT_DELAY,
    KIND_SHARES,
    TYPED_DELAY,
    Draft,
    Line,
    Moment,
    Reply,
    Scene,
    answer_step,
    check_kinds,
    check_scene,
    two_voices,
    weighted_choice,
)
from quintet.data.world.speakers import draw_speaker
from quintet.data.world.things import THINGS, Thing, with_article
from quintet.data.world.wide_words import pick
from quintet.media.speech import Voice, Word, say

REQUEST = "request"
SHARES = {
    REQUEST: 0.38, "interruption": 0.15, "backchannel": 0.08, "hesitation": 0.14, "watch": 0.16,
    "dictation": 0.09,
}  # fmt: skip
MAX_STEPS = 96
EVENTS = (3, 13)
STOPS = (
    "stop.", "stop it.", "please stop.", "wait.", "wait a moment.", "that is enough.", "enough.",
    "be quiet, please.", "no, stop.", "hold on.",
)  # fmt: skip
GOES_ON = ("mm-hm.", "uh-huh.", "yeah.", "right.", "I see.", "nice.")
FILLERS = ("um,", "uh,", "er,", "well,")
WATCH = (
    "tell me when you see {a}.", "let me know when you see {a}.", "say so when you see {a}.",
    "tell me as soon as you see {a}.", "watch for {a}.",
)  # fmt: skip
DICTATE = (
    "write down what I say.", "begin transcribing what I am saying.", "take this down.",
    "please write this down.", "start transcribing.",
)  # fmt: skip
DICTATED = ("stop writing.", "stop transcribing.", "that is all, thank you.", "end of dictation.")
RECITE = {
    "say the days of the week.":
        "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday.",
    "tell me the seasons.": "Spring, summer, autumn and winter.",
    "say the alphabet up to h.": "A, B, C, D, E, F, G, H.",
    "name the colours of the rainbow.": "Red, orange, yellow, green, blue, indigo, violet.",
}  # fmt: skip
WRITTEN = 4  # steps: the longest answer is written by then
FAINT = 0.5  # of its loudness a backchannel has
WATCHED_STEPS = 22  # a window forgets what it should watch for
SECONDS_APART = (0.5, 1.4)  # between the halves of a request
WITHOUT_FILLER = 0.6
WITH_REQUEST = 0.4  # of the interruptions ask for something
SLIPS = 0.25  # of the interruptions are heard late
LONGEST_SLIP = 4  # steps
OF_SLIPS = (4, 0)  # numbers that follow the seed in no other generator of scenes


class Encounter(Draft):
    """A scene of many events, with its moments."""

    def __init__(
        self,
        rng: np.random.Generator,
        split: str,
        max_steps: int,
        slips: np.random.Generator | None = None,
    ) -> None:
        """`slips` says which interruptions are heard late; without it, none."""
        user, bystander = two_voices(rng, split)
        super().__init__(rng, split, user, bystander, max_steps)
        self.slips = slips
        self.events: dict[str, Callable[[], None]] = {
            REQUEST: self.request, "interruption": self.interruption,
            "backchannel": self.backchannel, "hesitation": self.hesitation,
            "watch": self.watch, "dictation": self.dictation,
        }  # fmt: skip

    def fill(self, shares: dict[str, float], events: int, pauses: tuple[int, int]) -> None:
        """So many events, as far as they fit, a pause of between so many steps after each."""
        for _ in range(events if shares else 0):
            if not self.attempt(self.events[weighted_choice(shares, self.rng)]):
                break
            self.pause(*pauses)

    def request(self) -> None:
        self.event(request(weighted_choice(KIND_SHARES, self.rng), self.rng))

    def utter(self, text: str, start_sample: int, loudness: float = 1.0) -> Line:
        """The user says `text` from `start_sample` on."""
        sound, words = _spoken(text, self.voice)
        line = Line(text, start_sample, start_sample + len(sound), self.voice, "user", words)
        self.place(line, sound * np.float32(loudness))
        return line

    def moment(self, kind: str, start_sample: int, end_sample: int) -> None:
        self.moments.append(Moment(kind, start_sample, end_sample))

    def soon(self) -> int:
        """Some sample of the current step."""
        return self.step * STEP_SAMPLES + int(self.rng.integers(STEP_SAMPLES))

    def long_answer(self) -> Reply:
        """Ask for something that takes a while to say; the answer, not yet heard to its end."""
        if self.rng.random() < 0.5:
            last = int(self.rng.integers(5, len(NUMBERS) + 1))
            text = f"count to {NUMBERS[last - 1]}."
            reply = ", ".join(NUMBERS[:last]).capitalize() + "."
            asked = Request("count", text, reply)
        else:
            text = pick(self.rng, tuple(RECITE))
            asked = Request("recite", text, RECITE[text])
        self.step = self.speak(asked.text, "user")
        self.answer(asked, self.step, typed=False)
        return self.replies[-1]

    def interruption(self) -> None:
        reply = self.long_answer()
        # Some of it is heard, all of it is written, and it would go on for a while.
        latest = max(WRITTEN, reply.num_steps - CUT_DELAY - 1)
        begins = reply.step + int(self.rng.integers(WRITTEN - 1, latest))
        start = begins * STEP_SAMPLES + int(self.rng.integers(STEP_SAMPLES))
        until = self.falls_silent(reply, begins + CUT_DELAY)
        if self.rng.random() < WITH_REQUEST:
            asked = request(pick(self.rng, ("draw", "say", "count", "greet")), self.rng)
            line = self.utter(asked.text, start)
            # Not where the old one falls silent, in which step its text may still end.
            self.step = max(until + 1, answer_step(line.end_sample))
            self.step += self.answer(asked, self.step, typed=False)
        else:
            line = self.utter(pick(self.rng, STOPS), start)
            self.step = max(until, answer_step(line.end_sample))
        self.moment("interruption", start, line.end_sample)

    def falls_silent(self, reply: Reply, until: int) -> int:
        """Cut the last reply at step `until`, or some steps later; the step."""
        ends = reply.step + reply.num_steps
        if self.slips is not None and self.slips.random() < SLIPS:
            late = min(until + int(self.slips.integers(1, LONGEST_SLIP + 1)), ends - 1)
            if late > until:
                self.moment("slip", until * STEP_SAMPLES, late * STEP_SAMPLES)
                until = late
        if until < ends:
            self.replies[-1] = reply.cut(until)
        return until

    def backchannel(self) -> None:
        reply = self.long_answer()
        begins = reply.step + int(self.rng.integers(1, max(2, reply.num_steps - 3)))
        start = begins * STEP_SAMPLES + int(self.rng.integers(STEP_SAMPLES))
        line = self.utter(pick(self.rng, GOES_ON), start, FAINT)
        self.moment("backchannel", start, line.end_sample)
        ends = (line.end_sample - 1) // STEP_SAMPLES + 1
        self.step = max(reply.step + reply.num_steps, ends)

    def hesitation(self) -> None:
        """The request breaks off before the word that it cannot do without."""
        asked = request(pick(self.rng, ("draw", "say", "count", "repeat")), self.rng)
        words = asked.text.split()
        split = int(self.rng.integers(1, _needed(asked, words) + 1))
        first, second = " ".join(words[:split]), " ".join(words[split:])
        if self.rng.random() > WITHOUT_FILLER:
            second = f"{pick(self.rng, FILLERS)} {second}"
        begun = self.utter(first, self.soon())
        gap = round(self.rng.uniform(*SECONDS_APART) * SAMPLE_RATE)
        ended = self.utter(second, begun.end_sample + gap)
        # One line, as it is one request.
        del self.lines[-2:]
        placed = tuple(w.later(line.start_sample) for line in (begun, ended) for w in line.words)
        self.lines.append(
            replace(begun, text=f"{first} {second}", end_sample=ended.end_sample, words=placed)
        )
        self.moment("hesitation", begun.end_sample, ended.start_sample)
        self.step = answer_step(ended.end_sample)
        self.step += self.answer(asked, self.step, typed=False)

    def watch(self) -> None:
        order = self.rng.permutation(len(THINGS))
        sought: Thing = THINGS[int(order[0])]
        text = pick(self.rng, WATCH).format(a=with_article(sought.name))
        self.step = self.speak(text, "user")
        self.agree(sought, text, self.step, typed=False)
        by = self.step + WATCHED_STEPS
        for number in order[1 : 1 + int(self.rng.integers(0, 4))].tolist():
            self.pause(1, 6)
            self.show(THINGS[number])
        self.pause(2, 8)
        # Else it stays to be watched for, and a later picture of it would be passed over.
        self.step = min(self.step, by - 1)
        self.sight(sought, text)

    def agree(self, sought: Thing, text: str, step: int, typed: bool) -> None:
        """Answer `text` at `step`, what is to be watched for. What was heard is repeated: people
        learn so whether it was heard rightly, and what is sought then stands in the model's own
        words, with which a picture is sooner compared."""
        agreed = Request("watch", text, f"Okay, {with_article(sought.name)}.")
        self.step = step + self.answer(agreed, step, typed)

    def sight(self, sought: Thing, text: str) -> None:
        """Show what `text` asked to be told of; it is told at once."""
        self.show(sought)
        self.moment("watch", self.step * STEP_SAMPLES, (self.step + 1) * STEP_SAMPLES)
        self.step += TYPED_DELAY
        seen = f"I see {with_article(sought.name)}."
        self.step += self.answer(Request("seen", text, seen, sought), self.step, typed=False)

    def dictation(self) -> None:
        begin = Request("dictation", pick(self.rng, DICTATE), "Okay.")
        self.step = self.speak(begin.text, "user")
        self.step += self.answer(begin, self.step, typed=False)
        for _ in range(int(self.rng.integers(1, 4))):
            self.pause(1, 4)
            said = request(pick(self.rng, ("chatter", "chatter", "repeat", "draw")), self.rng)
            first = self.soon()
            line = self.utter(said.text, first)
            self.step = answer_step(line.end_sample)
            self.write(Request("dictated", said.text, said.text[0].upper() + said.text[1:]))
            self.moment("dictation", first, line.end_sample)
            self.step += 1
        self.pause(1, 4)
        end = Request("dictation", pick(self.rng, DICTATED), "Okay.")
        self.step = self.speak(end.text, "user")
        self.step += self.answer(end, self.step, typed=False)

    def write(self, asked: Request) -> None:
        """The assistant writes, and says nothing."""
        silence = np.zeros(0, np.float32)
        self.replies.append(
            Reply(self.step, asked.kind, asked.text, False, asked.reply, silence, None, None)
        )


@functools.lru_cache(maxsize=4_096)
def _spoken(text: str, voice: Voice) -> tuple[np.ndarray, tuple[Word, ...]]:
    return say(text, voice)


def _needed(asked: Request, words: list[str]) -> int:
    """The place of the word without which nobody knows what is asked."""
    plain = [word.strip(",.:?").lower() for word in words]
    if asked.thing is not None:
        return plain.index(asked.thing.name)
    if asked.kind == "count":
        return max(index for index, word in enumerate(plain) if word in NUMBERS)
    return next(index for index, word in enumerate(words) if word.endswith(":")) + 1


def make_encounter(
    seed: int,
    split: str,
    kinds: tuple[str, ...] | None = None,
    max_steps: int = MAX_STEPS,
    other_speaker: bool = False,
) -> Scene:
    """A long scene of at most `max_steps` steps, a pure function of its arguments.

    `kinds` restricts its events to some of `SHARES`, of which each scene then holds one or two, or
    none of none; with `other_speaker` the assistant answers in a voice that is drawn from the seed.

    Raises:
        UserError: as `scenes.make_scene`.
    """
    check_scene(seed, split, max_steps)
    check_kinds(kinds, SHARES, "Encounters have")
    rng = np.random.default_rng((seed, split == "test", len(SHARES)))
    slips = np.random.default_rng((seed, *OF_SLIPS)) if split == "train" else None
    draft = Encounter(rng, split, max_steps, slips)
    if other_speaker:
        draft.speaker = draw_speaker(seed, split, (draft.voice, draft.bystander))
    shares = {kind: share for kind, share in SHARES.items() if kinds is None or kind in kinds}
    draft.pause(1, 8)
    draft.fill(shares, int(rng.integers(*(EVENTS if kinds is None else (1, 3)))), (2, 12))
    return draft.scene(seed)
