"""Voices that came from a `spk2info.pt`, spoken; and voices of ours as speakers of such a file.

A saved speaker has the ids of what its reference says, not the words. They stand where the words
of a voice's transcript would; an instruction takes their place, where the official code would
leave the instruction out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from kouji.errors import VoiceError
from kouji.models.cosyvoice.conditioning import Conditioning, TextSegment
from kouji.models.cosyvoice.files.spk2info import StoredSpeaker, export_speakers
from kouji.models.cosyvoice.hearing.voice import unpack_prompt_text
from kouji.models.cosyvoice.text.front import Front
from kouji.models.cosyvoice.text.prompt_text import SYSTEM
from kouji.models.cosyvoice.text.special_tokens import END_OF_PROMPT
from kouji.models.family import PreparedSegment, PreparedText
from kouji.text.style import Style
from kouji.voices.voice import Imported, Voice

_SOME_WORDS = "a"  # in place of a transcript whose ids are known already


def prepare_imported(
    front: Front,
    text: str,
    imported: Imported,
    *,
    text_rows: int,
    language: str | None = None,
    voice_language: str | None = None,
    style: Style | None = None,
    pause_seconds: float = 0.0,
) -> PreparedText:
    """A text for a saved speaker; arguments and errors as `Front.prepare`.

    text_rows: ids of text the model knows; VoiceError for a speaker with others

    With a prompt of its own it goes on from there (zero-shot), without its words it lends only
    the sound (cross-lingual), and an embedding alone is a speaker of fine-tuning.
    """
    ids = unpack_prompt_text(imported.arrays)
    if ids is not None and not 0 <= ids.min() <= ids.max() < text_rows:
        raise VoiceError(
            "a saved speaker is of another model",
            seen=f"ids of text {ids.min()} to {ids.max()}",
            allowed=f"0 to {text_rows - 1}",
            cure="import it for the model that wrote it",
        )
    has_prompt = len(imported.arrays.get("tokens", ())) > 0
    prepared = front.prepare(
        text,
        transcript=_SOME_WORDS if ids is not None and has_prompt else None,
        language=language,
        transcript_language=voice_language,
        style=style,
        is_fixed_speaker=not has_prompt,
        pause_seconds=pause_seconds,
    )
    if ids is None:
        return prepared
    said = _with_system(front, ids)
    segments = (_said(segment, said) for segment in prepared.segments)
    return replace(prepared, segments=tuple(segments))


def save_speakers(
    path: Path, speakers: Mapping[str, tuple[Voice, Conditioning]], front: Front
) -> None:
    """Write voices with their conditionings into a file the official code reads.

    raises: VoiceError where it cannot be written, TextError for a transcript without words
    """
    stored = {
        name: StoredSpeaker(conditioning, _prompt_text(voice, front))
        for name, (voice, conditioning) in speakers.items()
    }
    export_speakers(path, stored)


def _said(segment: PreparedSegment, ids: Tensor) -> PreparedSegment:
    payload = segment.payload
    assert isinstance(payload, TextSegment)
    if payload.mode != "zero_shot":
        return segment
    return replace(segment, payload=replace(payload, prompt_text=ids))


def _with_system(front: Front, ids: Tensor) -> Tensor:
    """The ids behind the system words, which version 3 must not miss."""
    head = front.tokenizer.encode(f"{SYSTEM}{END_OF_PROMPT}")
    if front.version != "cosyvoice3" or head[-1] in ids.tolist():
        return ids
    return torch.cat([torch.tensor(head, dtype=torch.int64), ids])


def _prompt_text(voice: Voice, front: Front) -> Tensor:
    """(tokens,) int64 of what a voice's reference says; empty where nobody knows."""
    nothing = torch.zeros(0, dtype=torch.int64)
    if voice.imported is not None:
        ids = unpack_prompt_text(voice.imported.arrays)
        return nothing if ids is None else ids
    if not voice.transcript:
        return nothing
    setting = front.settle(
        "", transcript=voice.transcript, transcript_language=voice.language, mode="zero_shot"
    )
    return torch.tensor(front.encode(setting.around.prompt), dtype=torch.int64)
