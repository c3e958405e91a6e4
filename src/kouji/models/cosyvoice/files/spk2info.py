"""The official file of saved speakers, `spk2info.pt`: read without running anything, and written.

An entry is either a whole prompt (what the reference says, its speech tokens, mel and embedding)
or, from fine-tuning on speakers, an embedding alone. Other keys are left unread. Written files
load in the official code as its own do.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kouji.errors import VoiceError
from kouji.models.archives.pickles import printable
from kouji.models.archives.torch_files import load_torch_file
from kouji.models.cosyvoice.conditioning import Conditioning
from kouji.models.cosyvoice.config import (
    FRAMES_PER_TOKEN,
    MAX_PROMPT_SECONDS,
    MELS,
    SPEAKER_WIDTH,
    TOKEN_RATE_HZ,
    CosyVoiceConfig,
)
from kouji.models.cosyvoice.hearing.voice import make_conditioning
from kouji.voices.store import write_atomically

FILE_NAME = "spk2info.pt"
MAX_TOKENS = round(MAX_PROMPT_SECONDS * TOKEN_RATE_HZ)
MAX_TEXT_TOKENS = 4096
_TEXT, _LM_TOKENS, _TOKENS = "prompt_text", "llm_prompt_speech_token", "flow_prompt_speech_token"
_MEL, _LM_SPEAKER, _SPEAKER = "prompt_speech_feat", "llm_embedding", "flow_embedding"
_FIXED = "embedding"


@dataclass(frozen=True)
class StoredSpeaker:
    """One entry of the file.

    conditioning: the voice; without tokens and mel for a speaker of fine-tuning
    prompt_text:  (tokens,) int64, what the reference says, as ids; may be empty
    """

    conditioning: Conditioning
    prompt_text: Tensor = field(repr=False)

    @property
    def is_fixed(self) -> bool:
        """True for an embedding alone, which can be spoken with but has no prompt to go on from."""
        return len(self.conditioning.tokens) == 0


def import_speakers(
    path: str | Path, config: CosyVoiceConfig | None = None
) -> dict[str, StoredSpeaker]:
    """The speakers of a file by their ids, in its order.

    path:   the file, or a model folder, which need not have one
    config: of the model that will speak: ids it does not know are then errors
    raises: VoiceError naming speaker, key and shape; ModelError for what is no file of torch, is
            cut off or hostile
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
        if not path.is_file():
            return {}
    content = load_torch_file(path).content
    if not isinstance(content, dict):
        raise _refuse(path, f"holds {type(content).__name__}", "speakers by their ids")
    speakers = {}
    for name, entry in content.items():
        if not isinstance(name, str) or not isinstance(entry, dict):
            seen = f"{printable(str(name), 80)} is {type(entry).__name__}"
            raise _refuse(path, seen, "a mapping for each speaker")
        speakers[name] = _Entry(entry, f"{path}: {printable(name, 80)}").speaker(config)
    return speakers


def export_speakers(path: str | Path, speakers: Mapping[str, StoredSpeaker]) -> None:
    """Write a file the official code reads; it appears whole or not at all.

    raises: VoiceError where it cannot be written
    """
    content = {name: _official(speaker) for name, speaker in speakers.items()}
    buffer = io.BytesIO()
    torch.save(content, buffer)
    try:
        write_atomically(Path(path), buffer.getvalue())
    except OSError as error:
        seen = f"{path}: {error.strerror}"
        raise VoiceError("speakers cannot be written", seen=seen, cure="check the path") from error


def _official(speaker: StoredSpeaker) -> dict[str, Tensor]:
    """The tensors of an entry: batches of one, int32 and float32, with their lengths."""
    voice = speaker.conditioning
    embedding = voice.speaker.detach().reshape(1, SPEAKER_WIDTH).float()
    if speaker.is_fixed:
        return {_FIXED: embedding.clone()}
    tokens = voice.tokens.reshape(1, -1)
    sequences = {
        _TEXT: speaker.prompt_text.reshape(1, -1).to(torch.int32),
        _LM_TOKENS: tokens.to(torch.int32),
        _TOKENS: tokens.to(torch.int32),
        _MEL: voice.mel.detach().reshape(1, -1, MELS).float(),
    }
    entry = {}
    for key, value in sequences.items():
        entry[key] = value.clone()
        entry[f"{key}_len"] = torch.tensor([value.shape[1]], dtype=torch.int32)
    return entry | {_LM_SPEAKER: embedding.clone(), _SPEAKER: embedding.clone()}


