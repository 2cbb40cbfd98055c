"""Behaviour in time, on held-out encounters: who speaks when, measured from what was really said.

Names follow Full-Duplex-Bench (Lin et al. 2025, arXiv 2503.04721, and its version 1.5): pause
handling, smooth turn taking, user interruption, user backchannel, talking to others, background
speech. A take-over is any output in the time asked about; where silence is right it is an error.
Where an answer is right one must begin: whoever just never stops has not answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from quintet.config import SAMPLE_RATE, STEP_SAMPLES, STEPS_PER_SECOND
from quintet.data.world.encounters import make_encounter
from quintet.data.world.scenes import Moment, Scene, answer_step, make_scene
from quintet.data.world.seeds import SEEDS_OF_A_KIND, seeds_of
from quintet.evals.live_scores import (
    AFTERWARDS,
    Outcome,
    SceneResult,
    SteppedSession,
    is_active,
    names_only,
    run_scene,
)
from quintet.evals.recognizer import word_errors
from quintet.evals.scores import Score, mean, ratio, share
from quintet.live.session import StepOutput

KINDS = ("interruption", "backchannel", "hesitation", "watch", "dictation")
ENCOUNTERS = len(KINDS) + 1  # kinds of scenes: dictation is played again, with noise
OBEYED_SECONDS = 0.5  # after somebody begins to speak, the model has fallen silent
TOLD_STEPS = 3  # after a picture was shown, it has been told
ANSWERED_STEPS = 6  # after a line's last sound, an answer has begun
NOISE_DB = 10.0  # below the voice: the noisy dictation


@dataclass(frozen=True)
class Played:
    """A scene and what the model gave; `active[s]` and `speaks[s]` are of step s of the clock."""

    scene: Scene
    steps: tuple[StepOutput, ...]
    active: np.ndarray  # bool
    speaks: np.ndarray  # bool

    def text(self, first: int, end: int) -> str:
        """What was written in the steps [first, end)."""
        return "".join(out.text for out in self.steps if first <= out.step < end)


def play(session: SteppedSession, scene: Scene) -> Played:
    """Play `scene`, and some silence after it, to a fresh session."""
    steps = tuple(session.step(*given) for given in scene.given(AFTERWARDS))
    active, speaks = np.zeros(len(steps) + 2, bool), np.zeros(len(steps) + 2, bool)
    for out in steps:
        active[out.step], speaks[out.step] = is_active(out), out.speaking
    return Played(scene, steps, active, speaks)


def _moments(played: Iterable[Played], kind: str) -> Iterator[tuple[Played, Moment]]:
    return ((one, moment) for one in played for moment in one.scene.moments if moment.kind == kind)


def _step(sample: int) -> int:
    return sample // STEP_SAMPLES


def encounters(kind: str, count: int, seed: int) -> Iterator[Scene]:
    """So many held-out ones of a kind."""
    first = (seed * len(KINDS) + KINDS.index(kind)) * SEEDS_OF_A_KIND
    return (
        make_encounter(one, "test", (kind,)) for one in seeds_of("eval_encounters", first, count)
    )


def behaviour(
    new_session: Callable[[int], SteppedSession],
    scenes_each: int,
    seed: int = 0,
    done: Callable[[], None] = lambda: None,
) -> dict[str, Score]:
    """Every score of held-out encounters, of which `scenes_each` of each kind are played.

    Args:
        new_session: makes a session from a seed.
        done: called after each scene.
    """  # fmt: skip
    results: dict[str, list[Played]] = {}
    for kind in KINDS:
        results[kind] = []
        for index, scene in enumerate(encounters(kind, scenes_each, seed)):
            results[kind].append(play(new_session(index), scene))
            done()
    noisy = []
    for index, one in enumerate(results["dictation"]):
        noisy.append(play(new_session(index), with_noise(one.scene, index)))
        done()
    return {
        **pause_handling(results["hesitation"]),
        **user_interruption(results["interruption"]),
        **user_backchannel(results["backchannel"]),
        **watching(results["watch"]),
        "live_transcription_word_error_rate": transcription(results["dictation"]),
        "live_transcription_word_error_rate_10_db": transcription(noisy),
        "live_transcription_speaks": speaks_into_dictation(results["dictation"]),
    }


def with_noise(scene: Scene, seed: int) -> Scene:
    """The scene with white noise `NOISE_DB` below the power of its speech."""
    voices = [scene.microphone[o.start_sample : o.end_sample] for o in scene.lines]
    if not voices:
        return scene
    spoken = np.concatenate(voices)
    level = float(np.sqrt(np.mean(spoken**2))) * 10 ** (-NOISE_DB / 20)
    noise = np.random.default_rng((seed, 10)).standard_normal(len(scene.microphone))
    heard = np.clip(scene.microphone + level * noise.astype(np.float32), -1, 1)
    return replace(scene, microphone=heard.astype(np.float32))


def pause_handling(played: list[Played]) -> dict[str, Score]:
    """Whether it waits while somebody looks for words, and answers afterwards."""
    taken, answered, scenes = [], [], []
    for one, gap in _moments(played, "hesitation"):
        # Output of the step in which the voice sets in again was made before that was heard.
        first, last = _step(gap.start_sample) + 1, _step(gap.end_sample)
        taken.append(bool(one.active[first : last + 1].any()))
        line = next(o for o in one.scene.lines if o.start_sample < gap.start_sample < o.end_sample)
        answered.append(_answers(one, line.end_sample))
        scenes.append(id(one))
    return {
        "pause_handling_take_over_rate": share(taken, scenes=scenes),
        "pause_handling_answers_afterwards": share(answered, scenes=scenes),
    }


def _answers(one: Played, end_sample: int) -> bool:
    """An answer begins soon after a line's end."""
    ended = _step(end_sample - 1)
    active = one.active[ended : ended + 1 + ANSWERED_STEPS]
    return bool((active[1:] & ~active[:-1]).any())


