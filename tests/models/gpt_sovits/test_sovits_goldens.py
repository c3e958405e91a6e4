"""The renderer's networks against the official ones, on seeded weights, in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gs_sovits import Golden, det
from torch import Tensor

from kouji.models.gpt_sovits.sovits import SoVITS

TOLERANCE = 1e-5  # of samples in [-1, 1], as the README of the vectors states it


@pytest.fixture(scope="module", params=["v2", "v2Pro"])
def golden(request: pytest.FixtureRequest, goldens_dir: Path) -> Golden:
    return Golden.load(goldens_dir, request.param)


@pytest.fixture(scope="module")
def networks(golden: Golden) -> SoVITS:
    return golden.networks()


@pytest.fixture(scope="module")
def style(golden: Golden, networks: SoVITS) -> Tensor:
    return golden.reference(networks, 0)


def assert_close(seen: Tensor, wanted: Tensor, tolerance: float = TOLERANCE) -> None:
    np.testing.assert_allclose(seen.numpy(), wanted.reshape(seen.shape).numpy(), atol=tolerance)


def test_style_of_a_reference(golden: Golden, networks: SoVITS) -> None:
    spectrogram = det(golden.seed + 10, 1, networks.config.spectrum_bins, 40, low=0, high=4)
    assert_close(networks.ref_enc(spectrogram)[..., None], golden.array("d_i_ref_enc"))


def test_stages_of_the_prior(golden: Golden, networks: SoVITS, style: Tensor) -> None:
    prior, codes, phones = networks.enc_p, golden.array("d_codes")[0], golden.array("d_text")
    with torch.inference_mode():
        projected = prior.ssl_proj(networks.quantizer.decode(codes))
        assert_close(projected.mT, golden.array("d_i_enc_p_ssl_proj"))
        tokens = prior.encoder_ssl(projected, None)
        assert_close(tokens.mT, golden.array("d_i_encoder_ssl"), 5e-5)
        text = prior.encoder_text(prior.text_embedding.weight[phones], None)
        assert_close(text.mT, golden.array("d_i_encoder_text"), 5e-5)
        text_style = style if networks.speaker is None else networks.speaker.for_text(style)
        met = prior.mrte(tokens, text, text_style, None, None)
        assert_close(met.mT, golden.array("d_i_mrte"), 5e-5)
        encoded = networks.encode(codes, phones, style)
        assert_close(encoded.mT, golden.array("d_i_encoder2"), 5e-5)
        both = torch.cat(prior.project(encoded), dim=-1)
        assert_close(both.mT, golden.array("d_i_enc_p_proj"), 5e-5)
        flowed = networks.sample_latents(encoded, style)
        assert_close(flowed.mT, golden.array("d_i_flow"), 5e-5)


def test_first_stage_of_the_generator(golden: Golden, networks: SoVITS, style: Tensor) -> None:
    generator, latents = networks.dec, golden.array("d_i_flow").mT.contiguous()
    first = generator.steps[0]
    with torch.inference_mode():
        entered = generator.conv_pre(latents) + generator.cond(style[:, None])
        raised = first.up(torch.nn.functional.leaky_relu(entered, 0.1))
        assert_close(raised[:, :64].mT, golden.array("d_i_ups0_first64"), 5e-5)
        heard = torch.nn.functional.leaky_relu(raised, 0.1)
        block = first.blocks[0](raised, heard, None)
        assert_close(block[:, :64].mT, golden.array("d_i_rb0_first64"), 5e-5)


def test_whole_utterances(golden: Golden, networks: SoVITS, style: Tensor) -> None:
    codes, phones = golden.array("d_codes")[0], golden.array("d_text")
    frames = 2 * codes.shape[1]
    noise = det(golden.seed + 30, 1, networks.config.latent, frames, low=-1.7, high=1.7).mT
    assert_close(networks.decode(codes, phones, style)[0], golden.array("d_wav_n0"))
    noisy = networks.decode(codes, phones, style, noise=noise, noise_scale=0.5)
    assert_close(noisy[0], golden.array("d_wav_noise05"))
    fast = networks.decode(codes, phones, style, speed=1.3)
    assert_close(fast[0], golden.array("d_wav_speed1.3"))


def test_two_references_are_averaged(golden: Golden, networks: SoVITS) -> None:
    both = (golden.reference(networks, 0) + golden.reference(networks, 1)) / 2
    samples = networks.decode(golden.array("d_codes")[0][:, :8], golden.array("d_text"), both)
    assert_close(samples[0], golden.array("d_wav_multiref_8tok"))


def test_official_streaming(golden: Golden, networks: SoVITS, style: Tensor) -> None:
    codes, phones = golden.array("d_codes")[0], golden.array("d_text")
    first = networks.decode_streaming(codes[:, :8], phones, style)
    assert_close(first.samples, golden.array("d_stream1_wav"))
    assert_close(first.latent.mT, golden.array("d_stream1_latent"), 5e-5)
    second = networks.decode_streaming(
        codes[:, :14], phones, style, result_length=8, overlap=first.latent[:, -4:]
    )
    assert_close(second.samples, golden.array("d_stream2_wav"))
    assert_close(second.latent.mT, golden.array("d_stream2_latent"), 5e-5)


@torch.inference_mode()
def test_a_piece_with_context_equals_the_whole(
    golden: Golden, networks: SoVITS, style: Tensor
) -> None:
    """With the kernels and rates of real checkpoints; toy networks have others."""
    generator, size = networks.dec, networks.config.frame_samples
    first = generator.context + 2
    last = first + 8
    left, right = first - generator.context, last + generator.context
    latents = golden.array("d_i_flow").mT
    latents = latents.repeat(1, right // latents.shape[1] + 1, 1).contiguous()
    whole = generator(latents, style)[:, first * size : last * size]
    piece = generator(latents[:, left:right], style, None, first - left, last - left)
    assert_close(piece, whole)


@pytest.mark.parametrize(("offset", "frames"), [(40, 31), (41, 30)])
def test_tokens_of_a_recording(golden: Golden, networks: SoVITS, offset: int, frames: int) -> None:
    features = 2 * det(golden.seed + offset, 1, networks.config.ssl_channels, frames)
    wanted = golden.array(f"d_extract_codes_T{frames}")[0]
    assert torch.equal(networks.extract_codes(features), wanted)


def test_tokens_become_features_again(golden: Golden, networks: SoVITS) -> None:
    wanted = golden.array("d_quantized_first4")
    features = networks.quantizer.decode(golden.array("d_codes")[0])[:, ::2].mT
    assert_close(features[..., : wanted.shape[-1]], wanted, 0)


def test_official_size(goldens_dir: Path) -> None:
    golden = Golden.load(goldens_dir, "v2_official_size")
    networks = golden.networks()
    codes, phones = golden.array("d_codes")[0], golden.array("d_text")
    style = golden.reference(networks, 0)
    assert_close(networks.decode(codes, phones, style)[0], golden.array("d_wav_n0"))
