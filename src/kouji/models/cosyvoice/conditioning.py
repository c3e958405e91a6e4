"""What the networks are given: a voice as they heard it, a segment of text, a segment of speech.

Plain records between front, reference, language model and flow; frozen, on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from torch import Tensor

Mode = Literal["zero_shot", "cross_lingual", "instruct", "sft"]


@dataclass(frozen=True)
class Conditioning:
    """A voice.

    key:    content hash; equal keys mean equal tensors
    tokens: (tokens,) int64, what is said in the reference; empty for a fixed speaker
    mel:    (2 * tokens, 80) float32, the flow's mel of it, cut to its tokens
    speaker: (192,) float32, CAM++'s embedding as it came, not normalised
    """

    key: str
    tokens: Tensor = field(repr=False)
    mel: Tensor = field(repr=False)
    speaker: Tensor = field(repr=False)


@dataclass(frozen=True)
class TextSegment:
    """A segment to be spoken, as the language model reads it.

    prompt_text: (tokens,) int64: instruction and, in zero-shot, what the reference says
    text:        (tokens,) int64; in cross-lingual speech it begins with the system prefix
    mode:        in `zero_shot` the reference's speech tokens follow the text
    num_spoken:  tokens of `text` that are to be heard, without any prefix
    """

    prompt_text: Tensor = field(repr=False)
    text: Tensor = field(repr=False)
    mode: Mode = "zero_shot"
    num_spoken: int = 0


@dataclass(frozen=True)
class SpeechSegment:
    """Speech to be said again in another voice: (tokens,) int64 of the speech tokenizer."""

    tokens: Tensor = field(repr=False)


@dataclass(frozen=True)
class Manner:
    """How the flow renders one request.

    streaming: "official" as the official code does it: chunks under the causal mask, the last one
               under full attention; "causal" the mask to the end, so that chunks equal the whole
    """

    streaming: Literal["official", "causal"] = "causal"


class LMPart(NamedTuple):
    """Ids of one kind; `sos` (a sequence begins) and `task` (speech follows) have none."""

    kind: Literal["sos", "text", "task", "speech"]
    ids: tuple[int, ...] = ()

    @property
    def num_positions(self) -> int:
        """What it takes of a slot."""
        return len(self.ids) if self.kind in ("text", "speech") else 1


@dataclass(frozen=True)
class LMPiece:
    """What the language model reads in one go, part after part."""

    parts: tuple[LMPart, ...]

    @property
    def num_positions(self) -> int:
        """What it takes of a slot."""
        return sum(part.num_positions for part in self.parts)
