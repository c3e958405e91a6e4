"""The decode stage of GPT-SoVITS: many rows at once, in little memory traffic.

Computes what `t2s` computes, with packed weights of a chosen precision, keys and values in slots,
and the residual stream, norms and logits in float32. One row's numbers do not depend on the
others: products are row by row the same, attention is per row.

What texts of one voice share is small: text attention is bidirectional, so from the first block
on every prompt position depends on the target text and nothing deeper can be kept between two
texts. The embedded prompt (with its BERT projection) is kept per voice; equal segments in equal
voices have equal `prefix_key`, and their whole prefix can be kept by the engine.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from kouji.models.gpt_sovits.conditioning import Conditioning, TextFeatures
from kouji.models.gpt_sovits.config import TOKEN_RATE_HZ
from kouji.models.gpt_sovits.official_decode import MAX_STEPS, MUTE_TOKEN, early_stop_tokens
from kouji.models.gpt_sovits.packed_block import EmbeddedPrefix, PackedBlock
from kouji.models.gpt_sovits.prompts import PromptInputs, make_prompt
from kouji.models.gpt_sovits.t2s import T2S, sinusoids
from kouji.models.layers.attention import SHAPE_STEP, plan_step
from kouji.models.layers.kv_cache import CacheLayout, SlotCache, cache_dtype
from kouji.models.layers.packed_linear import LinearPrecision, PackedLinear
from kouji.models.stages import Prompt

MAX_POSITIONS = 4096  # rows of the position tables; fixed, for a GPU may have recorded the address
KEPT_VOICES = 64  # embedded prompts kept, under 1 MB each


class T2SDecoder:
    """`stages.Decoder` over the weights of one T2S; one thread at a time."""

    def __init__(
        self,
        network: T2S,
        identity: str,
        *,
        precision: LinearPrecision = "float32",
        device: torch.device | str = "cpu",
        for_graphs: bool | None = None,
    ) -> None:
        """Pack a network; it is not kept.

        identity:   family and hash of the weights
        precision:  of the blocks; int8 rounds weights only, on CPUs
        for_graphs: static shapes for CUDA graphs; None: on every device but CPUs
        """
        config, self.device = network.config, torch.device(device)
        self.config, self.identity, self.precision = config, identity, precision
        self.vocabulary, self.eos = config.vocabulary, config.eos
        self.stops_on_argmax = True
        self.token_rate_hz = float(TOKEN_RATE_HZ)
        self.silent_tokens = frozenset({MUTE_TOKEN} if config.vocabulary > MUTE_TOKEN else ())
        self.max_tokens = min(MAX_STEPS, early_stop_tokens(network))
        self._layers = [PackedBlock(block, precision, self.device) for block in network.blocks]
        self._predict = self._float32(network.ar_predict_layer.weight, None)
        self._bert = self._float32(network.bert_proj.weight, network.bert_proj.bias)
        self._phones = self._table(network.ar_text_embedding.word_embeddings.weight)
        self._tokens = self._table(network.ar_audio_embedding.word_embeddings.weight)
        rows = sinusoids(MAX_POSITIONS, config.hidden)
        self._phone_positions = self._table(network.ar_text_position.alpha.cpu() * rows)
        self._token_positions = self._table(network.ar_audio_position.alpha.cpu() * rows)
        self._voices: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()
        is_strips = self.device.type == "cpu" if for_graphs is None else not for_graphs
        self.layout = CacheLayout(
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            head_width=config.hidden // config.num_heads,
            dtype=cache_dtype(precision, is_strips),
            device=self.device,
            is_strips=is_strips,
        )

    def _float32(self, weight: Tensor, bias: Tensor | None) -> PackedLinear:
        return PackedLinear(weight, bias, "float32", device=self.device)

    def _table(self, rows: Tensor) -> Tensor:
        return rows.detach().to(self.device, torch.float32, copy=True)

    @property
    def num_bytes(self) -> int:
        """Memory of the weights and tables."""
        tables = (self._phones, self._tokens, self._phone_positions, self._token_positions)
        linears = self._predict.num_bytes + self._bert.num_bytes
        blocks = sum(layer.num_bytes for layer in self._layers)
        return blocks + linears + sum(table.nbytes for table in tables)

    @property
    def cache_key(self) -> str:
        """Decoders with equal keys can share one cache."""
        return f"t2s {self.layout}"

    def new_cache(self, num_slots: int, num_positions: int) -> SlotCache:
        """Allocate slots; positions are rounded up to whole strips on a CPU."""
        return self.layout.allocate(num_slots, num_positions)

    def slot_bytes(self, num_positions: int) -> int:
        """Memory of one slot."""
        return self.layout.slot_bytes(num_positions)

    def prompt(self, segment: TextFeatures, voice: Conditioning) -> Prompt:
        """Join a segment and a voice; see `make_prompt`."""
        return make_prompt(
            segment,
            voice,
            self.config,
            max_tokens=self.max_tokens,
            max_positions=MAX_POSITIONS,
        )

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Prompt], cache: SlotCache, slots: Sequence[int]) -> Tensor:
        """Write prompts into their slots; see `stages.Decoder.prefill`.

        Prompts of any length are laid end to end, and each result is the same as alone. Only the
        end is padded, so that products have few shapes.
        """
        prefixes = [self._embed(prompt.payload) for prompt in prompts]
        x = torch.cat([prefix.x for prefix in prefixes])
        x = torch.nn.functional.pad(x, (0, 0, 0, -len(x) % SHAPE_STEP))
        for number, layer in enumerate(self._layers):
            x = layer.prefill(x, number, prefixes, cache, list(slots))
        ends = torch.tensor([len(prefix.x) for prefix in prefixes]).cumsum(0) - 1
        return self._predict(x[ends.to(self.device)])

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
        plan = plan_step(cache, slots, lengths, num_positions)
        x = self._tokens[tokens] + self._token_positions[positions]
        for number, layer in enumerate(self._layers):
            x = layer.step(x, number, plan)
        return self._predict(x)

    def _embed(self, payload: PromptInputs) -> EmbeddedPrefix:
        segment, voice = payload
        phones, tokens = self._embed_voice(voice)
        text = self._embed_text(segment)
        text = text + self._phone_positions[len(phones) : len(phones) + len(text)]
        return EmbeddedPrefix(torch.cat([phones, text, tokens]), len(phones) + len(text))

    def _embed_text(self, text: TextFeatures) -> Tensor:
        bert = self._bert(text.bert.to(self.device, torch.float32))
        return self._phones[text.phones.to(self.device)] + bert

    def _embed_voice(self, voice: Conditioning) -> tuple[Tensor, Tensor]:
        """Prompt phones and prompt tokens with positions, kept for the voices used last."""
        kept = self._voices.pop(voice.key, None)
        if kept is None:
            kept = self._phones[:0], self._tokens[:0]
            if voice.prompt is not None and voice.prompt_tokens is not None:
                phones = self._embed_text(voice.prompt)
                tokens = self._tokens[voice.prompt_tokens.to(self.device)]
                kept = (
                    phones + self._phone_positions[: len(phones)],
                    tokens + self._token_positions[: len(tokens)],
                )
        self._voices[voice.key] = kept
        if len(self._voices) > KEPT_VOICES:
            self._voices.popitem(last=False)
        return kept
