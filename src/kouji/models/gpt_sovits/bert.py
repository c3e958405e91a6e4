"""RoBERTa: one vector per character of a Chinese sentence, spread over its phones.

The network is the `transformers` library's BERT, opened from a directory in its layout
("chinese-roberta-wwm-ext-large"). GPT-SoVITS reads the third hidden state from the end, so
the last two layers and the head are never loaded. Sentences are remembered: a voice's
transcript and a retried or repeated sentence cost nothing.

Measured at the official size on one thread of an AVX512-BF16 CPU, milliseconds of CPU for 10, 25
and 60 characters: float32 as the library has it 188, 323, 571; packed as here 118, 170, 257;
bfloat16 packed 60, 93, 154, 2.0 to 2.5 % of the norm away with random weights. int8 took 109, 154,
589 and was 9 to 10 % away: not offered.
"""

from __future__ import annotations

import json
import logging
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kouji.errors import ModelError, UsageError
from kouji.models.gpt_sovits import pretrained
from kouji.models.layers.packed_linear import PackedLinear
from kouji.models.optional import missing_library
from kouji.models.precision import Precision
from kouji.models.unfilled import without_initial_values

SKIPPED_LAYERS = 2  # hidden_states[-3] is what layer (layers - 2) gives
DEFAULT_CACHE_BYTES = 64 << 20  # 320 sentences of 50 characters
_SPECIAL = {"cls": "[CLS]", "sep": "[SEP]", "unknown": "[UNK]"}
_log = logging.getLogger(__name__)


class Vocabulary:
    """Token ids of single characters, as a BERT tokenizer gives them to Chinese text.

    GPT-SoVITS needs exactly one token per character. A tokenizer joins Latin letters and
    digits into longer tokens; here they stay one each. Chinese and punctuation are the same.
    """

    def __init__(self, ids: dict[str, int]) -> None:
        missing = [token for token in _SPECIAL.values() if token not in ids]
        if missing:
            raise ModelError("a BERT vocabulary lacks its special tokens", seen=missing)
        self._ids = ids
        self._cls, self._sep, self._unknown = (ids[token] for token in _SPECIAL.values())

    @classmethod
    def load(cls, folder: Path) -> Vocabulary:
        """Read vocab.txt, or tokenizer.json where there is none."""
        try:
            if (folder / "vocab.txt").is_file():
                lines = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
                return cls({line.rstrip("\r"): index for index, line in enumerate(lines) if line})
            content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
            return cls(
                {str(token): int(index) for token, index in content["model"]["vocab"].items()}
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                "a BERT directory has no readable vocabulary",
                seen=f"{folder}: {error}",
                allowed="vocab.txt or tokenizer.json",
            ) from error

    def encode(self, text: str) -> list[int]:
        """Ids of [CLS], every character, [SEP]: len(text) + 2."""
        return [self._cls, *(self._id(character) for character in text), self._sep]

    def _id(self, character: str) -> int:
        if character in self._ids:
            return self._ids[character]
        # What BERT's tokenizer folds: case and accents. One character stays one token.
        folded = unicodedata.normalize("NFD", character.lower())[:1]
        return self._ids.get(folded, self._unknown)


class Bert:
    """The network on one device with its memory of sentences; safe to call from several threads.

    num_channels:   of the features, 1024 in the large size
    max_characters: read at once; longer text is read in pieces
    """

    def __init__(
        self, network: Any, vocabulary: Vocabulary, cache_bytes: int = DEFAULT_CACHE_BYTES
    ) -> None:
        self.network = network
        self.vocabulary = vocabulary
        self.num_channels: int = network.config.hidden_size
        self.max_characters: int = network.config.max_position_embeddings - 2
        self.cache = SentenceCache(cache_bytes)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        precision: Precision = "float32",
        device: str | torch.device = "cpu",
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> Bert:
        """Open a directory with config.json, weights and vocab.txt or tokenizer.json.

        precision: of the matrix products; sums, norms and softmax stay in float32
        cache_bytes: bound of the memory of sentences; 0 remembers nothing
        raises:    ModelError for what is missing or does not fit, UsageError without transformers
        """
        folder = Path(folder)
        values = pretrained.read_config(folder)
        vocabulary = Vocabulary.load(folder)
        network = _load_network(folder, values, precision)
        linears = _linears(network.encoder)
        while linears:  # popped, so that each goes as soon as it is packed
            holder, name, linear = linears.pop()
            setattr(holder, name, _Packed(linear, precision, device))
        return cls(network.to(device), vocabulary, cache_bytes)

    @property
    def num_bytes(self) -> int:
        """Memory of the weights."""
        plain: list[int] = [
            each.numel() * each.element_size() for each in self.network.parameters()
        ]
        packed: list[int] = [
            each.linear.num_bytes for each in self.network.modules() if isinstance(each, _Packed)
        ]
        return sum(packed, start=sum(plain))

    def features(self, text: str, word2ph: Sequence[int]) -> Tensor:
        """One vector per phone.

        text:    normalised, one character per entry of `word2ph`
        word2ph: phones of each character
        returns: (phones, channels) float32 on the CPU
        """
        if len(text) != len(word2ph):
            raise UsageError(
                "every character needs its number of phones",
                seen=f"{len(text)} characters, {len(word2ph)} numbers",
                allowed="as many as characters",
            )
        return self.embed(text).repeat_interleave(torch.tensor(word2ph, dtype=torch.long), dim=0)

    def embed(self, text: str) -> Tensor:
        """One vector per character, not to be written to.

        returns: (characters, channels) float32 on the CPU
        """
        if not text:
            return torch.zeros(0, self.num_channels)
        known = self.cache.get(text)
        if known is None:
            # Sentences beyond BERT's positions come from digits read out; upstream fails there.
            size = self.max_characters
            pieces = [text[first : first + size] for first in range(0, len(text), size)]
            known = torch.cat([self._run(piece) for piece in pieces])
            self.cache.put(text, known)
        return known

    @torch.inference_mode()
    def _run(self, text: str) -> Tensor:
        device = next(self.network.parameters()).device
        ids = torch.tensor([self.vocabulary.encode(text)], device=device)
        hidden: Tensor = self.network(input_ids=ids).last_hidden_state
        return hidden[0, 1:-1].float().cpu()


