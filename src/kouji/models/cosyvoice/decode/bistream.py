"""Speech from text that is still being written: who reads and who speaks next.

CosyVoice 2 and 3 were also trained on text and speech in turn, five tokens to fifteen
(arXiv:2412.10117): after fifteen the model, or this script in its place, says `fill`, which asks
for five more of text. `LiveText` is the text while it grows; `Bistream` follows it as a `Script`
of the engine. What it says depends on the tokens of text and speech alone, never on when text
came: text is taken one token after another, as in the official loop, and its end is known only
once it was said. Knows ids; no tensors, no engine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from kouji.models.cosyvoice.conditioning import Conditioning, LMPart, LMPiece, Mode
from kouji.models.cosyvoice.config import LMConfig
from kouji.models.cosyvoice.decode.lm_prompts import LMInputs
from kouji.models.stages import Prompt, Turn

MAX_RATIO = 20  # speech tokens for each text token, after the end of the text
Turns = Generator[Turn, None, None]
_WAIT = Turn(is_waiting=True)


class LiveText:
    """Text ids that come one after another; safe to use from many threads."""

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._is_closed = False
        self._wake: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def feed(self, ids: Sequence[int]) -> bool:
        """More text; False, and nothing is taken, where the text counts as ended."""
        with self._lock:
            if self._is_closed:
                return False
            self._ids += ids
            wake = self._wake
        if wake is not None and ids:
            wake()
        return True

    def close(self) -> None:
        """No more will come; again is harmless."""
        with self._lock:
            self._is_closed, wake = True, self._wake
        if wake is not None:
            wake()

    def on_news(self, wake: Callable[[], None] | None) -> None:
        """See `stages.Script`; one listener at a time."""
        with self._lock:
            self._wake = wake

    @property
    def ids(self) -> tuple[int, ...]:
        """What has come."""
        with self._lock:
            return tuple(self._ids)

    @property
    def is_closed(self) -> bool:
        """Nothing more will come."""
        return self._is_closed

    def at(self, place: int) -> int | None:
        """The id at a place, None where none has come yet.

        raises: EOFError behind the last id of a text that has ended
        """
        with self._lock:
            if place < len(self._ids):
                return self._ids[place]
            if self._is_closed:
                raise EOFError
            return None


@dataclass(frozen=True)
class LiveSegment:
    """A segment to be spoken while it is being written; the decoder's counterpart of `TextSegment`.

    prompt_text: ids of the instruction, in version 3 with its end mark, and in `zero_shot` of what
                 the reference says
    text:        grows
    mode:        in `zero_shot` the reference's speech tokens stand between those of its text
    """

    prompt_text: tuple[int, ...]
    text: LiveText = field(repr=False)
    mode: Mode = "zero_shot"


def live_prompt(segment: LiveSegment, voice: Conditioning, config: LMConfig) -> Prompt:
    """The prompt of a row that speaks a segment while it is written, with a script of its own.

    Its payload is what is read before any text; called again, it begins anew.
    """
    instruction, said = _split(segment.prompt_text, config)
    piece = LMPiece((LMPart("sos"), LMPart("text", instruction)))
    speech = tuple(voice.tokens.tolist()) if segment.mode == "zero_shot" else ()
    most = 1 << 30  # bounded by the script, and by the slot
    return Prompt(
        num_positions=piece.num_positions,
        next_position=piece.num_positions,
        history=_NO_HISTORY,
        prefix_key=f"live/{instruction}",
        num_phones=0,
        min_tokens=0,
        max_tokens=most,
        expected_tokens=(0, most),
        script=Bistream(config, said, speech, segment.text),
        payload=LMInputs(piece),
    )


def _split(ids: tuple[int, ...], config: LMConfig) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What is read before all else, and what counts as text: version 2 has no instruction apart."""
    is_apart = config.version == "cosyvoice3" and config.end_of_prompt in ids
    place = ids.index(config.end_of_prompt) + 1 if is_apart else 0
    return ids[:place], ids[place:]


_NO_HISTORY: Tensor = torch.zeros(0, dtype=torch.int64)


