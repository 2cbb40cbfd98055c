"""The wide grammar's commands: what takes time, what is interrupted, and when silence is right."""

from __future__ import annotations

from quintet.data.world.script import (
    Cue,
    Draw,
    Interrupt,
    Overlap,
    Pause,
    Said,
    Show,
    Silence,
    Video,
    Wait,
)
from quintet.data.world.wide_questions import Intent, Rng, asked, capital, thing, things
from quintet.data.world.wide_things import PLURAL, a, this_is
from quintet.data.world.wide_words import NUMBERS, PEOPLE, SENTENCES, TO_OTHERS, pick

STOP = ("Stop.", "Stop, please.", "That is enough.", "Okay, stop.")


def _some(rng: Rng, choices: tuple[str, ...], count: int) -> list[str]:
    """Different ones."""
    return [choices[int(i)] for i in rng.choice(len(choices), count, replace=False)]


def _here_is(name: str) -> str:
    return f"Here are some {name}." if name in PLURAL else f"Here is {a(name)}."


def _quiet(rng: Rng) -> float:
    return float(rng.integers(4, 13)) / 4


def _transcribe(rng: Rng) -> list[Cue]:
    """What is said is written, and not spoken, until the user says stop."""
    cues: list[Cue] = [
        Said("user", pick(rng, ("Begin transcribing what I am saying.",
                "Please write down what I say.",
                                "Start transcribing.", "Transcribe what I say until I say stop."))),
        Said("assistant", pick(rng, ("I am listening.", "Go ahead.", "Ready."))),
    ]  # fmt: skip
    for sentence in _some(rng, SENTENCES, int(rng.integers(2, 4))):
        cues += [Said("user", sentence), Said("assistant", sentence, "writes")]
    cues += [Said("user", pick(rng, ("Stop transcribing.", *STOP))), Said("assistant", "Done.")]
    return [*cues, Said("user", pick(rng, SENTENCES)), Silence(1.0)]


def _describe_live(rng: Rng) -> list[Cue]:
    """Every scene of a video is told as it comes."""
    names = things(rng, int(rng.integers(2, 4)))
    ask = pick(rng, ("Describe what is happening in these images.", "Tell me what you see.",
                     "Say what you see while I show it.",
                     "Describe the video as it runs."))  # fmt: skip
    cues: list[Cue] = [asked(rng, ask), Said("assistant", pick(rng, ("All right.", "I will.")))]
    for index, name in enumerate(names):
        told = f"I see {a(name)}." if index == 0 else f"Now {a(name)}."
        cues += [Wait(name), Video((name,), 3.0), Said("assistant", told)]
    return cues


def _tell_me_when(rng: Rng) -> list[Cue]:
    """Other things come first, and are not spoken of."""
    *others, name = things(rng, int(rng.integers(2, 5)))
    ask = pick(rng, ("Tell me when you see {a}.", "Say so when {a} appears.",
                     "Watch this, and tell me when there is {a}.",
                     "Let me know when you see {a}."))  # fmt: skip
    found = pick(rng, ("I see {a}.", "Now I see {a}.")).format(a=a(name))
    return [
        asked(rng, ask.format(a=a(name))), Said("assistant", pick(rng, ("I will.", "All right."))),
        Wait(name), Video((*others, name), 1.5 * (len(others) + 1)), Said("assistant", found),
    ]  # fmt: skip


def _never_comes(rng: Rng) -> list[Cue]:
    """What is waited for does not come: silence is right."""
    *others, name = things(rng, 4)
    return [
        asked(rng, f"Tell me when you see {a(name)}."), Said("assistant", "I will."),
        Video(tuple(others), 4.5), Silence(4.5),
    ]  # fmt: skip


def _count_with_me(rng: Rng) -> list[Cue]:
    """Person and assistant in turn."""
    last = int(rng.integers(2, 6)) * 2
    ask = pick(rng, ("Count with me.", "Let us count together.", "Count with me, I begin."))
    cues: list[Cue] = [Said("user", ask), Said("assistant", "All right.")]
    for value in range(1, last + 1):
        speaker = "user" if value % 2 else "assistant"
        cues.append(Said(speaker, f"{capital(NUMBERS[value])}."))
    return cues


