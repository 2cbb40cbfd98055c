"""One conversation of the Realtime API: the state between a client's events and the clock.

The model listens and speaks by itself, at any time; this API speaks of turns and responses. So:

- what the model is to be given stands in `script`; what waits for `response.create`, in `waiting`;
- what the model begins to say is an `Answer`, and its fate is decided when it begins: it becomes a
  response, is held until one is asked for or the user's turn has ended, or is dropped;
- who begins to speak cancels the active response, and what is left of its answer is dropped.

No socket and no clock here: `given` and `answered` are called once a step.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from quintet.config import STEP_SAMPLES
from quintet.live.session import StepOutput
from quintet.serve.api.ids import new_id
from quintet.serve.api.problems import RequestError
from quintet.serve.api.settings import (
    ResponseSettings,
    SemanticVad,
    Settings,
    check_tool_choice,
    updated,
    validated,
)
from quintet.serve.realtime import events
from quintet.serve.realtime.ears import Ears, Heard, Spoken, Started, Stopped
from quintet.serve.realtime.events import Event
from quintet.serve.realtime.idle import IdleTimer
from quintet.serve.realtime.items import Conversation, Entry, Item, user_sound
from quintet.serve.realtime.response import Response, Wishes, wishes_of
from quintet.serve.realtime.voice_choice import Step, VoiceChoice
from quintet.serve.voices import Voiced

ANSWER_STEPS = 16  # 4 s: the model that has heard everything and says nothing then has no answer
QUIET_STEPS = 4  # without output after which an answer is over, though its words have no end
HELD_STEPS = 80  # 20 s of an answer that nobody asked for yet; more of it is not kept
EARLY_STEPS = 12  # 3 s: an answer that began longer before the end of a turn answers less than it
ENDED_STEPS = 2  # the same, once its words have their end
MAX_WAITING = 64  # entries that the model has not been given
MAX_WAITING_BYTES = 64 * 2**20  # of them together


class Fate(Enum):
    """What becomes of an answer."""

    DELIVERED = 1
    HELD = 2
    DROPPED = 3


@dataclass
class Answer:
    """What the model says from its first output to its last."""

    fate: Fate
    text_ended: bool = False
    quiet: int = 0  # steps since its last output


@dataclass
class Held:
    """The steps of an answer that is held, each with its picture."""

    began: int
    steps: list[tuple[StepOutput, str | None]]
    over: bool = False


class Dialogue:
    """The state of one connection.

    Args:
        settings: those that the session begins with.
        send: takes the server's events, in order.
        forget: is told the id of a cancelled response, of which nothing more may be sent.
        transcribe: is told the item and the sound of a turn that is to be transcribed.
        model: whose voices a client may choose.
    """

    def __init__(
        self,
        settings: Settings,
        send: Callable[[Event], None],
        forget: Callable[[str], None],
        transcribe: Callable[[Item, np.ndarray], None],
        model: Voiced | None = None,
    ) -> None:
        self.send, self.forget, self.transcribe = send, forget, transcribe
        self.id = new_id("sess")
        self.settings = settings
        self.conversation = Conversation()
        self.voice = VoiceChoice(model, settings.audio.output.voice)
        self.ears = Ears(self.settings.audio.input)
        self.script: deque[Entry] = deque()
        self.waiting: deque[Entry] = deque()
        self.response: Response | None = None
        self.answer: Answer | None = None
        self.held: Held | None = None
        self.now = 0
        self.idle = IdleTimer()
        self._began = 0  # the step at which the response did
        self._read: Counter[str] = Counter()  # rows since the last response ended, by modality
        send(events.session("session.created", self.settings, self.id, self.conversation))

    # ---- what the client says

    def update(self, session: object) -> None:
        model = self.settings.model
        changed = updated(self.settings, session)
        self.voice.update(changed.audio.output.voice)
        self.settings = changed
        self.settings.model = model  # whatever name it was asked for by
        self.ears.configure(self.settings.audio.input)
        self.send(events.session("session.updated", self.settings, self.id, self.conversation))

    def commit(self) -> None:
        self.check_room([])
        spoken = self.ears.commit()
        if spoken:
            self._turn(spoken)
            self._wait(spoken.sound)

    def clear(self) -> None:
        self.ears.clear()
        self.send(events.cleared())

    def create(self, item: Item, after: object) -> None:
        """Add an item of the client's."""
        self.check_room(item.entries)
        self._tell_item(item, self.conversation.add(item, after))
        for entry in item.entries:
            self._wait(entry)
        item.entries = []
        if item.is_answer:  # what came before has been answered, in another session
            self.waiting.clear()

    def retrieve(self, item_id: object) -> None:
        found = self.conversation.find(item_id, "item_retrieve_invalid_item_id")
        self.send(events.retrieved(found))

    def truncate(self, item_id: object, index: object, end_ms: object) -> None:
        left = self.conversation.truncate(item_id, index, end_ms)
        assert isinstance(item_id, str) and isinstance(index, int)
        self.send(events.truncated(item_id, index, left))

    def delete(self, item_id: object) -> None:
        self.conversation.delete(item_id)
        self.send(events.deleted(str(item_id)))

    def respond(self, response: object, entries: list[Entry] | None) -> None:
        """`response.create`; `entries` are those of its own input, if it has one."""
        if self.response:
            raise RequestError(
                f"The response {self.response.id} is in progress; wait for its end or cancel it.",
                "conversation_already_has_active_response",
            )
        wished: ResponseSettings = validated(ResponseSettings, response or {}, "response")
        if wished.conversation not in (None, "auto"):
            raise RequestError(
                "A response belongs to the conversation here; leave it out.",
                "unsupported_conversation", "response.conversation",
            )  # fmt: skip
        check_tool_choice(wished.tool_choice, "response.tool_choice")
        wishes = self._wishes(wished)
        if entries is not None:
            self.check_room(entries)
            self.script += entries
        elif not self.waiting and not self.held and wished.instructions:
            self.script.append(wished.instructions)  # such as: greet the user
        else:
            self._release()
        self._respond(wishes)

    def cancel(self, response_id: object) -> None:
        if not self.response or response_id not in (None, self.response.id):
            raise RequestError(
                "There is no such active response; nothing to cancel.",
                "response_cancel_not_active",
            )
        self._stop("cancelled", "client_cancelled")

    def check_room(self, entries: list[Entry]) -> None:
        """Refuse more than may wait for the model, which takes its time."""
        waiting = [*self.script, *self.waiting, *entries]
        size = sum(one.nbytes for one in waiting if isinstance(one, np.ndarray))
        if len(waiting) > MAX_WAITING or size > MAX_WAITING_BYTES:
            raise RequestError(
                "Too much waits for the model; ask for a response, or send this later.",
                "too_many_items",
            )

    def _wait(self, entry: Entry) -> None:
        """Keep an entry for the next response; a listening model sees pictures at once."""
        listening = self.ears.detector is not None
        looks = listening and isinstance(entry, np.ndarray) and entry.ndim == 3
        (self.script if looks else self.waiting).append(entry)

    def _release(self) -> None:
        self.script += self.waiting
        self.waiting.clear()

    # ---- what the model is given

    @property
    def hurried(self) -> bool:
        """Whether something waits that need not come at the pace at which it was spoken."""
        return self.ears.detector is None and bool(self.script)

    def given(self) -> Step:
        """What the next step takes."""
        return self.voice.gave(self._next())

    def _next(self) -> Step:
        self.now += 1
        silence = np.zeros(STEP_SAMPLES, np.float32)
        entry = self.script[0] if self.script else None
        if isinstance(entry, np.ndarray) and entry.ndim == 1:
            sound, rest = entry[:STEP_SAMPLES], entry[STEP_SAMPLES:]
            self.script.popleft()
            if len(rest):
                self.script.appendleft(rest)
            self.ears.queue.hold()  # the microphone goes on meanwhile
            return np.pad(sound, (0, STEP_SAMPLES - len(sound))), None, None
        if self.script:
            self.script.popleft()
        audio, heard = self.ears.step() if self.ears.detector else (silence, [])
        for one in heard:
            self._heard(one)
        busy = entry is not None or bool(self.response) or self.ears.speaking
        if self.idle.step(self.ears.idle_ms, busy, self.ears.ms):
            self._time_out()
        picture = entry if isinstance(entry, np.ndarray) else None
        return audio, picture, entry if isinstance(entry, str) else None

    def _heard(self, one: Heard) -> None:
        self.voice.turned()
        vad = self.settings.audio.input.turn_detection
        if isinstance(one, Started):
            self.send(events.speech_started(one.item_id, one.ms))
            if vad and vad.interrupt_response:
                self.held = None
                if self.response:
                    self._stop("cancelled", "turn_detected")
            self._release()  # what was written before it was spoken
        elif isinstance(one, Stopped):
            self.send(events.speech_stopped(one.item_id, one.ms))
        else:
            self._turn(one)
            if vad and vad.create_response and self.held:
                if self.now - self.held.began <= EARLY_STEPS and not self.response:
                    self._respond(self._wishes(ResponseSettings()))
                self.held = None

    def _time_out(self) -> None:
        """Nobody spoke for long: the silence is a turn, and the model may say something."""
        self.voice.turned()
        silence, vad = self.ears.time_out(), self.settings.audio.input.turn_detection
        self.send(events.timeout_triggered(silence.item_id, self.idle.since_ms, self.ears.ms))
        self._turn(silence)
        self._release()
        if vad and vad.create_response:
            self._respond(self._wishes(ResponseSettings()))

    def _turn(self, spoken: Spoken) -> None:
        """A turn of the user's is complete."""
        item = user_sound(spoken.item_id, spoken.sound)
        previous = self.conversation.add(item)
        self.send(events.committed(item.id, previous))
        self._tell_item(item, previous)
        if self.settings.audio.input.transcription:
            self.transcribe(item, spoken.sound)

    def _tell_item(self, item: Item, previous: str | None) -> None:
        self.send(events.item("conversation.item.added", item, previous))
        self.send(events.item("conversation.item.done", item, previous))

    # ---- what the model says

    @property
    def wants_pictures(self) -> bool:
        return self.settings.quintet is not None and self.settings.quintet.images

    def answered(self, output: StepOutput, picture: str | None = None) -> None:
        """Take the output of a step; `picture` is the data URL of what it drew."""
        for kind in ("text", "audio", "image"):
            self._read[kind] += output.counts[f"{kind}_in"]
        says = bool(
            output.speaking or output.text or output.image is not None or output.audio.any()
        )
        self.voice.took(output)
        if self.answer and self.answer.text_ended and output.text:
            self._end_answer()  # words after the end of the words: another answer
        if self.answer is None:
            if not says:
                self._wait_for_answer()
                return
            self.answer = Answer(self._fate())
        answer = self.answer
        answer.quiet = 0 if says else answer.quiet + 1
        answer.text_ended = answer.text_ended or output.text_ended
        if answer.fate is Fate.DELIVERED:
            self._deliver(output, picture)
        elif answer.fate is Fate.HELD:
            self._hold(output, picture)
        enough = ENDED_STEPS if answer.text_ended else QUIET_STEPS
        if answer.quiet >= (1 if answer.fate is Fate.DROPPED else enough):
            self._end_answer()

    def _fate(self) -> Fate:
        """What becomes of an answer that begins now."""
        vad = self.settings.audio.input.turn_detection
        if self.response:
            return Fate.DELIVERED
        if vad is None:
            return Fate.DROPPED  # nobody asked, and with push-to-talk nobody wants to be told
        if not vad.create_response or (self.ears.speaking and not isinstance(vad, SemanticVad)):
            self.held = Held(self.now, [])
            return Fate.HELD
        for one in self.ears.end_turn():  # the model's own judgement that it was its turn
            self._heard(one)
        self._respond(self._wishes(ResponseSettings()))
        return Fate.DELIVERED

    def _deliver(self, output: StepOutput, picture: str | None) -> None:
        if self.response is None:
            return
        for event in self.response.deliver(output, picture):
            self.send(event)
        written = not self.response.wishes.speaks and not self.response.wishes.images
        if self.response.full:
            self._stop("incomplete", "max_output_tokens")
        elif written and output.text_ended:
            self._stop("completed")

    def _hold(self, output: StepOutput, picture: str | None) -> None:
        if self.held and len(self.held.steps) < HELD_STEPS:
            self.held.steps.append((output, picture))

    def _end_answer(self) -> None:
        assert self.answer is not None
        if self.answer.fate is Fate.DELIVERED and self.response:
            self._stop("completed")
        elif self.answer.fate is Fate.HELD and self.held:
            self.held.over = True
        self.answer = None

    def _wait_for_answer(self) -> None:
        if not self.response or self.script or self.ears.speaking:
            return
        self.response.waited += 1
        if self.response.waited >= ANSWER_STEPS:
            self._stop("completed")

    def _respond(self, wishes: Wishes) -> None:
        """Begin a response; an answer that is held is its beginning."""
        self._began = self.now
        self.response = Response(wishes, self.conversation, self._read)
        self.send(self.response.created())
        held, self.held = self.held, None
        if not held:
            return
        if self.answer and self.answer.fate is Fate.HELD:
            self.answer.fate = Fate.DELIVERED
        for output, picture in held.steps:
            self._deliver(output, picture)
        if held.over and self.response:
            self._stop("completed")

    def _stop(self, status: str, reason: str | None = None) -> None:
        """End the active response; what the model still says of it is dropped."""
        assert self.response is not None
        response, self.response = self.response, None
        self._read = Counter()
        if status == "cancelled":
            self.forget(response.id)
        else:  # what the client was sent faster than it plays
            self.idle.played(max(0, self._began + response.steps - self.now))
        for event in response.finish(status, reason):
            self.send(event)
        if self.answer and self.answer.fate is Fate.DELIVERED:
            self.answer.fate = Fate.DROPPED

    def _wishes(self, wished: ResponseSettings) -> Wishes:
        """What a response is to be, from the session and `wished`."""
        made = wishes_of(self.settings, wished, self.wants_pictures)
        self.voice.check_response(made.voice)
        return made
