"""Scenes -> timelines: the script's media become rows on the five streams."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from PIL import Image

from quintet.config import STEP_SAMPLES, OmniConfig
from quintet.data.world.pictures import canonical_picture
from quintet.data.world.scenes import RECORDED, Reply, Scene
from quintet.media.images import fit_image
from quintet.timeline.rows import Rows
from quintet.timeline.streams import Stream
from quintet.timeline.targets import NOT_ASKED, Sample, Vocabulary, live_sample
from quintet.timeline.timeline import Timeline
from quintet.tokenizers.bundle import Tokenizers


class SceneEncoder:
    """Turns scenes into timelines; what the assistant says and draws is encoded once."""

    def __init__(self, config: OmniConfig, tokenizers: Tokenizers) -> None:
        self.config, self.tokenizers = config, tokenizers
        self.vocabulary = Vocabulary(config.text_image_vocab_size, config.audio.codebook_size)
        self._speech: dict[tuple[str, int], np.ndarray] = {}
        self._drawings: dict[str, np.ndarray] = {}

    def speech_codes(self, reply: Reply) -> np.ndarray:
        """The answer's sound, padded to whole steps, as codes [T, Q]."""
        if not len(reply.speech):
            return np.zeros((0, self.config.audio.num_codebooks), np.int64)
        # The same words may be cut short, or be said in another language.
        key = reply.text, hash(reply.speech.tobytes())
        if key in self._speech and reply.kind != RECORDED:
            return self._speech[key]
        padding = -len(reply.speech) % STEP_SAMPLES
        codes = self.tokenizers.encode_audio(np.pad(reply.speech, (0, padding)))
        if reply.kind != RECORDED:  # people say the same words in many ways
            self._speech[key] = codes
        return codes

    def drawing_codes(self, reply: Reply) -> np.ndarray:
        """The answer's picture as codes [G * G]."""
        assert reply.thing is not None and reply.drawing is not None
        if reply.thing.name not in self._drawings:
            # Drawn at the tokenizer's size, as in conversations: one set of codes for each thing.
            picture = canonical_picture(reply.thing, self.config.image.size)
            self._drawings[reply.thing.name] = self.tokenizers.encode_image(picture)
        return self._drawings[reply.thing.name]

    def timeline(self, scene: Scene) -> Timeline:
        """Everything that was heard, typed, shown, written, said and drawn."""
        tokenizers, audio = self.tokenizers, self.config.audio
        timeline = Timeline(audio.num_codebooks, self.config.text.vocab_size)
        if scene.speaker is not None:
            timeline.add_speaker(tokenizers.encode_audio(scene.speaker.sound), audio)
        heard = tokenizers.encode_audio(scene.microphone)
        for step in range(scene.num_steps):
            frames = slice(audio.frames_before(step), audio.frames_before(step + 1))
            timeline.add_audio(Stream.AUDIO_IN, heard[frames], step)
        for typed in scene.typed:
            ids = [*tokenizers.text.encode(typed.text), tokenizers.text.end_id]
            timeline.add_text(Stream.TEXT_IN, ids, typed.step)
        for shown in scene.shown:
            picture = fit_image(Image.fromarray(shown.picture), self.config.image.size)
            timeline.add_image(Stream.IMAGE_IN, tokenizers.encode_image(picture), shown.step)
        for reply in scene.replies:
            self.add_reply(timeline, reply)
        return timeline

    def add_reply(self, timeline: Timeline, reply: Reply) -> None:
        """What the assistant writes, draws and says, from the reply's step on."""
        text, budget = self.tokenizers.text, self.config.live.text_image_rows_per_step
        written = [(False, token) for token in text.encode(reply.text)]
        if reply.drawing is not None:
            written.append((False, text.image_id))
            written += [(True, int(code)) for code in self.drawing_codes(reply)]
        written.append((False, text.end_id))
        in_step = groupby(enumerate(written), lambda at: (at[0] // budget, at[1][0]))
        for (late, is_image), group in in_step:
            if reply.until_step is not None and reply.step + late >= reply.until_step:
                timeline.add_text(Stream.TEXT_OUT, [text.end_id], reply.until_step)
                break
            add = timeline.add_image if is_image else timeline.add_text
            add(Stream.TEXT_OUT, np.array([token for _, (_, token) in group]), reply.step + late)
        codes, audio = self.speech_codes(reply), self.config.audio
        first, step = 0, reply.step
        while first < len(codes) and step != reply.until_step:
            count = audio.frames_in(step)
            timeline.add_audio(Stream.AUDIO_OUT, codes[first : first + count], step)
            first, step = first + count, step + 1

    def sample(self, scene: Scene) -> Sample:
        """The scene's rows in live order, with what is asked at each tip. Of a slip nothing is
        learned: neither what is said, nor that what is asked meanwhile waits."""
        sample = self.asked(self.timeline(scene).rows())
        rows = sample.rows
        answered = rows.step + (rows.flag == 0)  # the step whose answer a row asks for
        for moment in scene.moments:
            if moment.kind == "slip":
                first, end = moment.start_sample // STEP_SAMPLES, moment.end_sample // STEP_SAMPLES
                slipped = (answered >= first) & (answered < end)
                sample.text_target[slipped] = sample.audio_target[slipped] = NOT_ASKED
        return sample

    def asked(self, rows: Rows) -> Sample:
        """Rows in live order, with what is asked at each tip."""
        return live_sample(
            rows,
            self.config.live.text_image_rows_per_step,
            self.config.audio.frames_in,
            self.vocabulary,
        )