def _wait_for_go(rng: Rng) -> list[Cue]:
    """Something is to be done when the user says a word, after talk that is not it."""
    word = pick(rng, ("go", "now", "ready"))
    last = int(rng.integers(3, 6))
    ask = pick(rng, ("Wait until I say {word}, then count to {x}.",
                     "When I say {word}, count to {x}.",
                     "Count to {x}, but wait until I say {word}."))  # fmt: skip
    counted = capital(", ".join(NUMBERS[1 : last + 1])) + "."
    return [
        Said("user", ask.format(word=word, x=NUMBERS[last])), Said("assistant", "All right."),
        Wait(word), Said("user", pick(rng, SENTENCES[:12])), Silence(_quiet(rng)),
        Said("user", f"{capital(word)}!"), Said("assistant", counted),
    ]  # fmt: skip


def _echo(rng: Rng) -> list[Cue]:
    """Everything is repeated until the user says stop."""
    ask = pick(rng, ("Repeat everything I say until I say stop.", "Say everything after me.",
                     "Repeat after me until I say stop."))  # fmt: skip
    cues: list[Cue] = [Said("user", ask), Said("assistant", "All right.")]
    for sentence in _some(rng, SENTENCES, int(rng.integers(2, 4))):
        cues += [Said("user", sentence), Said("assistant", sentence)]
    return [*cues, Said("user", pick(rng, STOP)), Said("assistant", "I have stopped.")]


def _not_others(rng: Rng) -> list[Cue]:
    """Other people's questions are not for the assistant; then the user's is."""
    name = thing(rng)
    ask = pick(rng, ("Do not answer other people.", "Answer only me, please.",
                     "Only listen to me, not to the others."))  # fmt: skip
    cues: list[Cue] = [Said("user", ask), Said("assistant", "All right.")]
    for question in _some(rng, TO_OTHERS, int(rng.integers(1, 3))):
        cues += [Said("other", question), Silence(_quiet(rng))]
    return [*cues, Said("user", f"Say {name}."), Said("assistant", capital(name) + ".")]


def _overheard(rng: Rng) -> list[Cue]:
    """Two people talk with each other."""
    question, answer = pick(rng, TO_OTHERS), pick(rng, SENTENCES)
    first, second = ("user", "other") if rng.random() < 0.5 else ("other", "user")
    cues: list[Cue] = [Said(first, question)]
    if rng.random() < 0.4:
        cues.append(Overlap(0.3))
    return [*cues, Said(second, answer), Silence(_quiet(rng))]


def _be_quiet(rng: Rng) -> list[Cue]:
    """Nothing is answered until the assistant is called back."""
    ask = pick(rng, ("Be quiet until I say come back.", "Do not speak until I say come back.",
                     "Please be silent until I say come back."))  # fmt: skip
    return [
        Said("user", ask), Said("assistant", "All right."), Wait("come back"),
        Said("user", f"Say {thing(rng)}."), Silence(_quiet(rng)),
        Said("user", pick(rng, TO_OTHERS)), Silence(_quiet(rng)),
        Said("user", "Come back."), Said("assistant", "I am here."),
    ]  # fmt: skip


def _long_answer(rng: Rng) -> tuple[Said, Said]:
    last = int(rng.integers(10, 21))
    return Said("user", f"Count to {NUMBERS[last]}."), Said(
        "assistant", capital(", ".join(NUMBERS[1 : last + 1])) + "."
    )  # fmt: skip


def _stop(rng: Rng) -> list[Cue]:
    """A long answer is stopped."""
    return [*_long_answer(rng), Interrupt(_moment(rng)), Said("user", pick(rng, STOP)),
            Silence(_quiet(rng))]  # fmt: skip


def _barge_in(rng: Rng) -> list[Cue]:
    """A long answer is cut by another request."""
    name = thing(rng)
    form = pick(rng, ("No, say {name} instead.", "Wait, say {name}.", "Never mind. Say {name}."))
    return [*_long_answer(rng), Interrupt(_moment(rng)), Said("user", form.format(name=name)),
            Said("assistant", capital(name) + ".")]  # fmt: skip


def _correction(rng: Rng) -> list[Cue]:
    """The user meant another thing and says so while the assistant answers."""
    name, other = things(rng, 2)
    return [
        asked(rng, f"Draw {a(name)}."), Draw(name), Said("assistant", _here_is(name)),
        Interrupt(0.5), Said("user", f"No, I meant {a(other)}."), Draw(other),
        Said("assistant", f"Sorry. {_here_is(other)}"),
    ]  # fmt: skip


