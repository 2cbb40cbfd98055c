"""Who writes scripts: the wide grammar, a language model, or a model behind an HTTP endpoint.

Each is a `Writer`: the same seed asks for the same script, and what comes is always valid.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from quintet.config import UserError
from quintet.data.world import script as form
from quintet.data.world.script import MAX_CUES, Cue, Draw, Intent, Pause, Script, Show, Video
from quintet.data.world.script_sense import unseen_thing
from quintet.data.world.script_text import parse
from quintet.data.world.wide_commands import COMMANDS
from quintet.data.world.wide_exchanges import EXCHANGES
from quintet.data.world.wide_things import WIDE_THINGS
from quintet.media.endpoint import Endpoint

INTENTS = {**EXCHANGES, **COMMANDS}
COMMAND_SHARE = 0.4  # of the intents: one that takes time
MAX_TOKENS = 254  # of a script that a model of ours writes: what turn mode writes at once
TRIES = 4  # answers of a model that are read for one script
TEMPERATURE = 0.8  # of a model of ours: at 0 an order would have one script
KEY_VARIABLE = "QUINTET_ENDPOINT_KEY"  # holds the key of an endpoint that wants one

INSTRUCTIONS = """Write a short script of a person who talks with an assistant that hears, sees,
speaks, writes and draws at once. One cue a line, nothing else:

title: a few words
user: words that the user says        (or "user types: words")
other: words of somebody else, which are not for the assistant
assistant: the right answer           (or "assistant writes: words", without a sound)
[show cat]            the user shows a picture of a cat
[video dog, cat for 4]   moving pictures for 4 seconds, one thing after another
[draw cat]            the assistant draws, with its next line
[pause 1.5]           nobody speaks for 1.5 seconds
[overlap 0.5]         the next line begins before the last one ends
[interrupt 0.8]       the next line begins 0.8 seconds after the last one began, and cuts it
[wait until cat]      the assistant's next line answers when the cat is shown, or the word is said
[silence 2]           the assistant rightly says nothing for 2 seconds
"""


class Writer(Protocol):
    """Writes scripts."""

    def write(self, seed: int) -> Script:
        """The script of `seed`.

        Raises:
            UserError: there is none, with the reason.
        """
        ...


class GrammarWriter:
    """The wide grammar: one to three intents after another; a pure function of the seed.

    Args:
        intents: of `INTENTS`, to which the scripts are restricted.
    """

    def __init__(self, intents: Sequence[str] | None = None) -> None:
        unknown = sorted(set(intents or ()) - set(INTENTS))
        if unknown or (intents is not None and not intents):
            raise UserError(
                f"The wide world has no intent {', '.join(unknown) or 'of no name'}; choose from: "
                f"{', '.join(INTENTS)}."
            )
        self.intents = intents

    def write(self, seed: int) -> Script:
        rng = np.random.default_rng((seed, 1))
        names, cues = [], list[Cue]()
        for index in range(int(rng.integers(1, 4))):
            name = self._choose(rng)
            names.append(name)
            if index:
                cues.append(Pause(float(rng.integers(2, 9)) / 4))
            cues += [Intent(name), *INTENTS[name](rng)]
        assert len(cues) <= MAX_CUES
        return Script(", ".join(names), tuple(cues))

    def _choose(self, rng: np.random.Generator) -> str:
        if self.intents is not None:
            return self.intents[int(rng.integers(len(self.intents)))]
        group = COMMANDS if rng.random() < COMMAND_SHARE else EXCHANGES
        return list(group)[int(rng.integers(len(group)))]


def prompt(seed: int) -> str:
    """What a model is asked: the form, an example of the grammar's, and what to write about."""
    rng = np.random.default_rng((seed, 2))
    names = rng.choice(len(WIDE_THINGS), 8, replace=False)
    example = GrammarWriter().write(int(rng.integers(1 << 31))).write()
    known = ", ".join(WIDE_THINGS[int(index)].name for index in names)
    return (
        f"{INSTRUCTIONS}\nOnly things such as these can be shown or drawn: {known}.\n\n"
        f"An example:\n\n{example}\nWrite another script, about something else."
    )


