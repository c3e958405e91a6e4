"""The decode stage of CosyVoice: many rows at once, in little memory traffic.

Computes what `lm` computes, with packed weights of a chosen precision, keys and values in slots,
and the residual stream, norms and logits in float32. One row's numbers do not depend on the
others: products are row by row the same, attention is per row.

Everything is causal, so texts that begin alike (a voice's transcript, an instruction, the system
words) share the keys and values of that beginning: they are kept for those used last, and only
the rest of a prompt is computed. Equal prompts have equal `prefix_key`, and the engine may keep
them whole.

Measured on one thread of an AVX512-BF16 CPU that others used too, official sizes, random weights,
400 positions in every row, milliseconds a step for 1 / 2 / 4 / 8 rows: bfloat16 28 / 31 / 34 / 45,
of that products 24 / 27 / 28 / 37, and 20 if memory were only read (728 MB); `lm` in float32, one
row, 110. Attention takes 30 us a row and layer: embedding bags beat matrix products and fused
kernels here too, from 100 to 1500 positions.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kouji.models.cosyvoice.conditioning import Conditioning, LMPart, LMPiece, TextSegment
from kouji.models.cosyvoice.config import TOKEN_RATE_HZ, silent_tokens
from kouji.models.cosyvoice.decode.bistream import LiveSegment, live_prompt
from kouji.models.cosyvoice.decode.lm import SpeechLM
from kouji.models.cosyvoice.decode.lm_block import PackedBlock, PackedNorm, Span, rotations
from kouji.models.cosyvoice.decode.lm_prompts import LMInputs, make_prompt
from kouji.models.layers.attention import SHAPE_STEP, plan_step
from kouji.models.layers.kv_cache import CacheLayout, KeptPrefix, SlotCache, cache_dtype
from kouji.models.layers.packed_linear import LinearPrecision, PackedLinear, can_pack_half
from kouji.models.stages import Prompt

MAX_POSITIONS = 32_768  # what the body was trained for; a table, its address may be recorded
KEPT_BYTES = 64 << 20  # of beginnings, about 1 MB each: instructions, transcripts
WORTH_KEEPING = 8  # positions
FEW_STEP = 8  # as `SHAPE_STEP`, where a few words are read in the middle of a row


class LMDecoder:
    """`stages.ScriptedDecoder` over the weights of one language model; one thread at a time."""

    def __init__(
        self,
        network: SpeechLM,
        identity: str,
        *,
        precision: LinearPrecision = "float32",
        device: torch.device | str = "cpu",
        for_graphs: bool | None = None,
    ) -> None:
        """Pack a network; of it, only the table of text embeddings is kept, where it lies.

        identity:   family and hash of the weights
        precision:  of the blocks; int8 rounds weights only, on CPUs
        for_graphs: static shapes for CUDA graphs; None: on every device but CPUs
        """
        config, self.device = network.config, torch.device(device)
        self.config, self.identity, self.precision = config, identity, precision
        self.vocabulary, self.eos = config.vocabulary, config.first_stop
        self.stops_on_argmax = False
        self.token_rate_hz = float(TOKEN_RATE_HZ)
        self.silent_tokens = silent_tokens(config.version)
        self._layers = [PackedBlock(block, precision, self.device) for block in network.blocks]
        self._norm = PackedNorm(network.body.norm, self.device)
        head = network.llm_decoder
        self._predict = PackedLinear(
            head.weight, head.bias, _head_precision(precision, self.device), device=self.device
        )
        self._text = network.text_table
        self._speech, self._sos, self._task = (
            rows.detach().to(self.device, torch.float32, copy=True)
            for rows in (network.speech_embedding.weight, network.sos, network.task)
        )
        width = config.head_width
        self._rotations = rotations(MAX_POSITIONS, width, config.rope_theta, self.device)
        self._kept: OrderedDict[tuple[int, ...], KeptPrefix] = OrderedDict()
        is_strips = self.device.type == "cpu" if for_graphs is None else not for_graphs
        self._group = config.num_heads // config.num_kv_heads
        self.layout = CacheLayout(
            num_layers=config.num_layers,
            num_heads=config.num_kv_heads,
            head_width=width,
            dtype=cache_dtype(precision, is_strips),
            device=self.device,
            is_strips=is_strips,
        )

    @property
    def num_bytes(self) -> int:
        """Memory of the weights and tables."""
        tables = (self._text, self._speech, self._sos, self._task, self._rotations)
        return self.step_bytes + sum(table.nbytes for table in tables)

    @property
    def step_bytes(self) -> int:
        """What every step reads of it: all but the tables, of which it reads a row."""
        blocks = sum(layer.num_bytes for layer in self._layers)
        return blocks + self._norm.num_bytes + self._predict.num_bytes

    @property
    def cache_key(self) -> str:
        """Decoders with equal keys can share one cache."""
        return f"cosyvoice {self.layout}"

    def new_cache(self, num_slots: int, num_positions: int) -> SlotCache:
        """Allocate slots; positions are rounded up to whole strips on a CPU."""
        return self.layout.allocate(num_slots, num_positions)

    def slot_bytes(self, num_positions: int) -> int:
        """Memory of one slot."""
        return self.layout.slot_bytes(num_positions)

    def prompt(self, segment: TextSegment | LiveSegment, voice: Conditioning) -> Prompt:
        """Join a segment and a voice; see `make_prompt`, and `live_prompt` for growing text."""
        if isinstance(segment, LiveSegment):
            return live_prompt(segment, voice, self.config)
        return make_prompt(segment, voice, self.config)

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Prompt], cache: SlotCache, slots: Sequence[int]) -> Tensor:
        """Write prompts into their slots; see `stages.Decoder.prefill`.

        Prompts of any length are laid end to end, and each result is the same as alone.
        """
        inputs: list[LMInputs] = [prompt.payload for prompt in prompts]
        starts = [
            self._copy_beginning(each, cache, slot)
            for each, slot in zip(inputs, slots, strict=True)
        ]
        logits = self._read([each.piece for each in inputs], cache, slots, starts, starts)
        for each, slot, start in zip(inputs, slots, starts, strict=True):
            if not start:
                self._keep_beginning(each, cache, slot)
        return logits

    @torch.inference_mode()
    def extend(
        self,
        pieces: Sequence[LMPiece],
        cache: SlotCache,
        slots: Sequence[int],
        lengths: Sequence[int],
    ) -> Tensor:
        """Write pieces behind what is in their slots; see `stages.ScriptedDecoder.extend`."""
        return self._read(pieces, cache, slots, lengths, [0] * len(pieces))

    @torch.inference_mode()
    def step(
        self,
        tokens: Tensor,
        positions: Tensor,
        lengths: Tensor,
        slots: Tensor,
        cache: SlotCache,
        num_positions: int | None = None,
    ) -> Tensor:
        """One token further in every row; see `stages.Decoder.step`.

        num_positions: with `for_graphs`, look no further into the slots than this; a recorded
                       graph serves rows of lengths below it
        """
        plan = plan_step(cache, slots, lengths, num_positions, group=self._group)
        rotation = self._rotations[positions]
        x = self._speech[tokens]
        for number, layer in enumerate(self._layers):
            x = layer.step(x, number, plan, rotation)
        return self._predict(self._norm(x)).float()

    def _read(
        self,
        pieces: Sequence[LMPiece],
        cache: SlotCache,
        slots: Sequence[int],
        lengths: Sequence[int],
        num_known: Sequence[int],
    ) -> Tensor:
        """Write each piece, but for its first `num_known` positions, behind `lengths`."""
        rows = [self._embed(piece)[known:] for piece, known in zip(pieces, num_known, strict=True)]
        spans = [
            Span(slot, start, len(row))
            for slot, start, row in zip(slots, lengths, rows, strict=True)
        ]
        places = torch.cat([torch.arange(start, start + new) for _, start, new in spans])
        # Only the end is padded, so that products have few shapes.
        padding = -len(places) % (SHAPE_STEP if len(places) >= SHAPE_STEP else FEW_STEP)
        x = F.pad(torch.cat(rows), (0, 0, 0, padding))
        rotation = self._rotations[F.pad(places, (0, padding)).to(self.device)]
        for number, layer in enumerate(self._layers):
            x = layer.read(x, number, spans, cache, rotation)
        ends = torch.tensor([new for _, _, new in spans]).cumsum(0) - 1
        return self._predict(self._norm(x[ends.to(self.device)])).float()

    def _embed(self, piece: LMPiece) -> Tensor:
        """(positions, channels) float32."""
        return torch.cat([self._embed_part(part) for part in piece.parts])

    def _embed_part(self, part: LMPart) -> Tensor:
        if part.kind == "sos":
            return self._sos
        if part.kind == "task":
            return self._task
        ids = torch.tensor(part.ids, dtype=torch.int64)
        if part.kind == "speech":
            return self._speech[ids.to(self.device)]
        return self._text[ids.to(self._text.device)].to(self.device, torch.float32)

    def _copy_beginning(self, inputs: LMInputs, cache: SlotCache, slot: int) -> int:
        """Write what is known of a prompt's beginning; returns how many positions that is."""
        key = _beginning(inputs)
        kept = self._kept.pop(key, None)
        if kept is None:
            return 0
        self._kept[key] = kept
        cache.copy_in(slot, kept)
        return inputs.num_common

    def _keep_beginning(self, inputs: LMInputs, cache: SlotCache, slot: int) -> None:
        if inputs.num_common < WORTH_KEEPING:
            return
        self._kept[_beginning(inputs)] = cache.copy_out(slot, inputs.num_common)
        while sum(kept.num_bytes for kept in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)


def _beginning(inputs: LMInputs) -> tuple[int, ...]:
    """The text ids that follow sos in a prompt's common beginning."""
    return inputs.piece.parts[1].ids[: max(0, inputs.num_common - 1)]


def _head_precision(precision: LinearPrecision, device: torch.device) -> LinearPrecision:
    """The head as exact as can be had for little: float16 weights under float32 numbers."""
    is_half = precision != "float32" and device.type == "cpu" and can_pack_half()
    return "float16" if is_half else "float32"