class Bistream:
    """The turns of one row; implements `stages.Script`.

    The row's slot holds the beginning mark, and the instruction where there is one. Beyond the
    official loop nothing but `fill` ends a burst; where the text was too short for all of the
    reference, the rest of its speech follows the text, as it does in speech that is not streamed;
    and speech ends some time.
    """

    def __init__(
        self, config: LMConfig, prompt_text: Sequence[int], speech: Sequence[int], text: LiveText
    ) -> None:
        """Begin before anything was said.

        prompt_text: ids that stand before the text
        speech:      ids of the reference's speech
        text:        is read from its beginning, whatever was read of it before
        """
        self._config, self._text = config, text
        self._pending, self._speech = list(prompt_text), list(speech)
        rounds = len(speech) // config.mix_speech + 1
        self._next_fill = rounds * config.mix_speech - len(speech)
        self._unread: list[LMPart] = []  # a sound that goes before the next input
        self._input: list[LMPart] = []  # not read yet
        self._last: list[LMPart] = []  # read last
        self._tokens: Sequence[int] = ()
        self._turns = self._play()

    def next(self, tokens: Sequence[int]) -> Turn:
        """What follows these tokens; see `stages.Script`."""
        self._tokens = tokens
        return next(self._turns)

    def steers(self, token: int) -> bool:
        """`fill` asks for text and is no sound."""
        return token == self._config.fill

    def on_news(self, wake: Callable[[], None] | None) -> None:
        """Hear of text."""
        self._text.on_news(wake)

    def give_up(self) -> None:
        """Take the text for ended."""
        self._text.close()

    def _play(self) -> Turns:
        """With every token of text speak as far as text allows; after its end speak to the end."""
        place = 0
        while True:
            try:
                token = self._text.at(place)
            except EOFError:
                break
            if token is None:
                yield _WAIT
                continue
            place += 1
            self._pending.append(token)
            self._interleave()
            if not self._speech and self._take_text():
                yield from self._burst()
        yield from self._ending(place)

    def _interleave(self) -> None:
        """Text and speech of the reference in turn, as in training."""
        text, speech = self._config.mix_text, self._config.mix_speech
        while self._speech and len(self._pending) >= text:
            self._input.append(LMPart("text", self._taken(text)))
            self._input.append(LMPart("speech", tuple(self._speech[:speech])))
            del self._speech[:speech]

    def _take_text(self) -> bool:
        """Whether speech may follow: after the reference, or after five tokens of text."""
        is_after_reference = not self._tokens and self._input
        if is_after_reference:
            return True
        if len(self._pending) < self._config.mix_text:
            return False
        self._input.append(LMPart("text", self._taken(self._config.mix_text)))
        return True

    def _burst(self) -> Turns:
        """Speak until `fill`, which is taken without a draw where it is due."""
        fill = self._config.fill
        yield self._read((fill,))
        while self._tokens[-1] != fill:
            if len(self._tokens) == self._next_fill:
                self._unread = self._last = [self._sound]
                yield Turn(forced=fill)
            else:
                self._last = [self._sound]
                yield Turn(allowed_ids=(fill,))
        self._next_fill = len(self._tokens) + self._config.mix_speech

    def _ending(self, num_text: int) -> Turns:
        """The rest of the text, and speech to its end.

        As officially, what was read last is read again before the rest.
        """
        eos, rest = self._config.eos, tuple(self._speech)
        while not num_text:
            yield Turn(forced=eos)  # nothing was written
        self._input += self._last
        if self._pending:
            self._input.append(LMPart("text", self._taken(len(self._pending))))
        self._input += [LMPart("task"), *([LMPart("speech", rest)] if rest else [])]
        yield self._read((eos,))
        for _ in range(MAX_RATIO * num_text - 1):
            yield Turn(allowed_ids=(eos,))
        while True:
            yield Turn(forced=eos)

    def _read(self, allowed_ids: tuple[int, ...]) -> Turn:
        """Read what is pending, and draw."""
        piece = LMPiece((*self._unread, *self._input))
        self._last, self._input, self._unread = self._input, [], []
        return Turn(piece, piece.num_positions, allowed_ids=allowed_ids)

    @property
    def _sound(self) -> LMPart:
        return LMPart("speech", (self._tokens[-1],))

    def _taken(self, count: int) -> tuple[int, ...]:
        """Text that is not pending any more."""
        taken = tuple(self._pending[:count])
        del self._pending[:count]
        return taken
