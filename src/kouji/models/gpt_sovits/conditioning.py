"""What the two networks are given: the text of a segment, and a voice.

The words that text front end, reference handling, decoder and renderer share.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class TextFeatures:
    """A piece of text as the networks read it.

    phones: (phones,) int64 ids of the symbol table
    bert:   (phones, channels) float32, zeros where the language has no BERT; channels = 1024
            in official checkpoints
    text:   what was spoken, normalised; for reports
    """

    phones: Tensor
    bert: Tensor
    text: str = ""


@dataclass(frozen=True)
class Conditioning:
    """A voice, encoded with the weights that will speak it.

    prompt:        phones of what the reference says; None speaks reference-free
    prompt_tokens: (tokens,) int64 semantic tokens of the reference; None with `prompt`
    style:         (channels,) float32 global embedding `ge`, averaged over several references
    key:           content hash of all of it
    """

    prompt: TextFeatures | None
    prompt_tokens: Tensor | None
    style: Tensor
    key: str
