"""The networks of one model directory, read, packed and placed: tokens, mel, samples.

Which class speaks which version is known here alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from kouji.models.cosyvoice.acoustic.cache_room import cache_bounds
from kouji.models.cosyvoice.conditioning import Manner
from kouji.models.cosyvoice.config import FlowConfig, HiftConfig
from kouji.models.cosyvoice.decode.lm import SpeechLM
from kouji.models.cosyvoice.decode.lm_decoder import LMDecoder
from kouji.models.cosyvoice.files.directory import Parts
from kouji.models.cosyvoice.files.weights import read_state
from kouji.models.cosyvoice.flow import Flow, Vocoder
from kouji.models.cosyvoice.renderer import CosyRenderer
from kouji.models.precision import Precision
from kouji.models.stages import SpeechModel


def load_networks(
    parts: Parts,
    identity: str,
    *,
    decode: Precision,
    render: Precision,
    device: str,
    manner: Manner,
    compile_renderer: Callable[[Any], Any] | None = None,
    device_bytes: int | None = None,
) -> SpeechModel:
    """Language model, flow and vocoder; of the files nothing stays mapped.

    identity:       family and hash of the weights
    decode, render: number formats of language model and flow
    manner:         how streams are rendered
    others as `make_flow`

    raises: ModelError for files that do not fit
    """
    config = parts.config
    network = SpeechLM.from_state(config.lm, read_state(parts.llm, "llm", config))
    # The one table the decoder keeps where it lies: not in a file that may be overwritten.
    dtype = torch.float32 if decode == "float32" else torch.bfloat16
    network.text_table = network.text_table.to(dtype, copy=True)
    decoder = LMDecoder(network, f"{identity} {decode}", precision=decode, device=device)
    rendered = f"{identity} {render}"
    flow = make_flow(
        config.flow,
        read_state(parts.flow, "flow", config),
        rendered,
        precision=render,
        device=device,
        compile_renderer=compile_renderer,
        device_bytes=device_bytes,
    )
    hift = read_state(parts.hift, "hift", config)
    vocoder = make_vocoder(config.hift, hift, precision=render, device=device)
    renderer = CosyRenderer(flow, vocoder, rendered, manner=manner, device=device)
    return SpeechModel(renderer, decoder)


def make_flow(
    config: FlowConfig,
    state: Mapping[str, Tensor],
    identity: str,
    *,
    precision: Precision,
    device: str,
    compile_renderer: Callable[[Any], Any] | None = None,
    device_bytes: int | None = None,
) -> Flow:
    """The flow of either version.

    compile_renderer: turns a pure function of tensors into a faster one, on a GPU
    device_bytes:     of the device's memory, see `cache_room.cache_bounds`
    """
    bounds = cache_bounds(torch.device(device), device_bytes)
    if config.version == "cosyvoice3":
        from kouji.models.cosyvoice.acoustic.dit_flow import DitFlow

        return DitFlow(
            config,
            state,
            identity,
            precision=precision,
            device=device,
            cache_bytes=bounds.streams,
            prompt_bytes=bounds.prompts,
            compile_renderer=compile_renderer,
        )
    from kouji.models.cosyvoice.acoustic.unet_flow import UNetFlow

    return UNetFlow(
        config,
        state,
        identity,
        precision=precision,
        device=device,
        cache_bytes=bounds.streams,
        prompt_bytes=bounds.prompts,
    )


def make_vocoder(
    config: HiftConfig, state: Mapping[str, Tensor], *, precision: Precision, device: str
) -> Vocoder:
    """The vocoder of either version."""
    if config.version == "cosyvoice3":
        from kouji.models.cosyvoice.vocoder.causal_hift import CausalHift

        return CausalHift(config, state, precision=precision, device=device)
    from kouji.models.cosyvoice.vocoder.plain_hift import PlainHift

    return PlainHift(config, state, precision=precision, device=device)