def _backchannel(rng: Rng) -> list[Cue]:
    """A short sound of agreement does not stop an answer."""
    ask, answer = _long_answer(rng)
    agreed = pick(rng, ("Mm-hm.", "Yes.", "Okay.", "Right.", "I see."))
    return [ask, answer, Overlap(_moment(rng)), Said("user", agreed), Silence(1.0)]


def _moment(rng: Rng) -> float:
    return float(rng.integers(3, 9)) / 4


def _two_requests(rng: Rng) -> list[Cue]:
    """Two at once, answered in their order."""
    name, other = things(rng, 2)
    return [
        asked(rng, f"Say {other}, and then draw {a(name)}."),
        Said("assistant", capital(other) + "."), Draw(name), Said("assistant", _here_is(name)),
    ]  # fmt: skip


def _remember_name(rng: Rng) -> list[Cue]:
    name = pick(rng, PEOPLE)
    told = pick(rng, ("My name is {name}.", "I am {name}.", "You can call me {name}."))
    ask = pick(rng, ("What is my name?", "Do you remember my name?", "Who am I?"))
    return [Said("user", told.format(name=name)), Said("assistant", f"Nice to meet you, {name}."),
            Pause(_quiet(rng)), asked(rng, ask), Said("assistant", f"You are {name}.")]  # fmt: skip


def _remember_number(rng: Rng) -> list[Cue]:
    value = NUMBERS[int(rng.integers(1, 21))]
    ask = pick(rng, ("What was the number?", "Which number was it?", "Tell me the number."))
    return [Said("user", f"Remember the number {value}."), Said("assistant", "I will."),
            Pause(_quiet(rng)), asked(rng, ask), Said("assistant",
            f"{capital(value)}.")]  # fmt: skip


def _say_again(rng: Rng) -> list[Cue]:
    name = thing(rng)
    ask = pick(rng, ("Say that again.", "What did you say?", "Once more, please.", "Sorry?"))
    answer = Said("assistant", capital(name) + ".")
    return [Said("user", f"Say {name}."), answer, Said("user", ask), answer]


def _nothing_shown(rng: Rng) -> list[Cue]:
    """There is no picture to speak of yet."""
    ask = pick(rng, ("What is this?", "What do you see?", "What am I showing you?"))
    name = thing(rng)
    return [asked(rng, ask), Said("assistant", "I do not see anything."), Show(name),
            Said("assistant", this_is(name))]  # fmt: skip


def _only_write(rng: Rng) -> list[Cue]:
    """An answer that is written and not spoken."""
    name = thing(rng)
    ask = pick(rng, ("Write {name}, do not speak.", "Only write the word {name}.",
                     "Without a sound, write {name}."))  # fmt: skip
    return [asked(rng, ask.format(name=name)), Said("assistant", capital(name) + ".", "writes")]


def _late_picture(rng: Rng) -> list[Cue]:
    """The question comes before its picture."""
    name = thing(rng)
    return [asked(rng, "Tell me what I show you next."), Said("assistant", "All right."),
            Wait(name), Silence(_quiet(rng)), Show(name), Said("assistant",
            this_is(name))]  # fmt: skip


def _thinking(rng: Rng) -> list[Cue]:
    """The user stops within a sentence, and is let finish."""
    name = thing(rng)
    begun = pick(rng, ("Can you please,", "I would like you to,", "Could you, um,"))
    return [Said("user", begun), Pause(_moment(rng)), Said("user", f"say {name}."),
            Said("assistant", capital(name) + ".")]  # fmt: skip


COMMANDS: dict[str, Intent] = {
    "transcribe": _transcribe, "describe live": _describe_live, "tell me when": _tell_me_when,
    "never comes": _never_comes, "count with me": _count_with_me, "wait for go": _wait_for_go,
    "echo": _echo, "do not answer others": _not_others, "overheard": _overheard,
    "be quiet": _be_quiet, "stop": _stop, "barge in": _barge_in, "correction": _correction,
    "backchannel": _backchannel, "two requests": _two_requests, "remember name": _remember_name,
    "remember number": _remember_number, "say again": _say_again, "nothing shown": _nothing_shown,
    "only write": _only_write, "late picture": _late_picture, "thinking": _thinking,
}  # fmt: skip
