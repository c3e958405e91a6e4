"""What a family heard of each voice: in memory, beside a kept voice, or heard now.

Hearing a voice takes its networks a second or more; speaking asks for it every time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kouji.errors import ConsentError
from kouji.voices import Voice

if TYPE_CHECKING:
    from kouji.models.family import Family
    from kouji.models.stages import SpeechModel
    from kouji.voices import VoiceStore

_IN_MEMORY = 256  # voices


class _Heard(NamedTuple):
    """A conditioning in memory, and the content hash of the recording it was made of."""

    of: str
    conditioning: Any


class Conditionings:
    """Those of one family; safe to use from many threads.

    num_hits, num_misses: voices that were found in memory, or not
    """

    def __init__(self, family: Family, home: Path, require_leave: Callable[[Voice], None]) -> None:
        """Begin with an empty memory.

        home:          where voices are kept
        require_leave: raises ConsentError for a voice that may not be used now
        """
        self._family, self._home, self._require_leave = family, home, require_leave
        self._heard: OrderedDict[tuple[str, str], _Heard] = OrderedDict()
        self._lock = threading.Lock()
        self.num_hits = self.num_misses = 0

    @property
    def recordings(self) -> frozenset[str]:
        """Content hashes of what is in memory."""
        with self._lock:
            return frozenset(heard.of for heard in self._heard.values())

    def get(self, voice: Voice, model: SpeechModel) -> Any:
        """What the model heard of the voice.

        raises: what `Family.condition` raises; ConsentError if leave was taken back meanwhile
        """
        key = voice.key, self._family.weights_hash(voice)
        with self._lock:
            if key in self._heard:
                self._heard.move_to_end(key)
                self.num_hits += 1
                return self._heard[key].conditioning
        conditioning = self._stored(voice, model)
        with self._lock:
            self.num_misses += 1
            self._heard[key] = _Heard(voice.content_hash, conditioning)
            while len(self._heard) > _IN_MEMORY:
                self._heard.popitem(last=False)
        return conditioning

    def forget(self, content_hash: str) -> int:
        """Drop what memory holds of a recording; how many that were."""
        with self._lock:
            gone = [key for key, heard in self._heard.items() if heard.of == content_hash]
            for key in gone:
                del self._heard[key]
        return len(gone)

    def _stored(self, voice: Voice, model: SpeechModel) -> Any:
        from kouji.voices import VoiceStore

        store, family = VoiceStore(self._home), self._family
        if voice.imported is not None:
            return family.unpack(voice.imported.arrays)
        weights_hash = family.weights_hash(voice)
        is_kept = voice.id in store and store.get(voice.id).key == voice.key
        if is_kept:
            arrays = store.load_conditioning(voice.id, family.name, weights_hash)
            if arrays is not None:
                return family.unpack(arrays)
        conditioning = family.condition(voice, model)
        if is_kept:
            packed = family.pack(conditioning)
            store.save_conditioning(voice.id, family.name, weights_hash, packed)
            self._drop_if_revoked(voice, store)
        return conditioning

    def _drop_if_revoked(self, voice: Voice, store: VoiceStore) -> None:
        """Leave no file behind where the consent was revoked while it was computed."""
        try:
            self._require_leave(voice)
        except ConsentError:
            store.drop_conditionings(voice.id)
            raise
