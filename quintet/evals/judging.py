"""Who judges what is said and drawn, and how good these judges are themselves."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from quintet.data.world.pictures import render_picture
from quintet.data.world.scenes import PICTURE_SIZE
from quintet.data.world.things import THINGS
from quintet.evals.live_scores import Outcome, Results, names_only
from quintet.evals.picture_judge import PictureJudge
from quintet.evals.recognizer import Recognizer, spell, word_errors
from quintet.evals.scores import Score, ratio, share
from quintet.evals.voice_likeness import through_codec
from quintet.evals.word_spotter import WordSpotter
from quintet.media.images import fit_image
from quintet.media.speech import synthesize
from quintet.tokenizers.bundle import Tokenizers

CEILING_PICTURES = 256
GUESS = 1 / len(THINGS)  # what naming a random thing would get


class Judges:
    """Who says what was heard and seen; none of them was trained on anything a model made."""

    def __init__(self) -> None:
        self.recognizer = Recognizer.load()
        self.pictures = PictureJudge.load()
        self.spotter = WordSpotter.load()  # None where its package is not installed

    def hears(self, outcome: Outcome) -> bool:
        """The thing's name, and no other thing's, is in what the recognizer spells."""
        thing, said = outcome.reply.thing, outcome.speech
        return thing is not None and names_only(self.recognizer.transcribe(said), thing.name)

    def hears_exactly(self, outcome: Outcome) -> bool:
        """The recognizer spells the expected answer, word for word."""
        return self.recognizer.transcribe(outcome.speech) == spell(outcome.reply.text)

    def sees(self, outcome: Outcome) -> bool:
        """The first drawing looks most like the thing that was asked for."""
        thing = outcome.reply.thing
        return bool(
            thing and outcome.pictures and self.pictures.name(outcome.pictures[0]) == thing.name
        )


def judge_ceilings(
    results: Results, judges: Judges, tokenizers: Tokenizers, seed: int
) -> dict[str, Score]:
    """The judges on the real thing, and on the real thing encoded and decoded.

    The assistant's voice says a sentence always in the same way, and the recognizer's training
    held many of these sentences. How it hears what it never heard is told by the requests, which
    are in voices kept out of its training.
    """
    # Every word once: said again it is the same sound, which tells nothing more.
    once = {o.reply.text: o.reply for r in results["say"] for o in r.outcomes if o.reply.thing}
    replies = list(once.values())
    coded = [through_codec(tokenizers, reply.speech) for reply in replies]
    names = [reply.thing.name for reply in replies if reply.thing]
    recognizer, spotter = judges.recognizer, judges.spotter
    scores: dict[str, Score] = {}
    for way, sounds in (("real_word", [r.speech for r in replies]), ("word_after_codec", coded)):
        spelled = [recognizer.transcribe(sound) for sound in sounds]
        scores[f"judge_hears_{way}"] = share(map(names_only, spelled, names), GUESS)
        if spotter is not None:
            heard = [spotter.spot(sound) for sound in sounds]
            scores[f"second_judge_hears_{way}"] = share(
                (a == b for a, b in zip(heard, names, strict=True)), GUESS
            )
    scores |= _sentence_ceilings(results, recognizer, tokenizers)
    return scores | _picture_ceilings(judges, tokenizers, seed)


def _sentence_ceilings(
    results: Results, recognizer: Recognizer, tokenizers: Tokenizers
) -> dict[str, Score]:
    """Word error rates of the recognizer on whole answers and on requests in unseen voices."""
    played = [result for kind in results.values() for result in kind]
    answers = {o.reply.text: o.reply.speech for result in played for o in result.outcomes}
    lines = [line for result in played for line in result.scene.lines]
    asked = {(line.text, line.voice) for line in lines if line.voice}
    real = [word_errors(text, recognizer.transcribe(sound)) for text, sound in answers.items()]
    coded = [
        word_errors(text, recognizer.transcribe(through_codec(tokenizers, sound)))
        for text, sound in answers.items()
    ]
    unseen = [
        word_errors(text, recognizer.transcribe(synthesize(text, voice)))
        for text, voice in sorted(asked, key=str)
    ]
    return {
        "judge_word_error_rate_real_answers": ratio(real),
        "judge_word_error_rate_answers_after_codec": ratio(coded),
        "judge_word_error_rate_unseen_voices": ratio(unseen),
    }


def _picture_ceilings(judges: Judges, tokenizers: Tokenizers, seed: int) -> dict[str, Score]:
    rng = np.random.default_rng((seed, 30))
    size = tokenizers.image.config.size
    real, coded = [], []
    for index in range(CEILING_PICTURES):
        thing = THINGS[index % len(THINGS)]
        seen = Image.fromarray(render_picture(thing, rng, "test", PICTURE_SIZE))
        picture = fit_image(seen, size)  # as a session makes what it is shown
        with torch.no_grad():
            made_CHW = tokenizers.image.preview(tokenizers.encode_image(picture).tolist())
        made = (made_CHW.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        real.append(judges.pictures.name(picture) == thing.name)
        coded.append(judges.pictures.name(made) == thing.name)
    return {
        "judge_sees_real_picture": share(real, GUESS),
        "judge_sees_picture_after_tokenizer": share(coded, GUESS),
    }
