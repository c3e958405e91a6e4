"""What a key has chosen for its later requests through `/set_*`: weights and a reference.

In memory only, the longest unused forgotten first, gone with the server. A choice never touches
what another key hears: it travels with each request of its own key as the voice's weights.
Callers without a key share one choice.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

from kouji.serve.caller import Caller
from kouji.voices import Voice, VoiceWeights
from kouji.voices.voice import WeightsFile

MAX_KEYS = 1000


@dataclass(frozen=True)
class Choice:
    """What one key has chosen; None leaves it to the voice, then to the model.

    refer: the default reference, as it was named
    """

    t2s: WeightsFile | None = None
    sovits: WeightsFile | None = None
    refer: str | None = None

    def weights_for(self, voice: Voice, family: str) -> VoiceWeights | None:
        """The voice's own weights with the chosen ones in their place."""
        if self.t2s is None and self.sovits is None:
            return voice.weights
        own = voice.weights if voice.weights and voice.weights.model == family else None
        own = own or VoiceWeights(family)
        return VoiceWeights(family, self.t2s or own.t2s, self.sovits or own.sovits)


class Choices:
    """The choices of all keys; used on the event loop only."""

    def __init__(self) -> None:
        self._choices: OrderedDict[str, Choice] = OrderedDict()

    def get(self, caller: Caller) -> Choice:
        """The caller's own."""
        if caller.id in self._choices:
            self._choices.move_to_end(caller.id)
        return self._choices.get(caller.id, Choice())

    def change(self, caller: Caller, **changes: Any) -> None:
        """Set fields of `Choice` for this caller."""
        self._choices[caller.id] = replace(self.get(caller), **changes)
        self._choices.move_to_end(caller.id)
        while len(self._choices) > MAX_KEYS:
            self._choices.popitem(last=False)
