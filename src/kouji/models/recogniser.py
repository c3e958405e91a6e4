"""A small phone recogniser: mel in, CTC scores over phones with tones out.

Used to measure how well synthetic Chinese is understood, never to train a voice: a
judge must not be the teacher. About 1.9 M parameters, 25 outputs a second, made of
the same matrix-product blocks as `mini`. Knows neither files of audio nor corpora.
CTC: Graves et al., "Connectionist Temporal Classification", ICML 2006.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kouji.errors import ConfigError, ModelError
from kouji.models.layers.shift_block import ShiftBlock
from kouji.text.phones import (
    ARPABET_CONSONANTS,
    ARPABET_VOWELS,
    FINALS,
    INITIALS,
    SYMBOL_IDS,
    SYMBOLS,
    Phone,
    is_silence,
)

BLANK = 0
STACKED_FRAMES = 2  # 50 mel frames/s become 25 outputs/s
NEUTRAL_TONE = 5


@cache
def phone_classes() -> tuple[Phone, ...]:
    """The classes behind the blank, class i + 1 first: finals with tones 1-5, others bare.

    English stress is left out: this recogniser is read for Chinese, English phones only
    teach it more voices.
    """
    toned = [Phone(final, tone) for final in FINALS for tone in range(1, NEUTRAL_TONE + 1)]
    bare = [Phone(symbol) for symbol in (*INITIALS, *ARPABET_VOWELS, *ARPABET_CONSONANTS)]
    return tuple(toned + bare)


@cache
def _class_ids() -> dict[Phone, int]:
    return {phone: index + 1 for index, phone in enumerate(phone_classes())}


def class_of(symbol_id: int, tone: int) -> int | None:
    """The class of a phone given by ids of `text.phones`; None for silence and padding."""
    symbol = SYMBOLS[symbol_id]
    if symbol_id == 0 or is_silence(symbol):
        return None
    if symbol in FINALS:
        return _class_ids()[Phone(symbol, tone if 1 <= tone <= NEUTRAL_TONE else NEUTRAL_TONE)]
    return _class_ids()[Phone(symbol)]


@dataclass(frozen=True)
class RecogniserConfig:
    """Architecture of the recogniser; `bands` counts mel bands from the bottom.

    70 of 80 bands end at 8 kHz: recordings of 16 kHz and full-band speech look alike.
    """

    bands: int = 70
    width: int = 256
    hidden: int = 288
    dilations: tuple[int, ...] = (1, 1, 2, 2, 4, 1)
    dropout: float = 0.1

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RecogniserConfig:
        """Build from a JSON or YAML mapping; an unknown key is a ConfigError."""
        known = {item.name for item in fields(cls)}
        for key in values:
            if key not in known:
                raise ConfigError(
                    "unknown key in recogniser config",
                    seen=key,
                    allowed=", ".join(sorted(known)),
                )
        checked: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**checked)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; `from_dict` takes it back."""
        return asdict(self)