class _Entry:
    """One speaker's mapping, as it is read."""

    def __init__(self, values: Mapping[Any, Any], source: str) -> None:
        self.values, self.source = values, source

    def speaker(self, config: CosyVoiceConfig | None) -> StoredSpeaker:
        if _TOKENS not in self.values and _MEL not in self.values:
            speaker = self.floats(_SPEAKER if _SPEAKER in self.values else _FIXED, SPEAKER_WIDTH)
            nothing = torch.zeros(0, dtype=torch.int64)
            voice = make_conditioning(nothing, torch.zeros(0, MELS), speaker[0])
            return StoredSpeaker(voice, nothing)
        codebook = config.flow.codebook if config else None
        tokens = self.ids(_TOKENS, MAX_TOKENS, codebook)
        if _LM_TOKENS in self.values:
            heard = self.ids(_LM_TOKENS, MAX_TOKENS, codebook)
            if not torch.equal(heard, tokens):
                raise self.misfit(_LM_TOKENS, "other tokens", f"those of {_TOKENS}")
        mel = self.floats(_MEL, MELS)
        if len(mel) != FRAMES_PER_TOKEN * len(tokens):
            wanted = f"{FRAMES_PER_TOKEN * len(tokens)} frames for {len(tokens)} tokens"
            raise self.misfit(_MEL, f"{len(mel)} frames", wanted)
        text = torch.zeros(0, dtype=torch.int64)
        if _TEXT in self.values:
            text = self.ids(_TEXT, MAX_TEXT_TOKENS, config.lm.text_rows if config else None)
        return StoredSpeaker(make_conditioning(tokens, mel, self.embedding()), text)

    def embedding(self) -> Tensor:
        """(192,), the flow's; the language model hears none."""
        known = [key for key in (_SPEAKER, _LM_SPEAKER, _FIXED) if key in self.values]
        return self.floats(known[0] if known else _SPEAKER, SPEAKER_WIDTH)[0]

    def ids(self, key: str, most: int, limit: int | None) -> Tensor:
        """(tokens,) int64 of a sequence of ids; negative ones never are."""
        value = self.tensor(key)
        if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
            raise self.misfit(key, f"{value.dtype}", "whole numbers")
        flat = value.reshape(-1).to(torch.int64, copy=True)
        if value.shape not in ((len(flat),), (1, len(flat))) or len(flat) > most:
            raise self.misfit(key, _shape(value), f"1 x tokens, at most {most}")
        self.require_length(key, len(flat))
        if len(flat) and (flat.min() < 0 or (limit is not None and flat.max() >= limit)):
            allowed = f"0 to {limit - 1}" if limit else "0 and more"
            raise self.misfit(key, f"ids {flat.min()} to {flat.max()}", allowed)
        return flat

    def floats(self, key: str, width: int) -> Tensor:
        """(rows, width) float32."""
        value = self.tensor(key)
        if not value.is_floating_point():
            raise self.misfit(key, f"{value.dtype}", "floating point numbers")
        is_batch = value.dim() == 3 and value.shape[0] == 1
        rows = value[0] if is_batch else value[None] if value.dim() == 1 else value
        is_long = width == SPEAKER_WIDTH and len(rows) != 1
        if rows.dim() != 2 or rows.shape[1] != width or is_long:
            allowed = f"1 x {width}" if width == SPEAKER_WIDTH else f"1 x frames x {width}"
            raise self.misfit(key, _shape(value), allowed)
        if width == MELS:
            self.require_length(key, len(rows))
        if not bool(torch.isfinite(rows).all()):
            raise self.misfit(key, "not finite", "finite numbers")
        return rows.to(torch.float32)

    def require_length(self, key: str, length: int) -> None:
        """The length that stands beside a sequence, where there is one, is its own."""
        known = self.values.get(f"{key}_len")
        if known is None:
            return
        counted = known.reshape(-1)[:2].tolist() if isinstance(known, Tensor) else [known]
        if counted != [length]:
            raise self.misfit(f"{key}_len", printable(str(counted), 40), f"[{length}]")

    def tensor(self, key: str) -> Tensor:
        value = self.values.get(key)
        if not isinstance(value, Tensor):
            seen = "is missing" if value is None else f"is {type(value).__name__}"
            raise self.misfit(key, seen, "a tensor")
        return value

    def misfit(self, key: str, seen: str, allowed: str) -> VoiceError:
        return _refuse(self.source, f"{key}: {seen}", allowed)


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "one number"


def _refuse(source: object, seen: str, allowed: str) -> VoiceError:
    return VoiceError(
        "a saved speaker cannot be used",
        seen=f"{source}: {seen}",
        allowed=allowed,
        cure="save the speaker again with the model it is for",
    )