def order(things: Sequence[str]) -> str:
    """What a model that was trained to write scripts is asked (`data.script_documents`)."""
    return f"write a script with: {', '.join(things)}." if things else "write a script."


def things_of(script: Script) -> list[str]:
    """What is shown and drawn in it, in order."""
    found: list[str] = []
    for cue in script.cues:
        match cue:
            case Show(thing) | Draw(thing):
                found.append(thing)
            case Video(things):
                found += things
    return list(dict.fromkeys(found))


def drawn_things(seed: int) -> list[str]:
    """Up to three things to order a script with; half of the scripts of the grammar have none."""
    rng = np.random.default_rng((seed, 3))
    chosen = rng.choice(len(WIDE_THINGS), int(rng.choice([0, 0, 0, 1, 2, 3])), replace=False)
    return [WIDE_THINGS[int(index)].name for index in chosen]


Sampling = TypeVar("Sampling", contravariant=True)


class Reply(Protocol):
    """What is read of `quintet.live.TurnReply`."""

    @property
    def text(self) -> str: ...


class Chatting(Protocol[Sampling]):
    """What is asked of `quintet.live.Quintet`, which is above this."""

    def chat(
        self, messages: Sequence[dict[str, object]], seed: int = 0, sampling: Sampling | None = None
    ) -> Reply: ...


class ModelWriter:
    """A model that is asked for scripts; what it writes passes the parser, and speaks of what is
    to be seen, or is asked anew.

    Args:
        answer: seed -> what the model writes.
        tries: of one script.

    Attributes:
        counts: scripts, repairs by name, and answers that were refused, so far.
    """

    def __init__(self, answer: Callable[[int], str], tries: int = TRIES) -> None:
        self.answer, self.tries = answer, tries
        self.counts: Counter[str] = Counter()

    @classmethod
    def of(cls, model: Chatting[Sampling], sampling: Sampling | None = None) -> ModelWriter:
        """Ask a model of ours, as `quintet.load` gives it, in turn mode; the stage `scripts`
        trains such a one. With `sampling` of a temperature, such as `TEMPERATURE`, it writes more
        than one script to an order."""

        def answer(seed: int) -> str:
            asked: dict[str, object] = {"role": "user", "content": [order(drawn_things(seed))]}
            return model.chat([asked], seed=seed, sampling=sampling).text

        return cls(answer)

    def write(self, seed: int) -> Script:
        refused = ""
        for attempt in range(self.tries):
            own = seed * self.tries + attempt
            repairs: list[str] = []
            try:
                script = parse(self.answer(own), repairs)
                if unseen := unseen_thing(script):
                    raise UserError(f"It speaks of a thing that nobody shows: {unseen!r}.")
            except _Unreachable as error:
                raise UserError(str(error)) from None
            except UserError as error:
                refused = str(error)
                self.counts["refused"] += 1
                continue
            self.counts.update(["scripts", *repairs])
            return script
        raise UserError(
            f"The model wrote no script in {self.tries} tries; the last was refused: {refused} "
            "Train it on scripts, or name another writer."
        )


class _Unreachable(UserError):
    """The endpoint gave nothing to read: asking again would not help."""


def endpoint_writer(url: str, model: str, tries: int = TRIES) -> ModelWriter:
    """A writer that asks an OpenAI-compatible endpoint: `url` is what comes before
    /chat/completions, such as "http://127.0.0.1:8000/v1".

    The key, if it wants one, stands in the environment variable `KEY_VARIABLE`.

    Raises:
        UserError: that is no address; later, nothing answers there.
    """
    endpoint = Endpoint(url, os.environ.get(KEY_VARIABLE, ""))

    def answer(seed: int) -> str:
        text = prompt(seed)
        asked = {
            "model": model, "messages": [{"role": "user", "content": text}], "seed": seed,
            "max_tokens": 2_000, "temperature": 1.0,
        }  # fmt: skip
        try:
            found = endpoint.post_json("chat/completions", asked)
        except UserError as error:
            raise _Unreachable(str(error)) from None
        try:
            content = found["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            content = None
        if not isinstance(content, str):
            raise UserError("The endpoint answered without a text; name another model.")
        return content[: form.MAX_CUES * form.MAX_CHARACTERS]

    return ModelWriter(answer, tries)