class SentenceCache:
    """The most recently used tensors by text, bounded in bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._entries: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, text: str) -> Tensor | None:
        """What was kept for a text, now the most recent."""
        with self._lock:
            if text not in self._entries:
                return None
            self._entries.move_to_end(text)
            return self._entries[text]

    def put(self, text: str, value: Tensor) -> None:
        """Keep a tensor and let the oldest go; one beyond the bound is not kept."""
        if value.nbytes > self.max_bytes:
            return
        with self._lock:
            if text in self._entries:
                self.num_bytes -= self._entries.pop(text).nbytes
            self._entries[text] = value
            self.num_bytes += value.nbytes
            while self.num_bytes > self.max_bytes:
                self.num_bytes -= self._entries.popitem(last=False)[1].nbytes


def _load_network(folder: Path, values: dict[str, Any], precision: Precision) -> Any:
    """The encoder without its last layers, filled."""
    try:
        from transformers.models.bert.configuration_bert import BertConfig
        from transformers.models.bert.modeling_bert import BertModel
    except ImportError as error:
        raise missing_library("transformers", "GPT-SoVITS", error) from error
    layers = pretrained.make_config(BertConfig, values).num_hidden_layers - SKIPPED_LAYERS
    if layers < 1:
        allowed = f"more than {SKIPPED_LAYERS}"
        raise ModelError("this BERT has too few layers", seen=layers + 2, allowed=allowed)
    changes = {"num_hidden_layers": layers, "return_dict": True, "is_decoder": False}
    config = pretrained.make_config(BertConfig, {**values, **changes})
    # Built without memory: what is allocated only once goes back to the system when it is packed.
    with torch.device("meta"), without_initial_values():
        network: Any = BertModel(config, add_pooling_layer=False)
    positions = torch.arange(config.max_position_embeddings)[None]
    network.embeddings.position_ids = positions
    network.embeddings.token_type_ids = torch.zeros_like(positions)
    if precision in ("float16", "bfloat16"):  # filled at once in what they are packed from
        for _, _, linear in _linears(network.encoder):
            linear.to(getattr(torch, precision))

    def our_name(name: str) -> str | None:
        name = pretrained.canonical(name.removeprefix("bert."))
        parts = name.split(".")
        is_skipped = parts[:2] == ["encoder", "layer"] and int(parts[2]) >= layers
        is_head = parts[0] in ("cls", "pooler", "lm_head") or parts[-1].endswith("_ids")
        return None if is_skipped or is_head else name

    pretrained.fill(network, pretrained.read_folder_tensors(folder, our_name), "BERT")
    _log.debug("BERT of %d layers (%d left out) from %s", layers, SKIPPED_LAYERS, folder)
    return network


def _linears(module: nn.Module) -> list[tuple[nn.Module, str, nn.Linear]]:
    """Every linear layer inside, with its holder and its name there."""
    return [
        (holder, name, child)
        for holder in module.modules()
        for name, child in holder.named_children()
        if isinstance(child, nn.Linear)
    ]


class _Packed(nn.Module):
    """A linear layer in a CPU's own layout and any precision, between float32 activations.

    The residual stream, norms and softmax stay in float32: with random weights of the official
    size bfloat16 is then 2.7 % of the norm away, against 3.0 % in half precision throughout.
    """

    def __init__(self, linear: nn.Linear, precision: Precision, device: Any) -> None:
        super().__init__()
        self.linear: PackedLinear = PackedLinear(
            linear.weight, linear.bias, precision, device=device
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x.flatten(0, -2)).float()
        return y.view(*x.shape[:-1], -1)
