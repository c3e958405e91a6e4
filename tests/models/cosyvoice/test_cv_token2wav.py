"""Tokens to sound through both stages of the renderer, against the official model's own output."""

from __future__ import annotations

import json
from pathlib import Path

import cosyvoice_dit
import cosyvoice_hift
import cosyvoice_unet
import numpy as np
import pytest
import torch
from cosyvoice_hift import GivenNoise, overridden
from safetensors.torch import load_file

from kouji.models.cosyvoice.conditioning import Manner, SpeechSegment
from kouji.models.cosyvoice.hearing.voice import make_conditioning
from kouji.models.cosyvoice.networks import make_flow
from kouji.models.cosyvoice.render_row import CosyRow
from kouji.models.cosyvoice.renderer import CosyRenderer
from kouji.models.cosyvoice.vocoder.causal_hift import CausalHift
from kouji.models.cosyvoice.vocoder.plain_hift import PlainHift
from kouji.models.stages import RenderOptions

TOLERANCE = 2e-6  # of a signal of 0.02


@pytest.fixture(scope="module", params=["cosyvoice3", "cosyvoice2"])
def folder(request: pytest.FixtureRequest, shared_dir: Path) -> Path:
    return shared_dir / "goldens" / request.param


@pytest.fixture(scope="module")
def renderer(folder: Path) -> CosyRenderer:
    is_newer = folder.name == "cosyvoice3"
    flow_config = (cosyvoice_dit if is_newer else cosyvoice_unet).golden_config(folder)
    flow = make_flow(
        flow_config,
        load_file(folder / "flow" / "weights.safetensors"),
        "golden",
        precision="float32",
        device="cpu",
    )
    hift_config = cosyvoice_hift.golden_config(folder)
    weights = overridden(load_file(folder / "hift" / "weights.safetensors"))
    if is_newer:
        table = load_file(folder / "hift" / "noise_uniform.safetensors")
        noise = GivenNoise(next(iter(table.values())).float())
        vocoder = CausalHift(hift_config, weights, noise=noise)
    else:
        vocoder = PlainHift(hift_config, weights, noise=GivenNoise(torch.zeros(60_000, 9)))
    return CosyRenderer(flow, vocoder, "golden", manner=Manner("official"), device="cpu")


def _open(
    renderer: CosyRenderer, golden: dict[str, torch.Tensor], options: RenderOptions
) -> CosyRow:
    voice = make_conditioning(
        golden["in.prompt_token"][0], golden["in.prompt_feat"][0], golden["in.embedding"][0]
    )
    segment = SpeechSegment(golden["in.token"][0])
    return renderer.open(segment, voice, options, 0, is_last=True)


def _chunks(renderer: CosyRenderer, row: CosyRow) -> list[np.ndarray]:
    chunks = []
    while not row.is_done:
        if row.vocode_cost:
            chunks += renderer.vocode([row])
        else:
            renderer.acoustic([row])
    return chunks


@pytest.mark.parametrize("speed", [1.0, 1.3, 0.8])
def test_a_whole_segment_has_the_official_samples(
    folder: Path, renderer: CosyRenderer, speed: float
) -> None:
    golden = load_file(folder / "token2wav" / "token2wav.safetensors")
    row = _open(renderer, golden, RenderOptions(speed=speed))
    made = np.concatenate(_chunks(renderer, row))
    wanted = golden[f"full.speed{speed}.wav"][0].numpy()
    assert np.abs(wanted).max() > 0.005
    np.testing.assert_allclose(made, wanted, rtol=0, atol=TOLERANCE)


def test_a_stream_has_the_official_chunks(folder: Path, renderer: CosyRenderer) -> None:
    golden = load_file(folder / "token2wav" / "token2wav.safetensors")
    told = json.loads((folder / "token2wav" / "meta.json").read_text("utf-8"))
    row = _open(renderer, golden, RenderOptions(is_streamed=True))
    chunks = _chunks(renderer, row)
    assert [len(chunk) for chunk in chunks] == told["chunk_samples"]
    for number, chunk in enumerate(chunks):
        wanted = golden[f"stream.chunk{number}.wav"][0].numpy()
        np.testing.assert_allclose(chunk, wanted, rtol=0, atol=TOLERANCE)
