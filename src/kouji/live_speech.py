"""Text that is still being written, to one stream of sound.

A thread reads the text and hands it to the engine sentence by sentence, each a request of its
own with a seed of its own, so that what is heard hangs on the text alone and not on the pieces
it came in. A family that can is given a sentence while it is being written. The listener reads
one `SpeechStream`: one watermark, one notice, timings that go on. Knows an admitted job; no
files and no policies.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from kouji.errors import EngineBusy, KoujiError, TextError
from kouji.live_source import TextSource
from kouji.live_stretches import GrowingStretches
from kouji.models.family import PreparedSegment, PreparedText
from kouji.models.live import LiveReader, LiveSentence
from kouji.speaking import Job, Speaker, SpeechStream, Stretch
from kouji.text.sentences import SentenceBuffer

if TYPE_CHECKING:
    from kouji.last_stage import Assembler
    from kouji.types import Samples

AHEAD = 2  # sentences in the engine beyond the one being heard


def speak_live(
    speaker: Speaker,
    job: Job,
    pieces: TextSource,
    prepare: Callable[[str], PreparedText],
    reader: LiveReader | None,
    *,
    watermark: bool,
    is_streamed: bool,
) -> SpeechStream:
    """Begin to read and to speak; the stream lets go of what the job holds when it ends.

    job:     admitted without a text
    prepare: a sentence for the engine, as `Family.prepare`
    reader:  the family, where it speaks sentences before they are whole
    """
    assembler = speaker.assembler(job.script, watermark)
    stretches = GrowingStretches(pieces.close, lambda: pieces.needs_this_loop)
    writer = _Writer(speaker, job, stretches, assembler, prepare, is_streamed)
    if reader is not None and is_streamed:
        writer.reader = reader
    thread = threading.Thread(target=writer.run, args=(pieces,), name="kouji-text", daemon=True)
    thread.start()
    return speaker.join(stretches, assembler)


class _Lease:
    """Lets go of what a job holds when its writer and all its requests have ended."""

    def __init__(self, close: Callable[[], None]) -> None:
        self._close, self._count, self._lock = close, 1, threading.Lock()

    def take(self) -> None:
        """One more needs it."""
        with self._lock:
            self._count += 1

    def give_back(self) -> None:
        """One fewer does; in whichever thread."""
        with self._lock:
            self._count -= 1
            is_last = self._count == 0
        if is_last:
            self._close()


class _Open:
    """The sentence that is being written, in the hands of a family that reads along."""

    def __init__(self, live: LiveSentence, segments: list[PreparedSegment]) -> None:
        """segments: the one that is heard of it; its text is known when it is closed"""
        self.live, self._segments, self._said = live, segments, ""

    def feed(self, text: str) -> bool:
        """See `LiveSentence.feed`."""
        if not text:
            return True
        if not self.live.feed(text):
            return False
        self._said += text
        return True

    def close(self) -> tuple[str, ...]:
        """See `LiveSentence.close`; where nothing has a sound, that is a warning."""
        self._segments[0] = replace(self._segments[0], text=self._said)
        try:
            return self.live.close()
        except TextError as error:
            if type(error) is not TextError:
                raise
            return (error.what,)

    def give_up(self) -> str:
        """It counts as ended; the text that was not read of it."""
        unread = self.live.unread
        self._said = self._said.removesuffix(unread)
        return unread


class _Writer:
    """The thread that reads text and hands it to the engine."""

    def __init__(
        self,
        speaker: Speaker,
        job: Job,
        stretches: GrowingStretches,
        assembler: Assembler,
        prepare: Callable[[str], PreparedText],
        is_streamed: bool,
    ) -> None:
        self._speaker, self._job, self._stretches = speaker, job, stretches
        self._assembler, self._prepare, self._is_streamed = assembler, prepare, is_streamed
        self._lease = _Lease(job.held.close)
        self._num_sentences = 0
        self._silent: TextError | None = None  # why the newest sentence without sound has none
        self.reader: LiveReader | None = None
        self._open: _Open | None = None
        self._num_read = 0  # characters of the sentence that were given to `_open`

    def run(self, pieces: TextSource) -> None:
        """Read and hand over to the end; whatever goes wrong is raised to the listener."""
        error: BaseException | None = None
        try:
            self._write(pieces)
        except BaseException as found:
            error = found.with_traceback(None) if isinstance(found, KoujiError) else found
            if self._open is not None:
                with suppress(KoujiError):  # the first one is told
                    self._open.live.close()
        finally:
            self._lease.give_back()
            self._stretches.close(error)

    def _write(self, pieces: TextSource) -> None:
        buffer = SentenceBuffer(cuts_behind=self.reader is not None)
        with closing(iter(pieces)) as source:
            for piece in source:
                for sentence in buffer.add(piece):
                    self._say(sentence)
                self._read_along(buffer.rest)
        if rest := buffer.flush():
            self._say(rest)
        if not self._num_sentences:
            raise self._silent or TextError("the text is empty", cure="write something to speak")
        self._notice("end")

    def _say(self, sentence: str) -> None:
        """A sentence that is whole."""
        if self.reader is not None:
            self._read_along(sentence)
        if self._open is not None:
            self._close_open()
        elif self.reader is None and sentence.strip():
            self._say_whole(sentence)
        self._num_read = 0

    def _say_whole(self, sentence: str) -> None:
        self._stretches.wait_for_room(AHEAD)
        try:
            prepared = self._prepare(sentence)
        except TextError as error:
            if type(error) is not TextError:  # a mark or a style that is wrong
                raise
            self._silent = error  # nothing in it has a sound; the rest may
            self._assembler.warn((error.what,))
            return
        self._assembler.warn(prepared.warnings)
        self._hand_over(prepared)

    def _read_along(self, sentence: str) -> None:
        """Give the family what has come of a sentence since it was last asked."""
        if self.reader is None or (self._open is None and not any(map(str.isalnum, sentence))):
            return
        text = sentence[self._num_read :]
        if self._open is None and not self._open_sentence():
            return
        if self._open is not None and not self._open.feed(text):
            # The engine gave it up: what it has not read is a sentence of its own.
            text = self._open.give_up() + text
            self._close_open()
            self._open_sentence()
            if self._open is not None:
                self._open.feed(text)
        self._num_read = len(sentence)

    def _open_sentence(self) -> bool:
        """Let the family begin a sentence; False where it needs sentences whole, now and later."""
        assert self.reader is not None
        self._stretches.wait_for_room(AHEAD)
        request = self._job.script.request
        live = self.reader.open_live(
            request.voice, style=self._job.style, language=request.language
        )
        if live is None:
            self.reader = None
            return False
        segments = [PreparedSegment("", live.payload)]
        self._open = _Open(live, segments)
        self._hand_over(PreparedText(tuple(segments)), segments)
        return True

    def _close_open(self) -> None:
        assert self._open is not None
        self._assembler.warn(self._open.close())
        self._open = None

    def _hand_over(
        self, prepared: PreparedText, segments: list[PreparedSegment] | None = None
    ) -> None:
        script, number = self._job.script, self._num_sentences
        if not number:
            self._notice("start")
        request = replace(script.request, seed=_sentence_seed(script.request.seed, number))
        job = replace(self._job, script=replace(script, request=request, prepared=prepared))
        self._num_sentences += 1
        self._submit(job, "text", segments or list(prepared.segments))

    def _notice(self, place: str) -> None:
        if place not in self._job.script.notice.places:
            return
        if self._job.script.notice_words is None:
            sound: tuple[Samples] = (self._assembler.morse(),)
            self._stretches.put(Stretch(place, sound))
        else:
            self._submit(self._job, place, None)

    def _submit(self, job: Job, place: str, segments: list[PreparedSegment] | None) -> None:
        """Hand over to the engine, when others of this stream have made room if there is none."""
        self._lease.take()
        while True:
            try:
                source = self._speaker.submit(job, place, self._is_streamed, self._lease.give_back)
            except EngineBusy:
                if self._stretches.wait_for_room(0):
                    continue
                self._lease.give_back()
                raise
            except BaseException:
                self._lease.give_back()
                raise
            self._stretches.put(Stretch(place, source, segments))
            return


def _sentence_seed(seed: int, number: int) -> int:
    """A seed of its own for every sentence; the first has that of the request."""
    from kouji.engine.counter_random import derive_seed

    return seed if number == 0 else derive_seed(seed, number)