class Recogniser(nn.Module):
    """Phone scores of a natural-log mel spectrogram of 50 frames/s."""

    def __init__(self, config: RecogniserConfig) -> None:
        super().__init__()
        self.config = config
        self.enter = nn.Linear(STACKED_FRAMES * config.bands, config.width)
        self.blocks = nn.ModuleList(
            ShiftBlock(config.width, config.hidden, dilation=dilation)
            for dilation in config.dilations
        )
        self.norm = nn.LayerNorm(config.width)
        self.leave = nn.Linear(config.width, len(phone_classes()) + 1)
        self.register_buffer("to_symbols", _symbol_matrix(), persistent=False)

    def forward(self, mel: Tensor, num_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Score phones.

        mel:        (batch, frames, mels) natural log, padded after `num_frames`
        num_frames: (batch,) valid frames per row
        returns:    (batch, outputs, classes) logits, class 0 blank; (batch,) valid outputs
        """
        steps = torch.arange(mel.shape[1], device=mel.device)
        mask = (steps < num_frames[:, None]).unsqueeze(-1).float()
        # In float32: bfloat16 cannot count past 256 frames.
        x = level(mel[..., : self.config.bands].float(), mask).to(self.enter.weight.dtype)
        x = nn.functional.pad(x, (0, 0, 0, -x.shape[1] % STACKED_FRAMES))
        x = x.reshape(x.shape[0], x.shape[1] // STACKED_FRAMES, -1)
        num_outputs = (num_frames + STACKED_FRAMES - 1) // STACKED_FRAMES
        steps = torch.arange(x.shape[1], device=x.device)
        mask = (steps < num_outputs[:, None]).unsqueeze(-1).to(x.dtype)
        x = self.enter(x) * mask
        for block in self.blocks:
            x = block(nn.functional.dropout(x, self.config.dropout, self.training), mask)
        return self.leave(self.norm(x)), num_outputs

    def symbol_scores(self, logits: Tensor) -> Tensor:
        """Sum the probabilities of all tones of a symbol.

        logits:  (batch, outputs, classes)
        returns: (batch, outputs, symbols) float32 log-probabilities, symbol 0 blank
        """
        probabilities = logits.float().softmax(-1) @ self.get_buffer("to_symbols").float()
        return probabilities.clamp_min(1e-8).log()

    @torch.inference_mode()
    def recognise(self, mel: Tensor) -> list[Phone]:
        """Write down the Mandarin phones of one utterance, by the best path.

        mel:     (frames, mels) natural log
        returns: phones with tones, English phones excluded
        """
        device = self.leave.weight.device
        frames = torch.tensor([mel.shape[0]], device=device)
        logits, _ = self(mel[None].to(device), frames)
        return read_mandarin(logits[0], self.get_buffer("to_symbols"))


def level(mel: Tensor, mask: Tensor) -> Tensor:
    """Take out gain and the colour of microphone or vocoder: subtract each band's mean.

    The mean of a short clip says little, so it is drawn towards the clip's overall mean
    as if half a second of that had been heard as well. Same shapes as the input.
    """
    prior = 25.0  # frames
    count = mask.sum(dim=1, keepdim=True)
    sums = (mel * mask).sum(dim=1, keepdim=True)
    overall = sums.mean(dim=-1, keepdim=True) / count.clamp_min(1.0)
    return (mel - (sums + prior * overall) / (count + prior)) * (0.5 * mask)


def read_mandarin(logits: Tensor, to_symbols: Tensor) -> list[Phone]:
    """Read one row of logits (outputs, classes) as Mandarin: English phones are shut out."""
    scores = logits.float() + _mandarin_only().to(logits.device)
    return best_path(scores.log_softmax(-1), to_symbols.float())


def best_path(scores: Tensor, to_symbols: Tensor) -> list[Phone]:
    """Read the phones off a CTC score table, the best class of the best symbol each time.

    Symbols are decided first with their tones summed; a tone changing in the middle of a
    vowel does not make two of it.
    scores: (outputs, classes) log-probabilities; to_symbols: (classes, symbols) 0 or 1
    """
    probabilities = scores.exp()
    winners = (probabilities @ to_symbols).argmax(-1)
    phones: list[Phone] = []
    start = 0
    while start < len(winners):
        symbol, end = int(winners[start]), start
        while end < len(winners) and int(winners[end]) == symbol:
            end += 1
        if symbol != BLANK:
            evidence = probabilities[start:end].sum(0) * to_symbols[:, symbol]
            phones.append(phone_classes()[int(evidence.argmax()) - 1])
        start = end
    return phones


def _symbol_matrix() -> Tensor:
    """(classes, symbols): which symbol each class belongs to; blank goes to padding's id."""
    matrix = torch.zeros(len(phone_classes()) + 1, len(SYMBOLS))
    matrix[BLANK, 0] = 1.0
    for index, phone in enumerate(phone_classes()):
        matrix[index + 1, SYMBOL_IDS[phone.symbol]] = 1.0
    return matrix


@cache
def _mandarin_only() -> Tensor:
    """(classes,) zero for blank and Mandarin, minus infinity for English phones."""
    mandarin = {*INITIALS, *FINALS}
    allowed = [True, *(phone.symbol in mandarin for phone in phone_classes())]
    return torch.tensor([0.0 if keep else -torch.inf for keep in allowed])


def reference_classes(phones: Iterable[int], tones: Iterable[int]) -> list[int]:
    """Classes of a phone sequence given by ids, silences left out: the CTC target."""
    classes = (class_of(int(p), int(t)) for p, t in zip(phones, tones, strict=True))
    return [index for index in classes if index is not None]


def load_recogniser(folder: Path) -> Recogniser:
    """Load `recogniser.json` and `recogniser.safetensors` of a folder, in float32.

    Raises ModelError if a file is missing or does not fit the network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = json.loads((folder / "recogniser.json").read_text())
        tensors = load_file(folder / "recogniser.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(
            "the phone recogniser cannot be read",
            seen=str(error),
            cure="train it: kouji train recipes/recogniser.yaml",
        ) from error
    if config.get("classes") != [str(phone) for phone in phone_classes()]:
        raise ModelError("the phone recogniser was trained for other phones", seen=folder)
    network = Recogniser(RecogniserConfig.from_dict(config["model"]))
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except RuntimeError as error:
        raise ModelError("the phone recogniser's weights do not fit", seen=error) from error
    return network.eval()


def save_recogniser(network: Recogniser, folder: Path, record: dict[str, Any]) -> None:
    """Write weights (float16) and the JSON config with a `record` of how they came about."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().half().contiguous() for k, v in network.state_dict().items()}
    save_file(tensors, folder / "recogniser.safetensors")
    (folder / "recogniser.safetensors").chmod(0o644)  # safetensors writes for the owner only
    config = {
        "model": network.config.to_dict(),
        "classes": [str(phone) for phone in phone_classes()],
        "record": record,
    }
    (folder / "recogniser.json").write_text(json.dumps(config, indent=1) + "\n")
