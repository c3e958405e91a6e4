"""SoVITS at toy widths: batches, tiles, pieces, precision, and checkpoints that do not fit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from gs_sovits import TINY, tiny_networks, tiny_state
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.gpt_sovits import generator, prior
from kouji.models.gpt_sovits.generator import Generator
from kouji.models.gpt_sovits.render_accuracy import stft_distance
from kouji.models.gpt_sovits.sovits import SoVITS, frames_at
from kouji.models.gpt_sovits.sovits_state import fold_weight_norm
from kouji.models.layers.time_conv import UpsamplingConv

CLOSE = 1e-5


@pytest.fixture(scope="module")
def networks() -> SoVITS:
    return tiny_networks()


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def texts(*lengths: tuple[int, int]) -> tuple[list[Tensor], list[Tensor]]:
    """Random tokens and phones of some lengths."""
    draw = torch.Generator().manual_seed(2)
    codes = [
        torch.randint(0, TINY.codebook_size, (tokens,), generator=draw) for tokens, _ in lengths
    ]
    phones = [torch.randint(0, TINY.num_phones, (phones,), generator=draw) for _, phones in lengths]
    return codes, phones


@pytest.mark.parametrize("speed", [1.0, 1.3, 0.8])
def test_rows_of_a_batch_equal_the_rows_alone(networks: SoVITS, speed: float) -> None:
    codes, phones = texts((9, 4), (30, 12), (17, 21))
    style, longest = random(3, TINY.style_channels), frames_at(60, speed)
    noise = random(3, longest, TINY.latent, seed=3)
    together = networks.decode(
        torch.nn.utils.rnn.pad_sequence(codes, batch_first=True, padding_value=7),
        torch.nn.utils.rnn.pad_sequence(phones, batch_first=True, padding_value=5),
        style,
        num_codes=torch.tensor([9, 30, 17]),
        num_phones=torch.tensor([4, 12, 21]),
        noise=noise,
        speed=speed,
    )
    for row, samples in enumerate(together):
        own = noise[row : row + 1, : frames_at(2 * len(codes[row]), speed)]
        [alone] = networks.decode(
            codes[row][None], phones[row][None], style[row : row + 1], noise=own, speed=speed
        )
        torch.testing.assert_close(samples, alone, atol=CLOSE, rtol=0)


def test_long_texts_are_attended_in_blocks(
    networks: SoVITS, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, phones = texts((25, 11))
    style = random(1, TINY.style_channels)
    whole = networks.encode(codes[0][None], phones[0][None], style)
    monkeypatch.setattr(prior, "QUERY_FRAMES", 7)
    blocks = networks.encode(codes[0][None], phones[0][None], style)
    torch.testing.assert_close(blocks, whole, atol=CLOSE, rtol=0)


@torch.inference_mode()
def test_tiles_equal_the_whole(networks: SoVITS, monkeypatch: pytest.MonkeyPatch) -> None:
    latents, style = random(2, 21, TINY.latent), random(2, TINY.style_channels)
    lengths = torch.tensor([21, 13])
    whole = networks.dec(latents, style, lengths)
    monkeypatch.setattr(generator, "_tile_frames", lambda like, width: 7 + width)
    tiled = networks.dec(latents, style, lengths)
    torch.testing.assert_close(tiled, whole, atol=CLOSE, rtol=0)


@torch.inference_mode()
def test_pieces_with_context_equal_the_whole(networks: SoVITS) -> None:
    style, latents = random(1, TINY.style_channels), random(1, 50, TINY.latent)
    size, context = TINY.frame_samples, networks.dec.context
    whole = networks.dec(latents, style)
    for first, last in ((0, 1), (0, 13), (14, 30), (33, 50), (49, 50)):
        left, right = max(0, first - context), min(50, last + context)
        piece = networks.dec(latents[:, left:right], style, None, first - left, last - left)
        wanted = whole[:, first * size : last * size]
        torch.testing.assert_close(piece, wanted, atol=CLOSE, rtol=0)


@torch.inference_mode()
def test_context_is_what_a_sample_depends_on(networks: SoVITS) -> None:
    """Nothing beyond it is heard; and it is at most a frame too wide, where a phase has no tap."""
    dec, size, middle = networks.dec, TINY.frame_samples, 20
    latents, style = random(1, 41, TINY.latent).double(), random(1, TINY.style_channels).double()
    exact = Generator(TINY).double()
    exact.load_state_dict({name: value.double() for name, value in dec.state_dict().items()})
    whole = exact(latents, style)[:, middle * size : (middle + 1) * size]

    def moves(frame: int) -> bool:
        touched = latents.clone()
        touched[:, frame] += 3.0
        samples = exact(touched, style)[:, middle * size : (middle + 1) * size]
        return not torch.equal(samples, whole)

    assert not moves(middle - dec.context - 1)
    assert not moves(middle + dec.context + 1)
    assert moves(middle - dec.context + 1)
    assert moves(middle + dec.context - 1)


@pytest.mark.parametrize(("taps", "rate"), [(16, 10), (20, 10), (8, 2), (2, 2), (3, 3), (9, 3)])
def test_polyphase_equals_transposed_convolution(taps: int, rate: int) -> None:
    official, bias = random(5, 4, taps), random(4)
    x = random(2, 13, 5, seed=4)
    ours = UpsamplingConv(5, 4, taps, rate)
    ours.load_state_dict({"weight": ours.from_official(official), "bias": bias})
    padding = (taps - rate) // 2
    wanted = torch.nn.functional.conv_transpose1d(x.mT, official, bias, rate, padding).mT
    torch.testing.assert_close(ours(x), wanted, atol=CLOSE, rtol=0)


def test_networks_can_be_trained_through(networks: SoVITS) -> None:
    """Nothing overwrites what a gradient needs."""
    dec = Generator(TINY)
    dec.load_state_dict(networks.dec.state_dict())
    latents = random(1, 5, TINY.latent).requires_grad_()
    dec(latents, random(1, TINY.style_channels)).square().mean().backward()
    assert latents.grad is not None
    assert float(latents.grad.abs().sum()) > 0


@torch.inference_mode()
def test_bfloat16_sounds_like_float32(networks: SoVITS) -> None:
    latents, style = random(1, 40, TINY.latent), random(1, TINY.style_channels)
    wanted = networks.dec(latents, style)[0]
    rounded = tiny_networks()
    rounded.dec.to(torch.bfloat16)
    heard = rounded.dec(latents, style)[0]
    assert stft_distance(heard, wanted, windows=(128, 256, 512)) < 0.03


def test_weight_norm_is_folded() -> None:
    gain, direction = random(6, 1, 1), random(6, 4, 3, seed=9)
    folded = fold_weight_norm({"a.weight_g": gain, "a.weight_v": direction, "enc_q.x": gain})
    assert list(folded) == ["a.weight"]
    wanted = torch._weight_norm(direction, gain, 0)
    torch.testing.assert_close(folded["a.weight"], wanted)


def _lose(state: dict[str, Tensor]) -> None:
    del state["enc_p.proj.bias"]


def _gain(state: dict[str, Tensor]) -> None:
    state["enc_p.extra"] = torch.zeros(3)


def _bend(state: dict[str, Tensor]) -> None:
    state["enc_p.proj.bias"] = torch.zeros(5)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_lose, "missing: enc_p.proj.bias"),
        (_gain, "unexpected: enc_p.extra"),
        (_bend, "wrong shape: enc_p.proj.bias is 5, not 32"),
    ],
)
def test_checkpoints_that_do_not_fit(
    spoil: Callable[[dict[str, Tensor]], None], words: str
) -> None:
    state = tiny_state(TINY, 0)
    spoil(state)
    with pytest.raises(ModelError, match=words):
        SoVITS.from_state(state, TINY)


def test_half_precision_checkpoints_become_float32() -> None:
    state = {name: value.half() for name, value in tiny_state(TINY, 0).items()}
    networks = SoVITS.from_state(state, TINY)
    assert {value.dtype for value in networks.parameters()} == {torch.float32}
    assert networks.num_bytes == sum(value.nbytes for value in networks.parameters())


def test_version_1_hears_all_bins_and_knows_fewer_phones() -> None:
    networks = tiny_networks(num_phones=322, style_bins=1025)
    assert networks.style(random(1025, 20).abs()).shape == (TINY.style_channels,)


def test_speaker_vector_where_the_version_hears_one(networks: SoVITS) -> None:
    pro = tiny_networks(speaker_channels=24)
    spectrogram = random(TINY.style_bins, 20).abs()
    assert not torch.equal(
        pro.style(spectrogram, random(24)), pro.style(spectrogram, random(24, seed=8))
    )
    with pytest.raises(ModelError, match="needs a speaker vector"):
        pro.style(spectrogram)
    with pytest.raises(ModelError, match="has no speaker vector"):
        networks.style(spectrogram, random(24))
    with pytest.raises(ModelError, match="does not fit the style encoder"):
        networks.style(spectrogram[:-1])