def user_interruption(played: list[Played]) -> dict[str, Score]:
    """Whether it falls silent when somebody begins to speak, how soon, and what it does then."""
    obeyed, latencies, scenes, taken, asked, speaking, every = [], [], [], [], [], [], []
    for one, moment in _moments(played, "interruption"):
        begins, ended = _step(moment.start_sample), _step(moment.end_sample - 1)
        if any(begins < r.step <= ended + ANSWERED_STEPS for r in one.scene.replies):
            taken.append(_answers(one, moment.end_sample))
            asked.append(id(one))
        speaking.append(bool(one.speaks[begins]))
        every.append(id(one))
        if not speaking[-1]:
            continue  # nobody was interrupted
        silent = begins + int(np.argmin(one.speaks[begins:]))
        seconds = (silent * STEP_SAMPLES - moment.start_sample) / SAMPLE_RATE
        obeyed.append(seconds <= OBEYED_SECONDS)
        latencies.append(seconds)
        scenes.append(id(one))
    return {
        "user_interruption_finds_it_speaking": share(speaking, scenes=every),
        "user_interruption_obeyed": share(obeyed, scenes=scenes),
        "user_interruption_seconds_to_silence": mean(latencies, scenes=scenes),
        "user_interruption_take_over_rate": share(taken, scenes=asked),
    }


def user_backchannel(played: list[Played]) -> dict[str, Score]:
    """Whether it goes on speaking over a "mm-hm"."""
    went_on, scenes = [], []
    for one, moment in _moments(played, "backchannel"):
        begins, ended = _step(moment.start_sample), _step(moment.end_sample - 1)
        reply = max((r for r in one.scene.replies if r.step <= begins), key=lambda r: r.step)
        last = min(ended + 2, reply.step + reply.num_steps - 2)
        if one.speaks[begins] and last > begins:
            went_on.append(bool(one.speaks[begins : last + 1].all()))
            scenes.append(id(one))
    return {"user_backchannel_goes_on": share(went_on, scenes=scenes)}


def watching(played: list[Played]) -> dict[str, Score]:
    """Whether it tells what it was asked to watch for, when, and whether it cries wolf."""
    told, delays, scenes, waited, false, others = [], [], [], [], [], []
    for one in played:
        sought = {m.start_sample // STEP_SAMPLES for m in one.scene.moments if m.kind == "watch"}
        for shown in one.scene.shown:
            first, end = shown.step + 1, shown.step + 1 + TOLD_STEPS
            if shown.step in sought:
                right = names_only(one.text(first, end), shown.thing.name)
                told.append(right)
                scenes.append(id(one))
                if right:
                    delays.append(float(np.argmax(one.active[first:end]) + 1) / STEPS_PER_SECOND)
                    waited.append(id(one))
            else:
                false.append(bool(one.text(first, min(end, _next_shown(one.scene, shown.step)))))
                others.append(id(one))
    return {
        "watching_told": share(told, scenes=scenes),
        "watching_seconds_to_tell": mean(delays, scenes=waited),
        "watching_false_alarms": share(false, scenes=others),
    }


def _next_shown(scene: Scene, step: int) -> int:
    """The first step that a later picture can be answered in."""
    return min((one.step + 1 for one in scene.shown if one.step > step), default=1 << 30)


def transcription(played: list[Played]) -> Score:
    """Word error rate of lines that it was told to write down."""
    errors, scenes = [], []
    for one in played:
        moments = [m for m in one.scene.moments if m.kind == "dictation"]
        for moment in moments:
            line = next(o for o in one.scene.lines if o.start_sample == moment.start_sample)
            later = [o.end_sample for o in one.scene.lines if o.start_sample > line.start_sample]
            ends = _step(line.end_sample - 1) + 1
            until = _step(min(later) - 1) + 1 if later else len(one.active)
            errors.append(word_errors(line.text, one.text(ends, until)))
            scenes.append(id(one))
    return ratio(errors, scenes=scenes)


def speaks_into_dictation(played: list[Played]) -> Score:
    """Whether it speaks while or after a line is dictated, which is to be written silently."""
    spoken, scenes = [], []
    for one, moment in _moments(played, "dictation"):
        first, written = _step(moment.start_sample) + 1, answer_step(moment.end_sample)
        spoken.append(bool(one.speaks[first : written + 2].any()))
        scenes.append(id(one))
    return share(spoken, scenes=scenes)


def turn_taking(outcomes: Iterable[Outcome]) -> dict[str, Score]:
    """Whether, and how soon, spoken requests are answered: of the scenes of the report card."""
    spoken = [o for o in outcomes if not o.reply.typed]
    taken = [o.delay_steps is not None and o.delay_steps <= ANSWERED_STEPS for o in spoken]
    begun = [o for o in spoken if o.delay_seconds is not None]
    return {
        "turn_taking_take_over_rate": share(taken, scenes=[id(o.scene) for o in spoken]),
        "turn_taking_latency_seconds": mean(
            [o.delay_seconds for o in begun if o.delay_seconds is not None],
            scenes=[id(o.scene) for o in begun],
        ),
    }


def not_addressed(results: Iterable[SceneResult]) -> dict[str, Score]:
    """Whether it keeps out of talk that is not for it, by who speaks, in scenes of nothing else."""
    taken: dict[str, list[bool]] = {"user": [], "bystander": []}
    scenes: dict[str, list[int]] = {"user": [], "bystander": []}
    for result in results:
        active = {out.step for out in result.steps if is_active(out)}
        for line in result.scene.lines:
            ended = _step(line.end_sample - 1)
            heard = range(_step(line.start_sample) + 1, ended + 1 + ANSWERED_STEPS)
            taken[line.speaker].append(any(step in active for step in heard))
            scenes[line.speaker].append(id(result))
    return {
        "talking_to_others_take_over_rate": share(taken["user"], scenes=scenes["user"]),
        "background_speech_take_over_rate": share(taken["bystander"], scenes=scenes["bystander"]),
    }


def silence(session: SteppedSession, minutes: float, seed: int = 0) -> dict[str, Score]:
    """The share of steps broken in `minutes` of a quiet room, which hums a little."""
    rng, broken = np.random.default_rng((seed, 30)), []
    for _ in range(round(minutes * 60 * STEPS_PER_SECOND)):
        room = 0.002 * rng.standard_normal(STEP_SAMPLES).astype(np.float32)
        broken.append(is_active(session.step(room)))
    # Neighbouring steps are alike: what is independent are minutes.
    minute = np.arange(len(broken)) // (60 * STEPS_PER_SECOND)
    return {"silence_broken_steps": share(broken, scenes=minute.tolist())}


class _Later:
    """A session that has long been running, its steps counted from now."""

    def __init__(self, session: SteppedSession, began: int) -> None:
        self.session, self.began = session, began

    def step(
        self, audio: np.ndarray, image: np.ndarray | None = None, text: str | None = None
    ) -> StepOutput:
        out = self.session.step(audio, image, text)
        return replace(out, step=out.step - self.began)


def length(
    session: SteppedSession, minutes: float, at_the_ends: float, seed: int = 0
) -> dict[str, Score]:
    """One session of `minutes` full of requests: how many are answered rightly in words in its
    first and in its last `at_the_ends` minutes."""
    begun, played, index = 0, [], 0
    while begun < minutes * 60 * STEPS_PER_SECOND:
        (scene_seed,) = seeds_of("eval_long_session", seed * 10_000 + index, 1)
        scene = make_scene(scene_seed, "test")
        played.append((begun, run_scene(_Later(session, begun), scene)))
        begun += scene.num_steps + AFTERWARDS
        index += 1
    edge = at_the_ends * 60 * STEPS_PER_SECOND
    early = [result for at, result in played if at < edge]
    late = [result for at, result in played if at >= begun - edge]
    return {
        f"answers_rightly_in_the_{name}_minutes": share(
            [o.is_exact for result in some for o in result.outcomes],
            scenes=[id(result) for result in some for _ in result.outcomes],
        )
        for name, some in (("first", early), ("last", late))
    }
