"""The render stages: whole segments are official, streams equal their own definition."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from gs_sovits import TINY, tiny_networks
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.gpt_sovits import render_row as module
from kouji.models.gpt_sovits.chunks import frame_noise, hand_over, run_tokens
from kouji.models.gpt_sovits.conditioning import Conditioning, TextFeatures
from kouji.models.gpt_sovits.render_accuracy import stft_distance
from kouji.models.gpt_sovits.render_row import SoVITSRow
from kouji.models.gpt_sovits.renderer import SoVITSRenderer
from kouji.models.stages import Renderer, RenderOptions

CLOSE = 1e-5
WHOLE, STREAMED = RenderOptions(), RenderOptions(is_streamed=True)


@pytest.fixture(scope="module")
def renderer() -> SoVITSRenderer:
    return SoVITSRenderer(tiny_networks(), "tiny")


def voice(seed: int = 0) -> Conditioning:
    style = torch.randn(TINY.style_channels, generator=torch.Generator().manual_seed(seed))
    return Conditioning(None, None, style, key=str(seed))


def segment(num_phones: int = 12) -> TextFeatures:
    phones = torch.arange(num_phones) * 7 % TINY.num_phones
    return TextFeatures(phones, torch.zeros(num_phones, 1024))


def tokens(count: int, seed: int = 5) -> list[int]:
    draw = np.random.default_rng(seed)
    return [int(token) for token in draw.integers(0, TINY.codebook_size, count)]


def advance(renderer: SoVITSRenderer, rows: Sequence[SoVITSRow]) -> list[list[np.ndarray]]:
    """Work until no row is ready; the chunks of each."""
    chunks: list[list[np.ndarray]] = [[] for _ in rows]
    while True:
        heard = [row for row in rows if row.vocode_cost]
        for row, samples in zip(heard, renderer.vocode(heard) if heard else [], strict=True):
            chunks[rows.index(row)].append(samples)
        drawn = [row for row in rows if row.acoustic_cost]
        if drawn:
            renderer.acoustic(drawn)
        elif not any(row.vocode_cost for row in rows):
            return chunks


def speak(
    renderer: SoVITSRenderer,
    said: Sequence[int],
    options: RenderOptions,
    seed: int = 3,
    steps: Sequence[int] = (),
) -> list[np.ndarray]:
    """The chunks of one row fed at some lengths, then whole."""
    row = renderer.open(segment(), voice(), options, seed, is_last=True)
    chunks = []
    for step in steps:
        row.feed(said[:step], is_final=False)
        chunks += advance(renderer, [row])[0]
    row.feed(said, is_final=True)
    chunks += advance(renderer, [row])[0]
    assert row.is_done
    return chunks


def distance(seen: np.ndarray, wanted: np.ndarray) -> float:
    return stft_distance(seen, wanted, windows=(128, 256, 512))


def test_it_is_a_renderer(renderer: SoVITSRenderer) -> None:
    seam: Renderer = renderer
    assert (seam.identity, seam.sample_rate) == ("tiny", 32_000)
    assert seam.num_bytes == sum(value.nbytes for value in renderer.networks.parameters())


@pytest.mark.parametrize("speed", [1.0, 1.3])
def test_whole_segments_have_the_official_numbers(renderer: SoVITSRenderer, speed: float) -> None:
    said = tokens(40)
    samples = np.concatenate(speak(renderer, said, RenderOptions(speed=speed)))
    num_frames = len(samples) // TINY.frame_samples
    assert num_frames == (80 if speed == 1 else int(80 / speed) + 1)
    [wanted] = renderer.networks.decode(
        torch.tensor([said]),
        segment().phones[None],
        voice().style[None],
        noise=frame_noise(3, num_frames, TINY.latent)[None],
        speed=speed,
    )
    np.testing.assert_allclose(samples, wanted.numpy(), atol=CLOSE)


def test_nothing_is_rendered_before_the_end_of_a_whole_segment(renderer: SoVITSRenderer) -> None:
    row = renderer.open(segment(), voice(), WHOLE, 1, is_last=False)
    row.feed(tokens(200), is_final=False)
    assert (row.acoustic_cost, row.vocode_cost, row.is_done) == (0, 0, False)


def test_long_segments_are_vocoded_in_pieces(
    renderer: SoVITSRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    [whole] = speak(renderer, tokens(45), WHOLE)
    monkeypatch.setattr(module, "PIECE_FRAMES", 31)
    pieces = speak(renderer, tokens(45), WHOLE)
    assert [len(piece) // TINY.frame_samples for piece in pieces] == [31, 31, 28]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=CLOSE)


@pytest.mark.parametrize("is_batching", [False, True])
def test_rows_of_a_batch_equal_the_rows_alone(
    renderer: SoVITSRenderer, monkeypatch: pytest.MonkeyPatch, is_batching: bool
) -> None:
    """Both ways to vocode: row by row as on a CPU, and padded together as on a GPU."""
    monkeypatch.setattr(renderer, "_is_batching", is_batching)
    options = (WHOLE, STREAMED, RenderOptions(speed=0.7), RenderOptions(True, 1.4))
    cases = list(itertools.product((31, 70), options))

    def opened(number: int) -> SoVITSRow:
        count, wish = cases[number]
        row = renderer.open(segment(5 + number), voice(number), wish, number, is_last=True)
        row.feed(tokens(count, seed=number), is_final=True)
        return row

    together = advance(renderer, [opened(number) for number in range(len(cases))])
    for number, chunks in enumerate(together):
        [alone] = advance(renderer, [opened(number)])
        assert [len(chunk) for chunk in chunks] == [len(chunk) for chunk in alone]
        np.testing.assert_allclose(np.concatenate(chunks), np.concatenate(alone), atol=CLOSE)


@pytest.mark.parametrize("speed", [1.0, 1.25, 0.6])
@pytest.mark.parametrize("count", [1, 24, 25, 60, 61, 130])
def test_a_stream_is_the_generator_over_all_settled_frames(
    renderer: SoVITSRenderer, monkeypatch: pytest.MonkeyPatch, count: int, speed: float
) -> None:
    settled: list[Tensor] = []
    take = SoVITSRow.take_latents

    def listen(row: SoVITSRow, latents: Tensor) -> None:
        before = row.info.num_frames
        take(row, latents)
        added = row.info.num_frames - before
        settled.append(row._latents[len(row._latents) - added :].clone())

    monkeypatch.setattr(SoVITSRow, "take_latents", listen)
    options = RenderOptions(is_streamed=True, speed=speed)
    samples = np.concatenate(speak(renderer, tokens(count), options))
    latents = torch.cat(settled)
    assert len(latents) == max(1, round(2 * count / speed))
    with torch.inference_mode():
        wanted = renderer.networks.dec(latents[None], voice().style[None])[0]
    np.testing.assert_allclose(samples, wanted.numpy(), atol=CLOSE)


def test_chunks_depend_on_numbers_of_tokens_alone(renderer: SoVITSRenderer) -> None:
    said = tokens(150)
    wanted = speak(renderer, said, STREAMED)
    for steps in (range(1, 151), (10, 25, 61, 150), (150,), (24, 60, 120), (130, 149)):
        chunks = speak(renderer, said, STREAMED, steps=list(steps))
        assert [len(chunk) for chunk in chunks] == [len(chunk) for chunk in wanted]
        np.testing.assert_array_equal(np.concatenate(chunks), np.concatenate(wanted))


def test_the_first_chunk_comes_early_and_none_is_lost(renderer: SoVITSRenderer) -> None:
    row = renderer.open(segment(), voice(), STREAMED, 1, is_last=True)
    said = tokens(260)
    row.feed(said[: run_tokens(0)], is_final=False)
    assert row.acoustic_cost == 0  # these might be all
    row.feed(said[: run_tokens(0) + 1], is_final=False)
    assert row.acoustic_cost == 2 * run_tokens(0)
    [[first]] = advance(renderer, [row])
    assert 20 <= len(first) / TINY.frame_samples <= 30  # half a second
    row.feed(said, is_final=True)
    [rest] = advance(renderer, [row])
    assert len(first) + sum(len(chunk) for chunk in rest) == 520 * TINY.frame_samples
    assert row.info == module.RenderFacts(num_tokens=260, num_frames=520, num_runs=5)


def test_a_stream_forgets_what_was_heard(renderer: SoVITSRenderer) -> None:
    row = renderer.open(segment(), voice(), STREAMED, 1, is_last=True)
    row.feed(tokens(221), is_final=False)
    advance(renderer, [row])
    assert len(row._latents) <= 2 * renderer.networks.dec.context


def test_short_streams_equal_the_whole(renderer: SoVITSRenderer) -> None:
    said = tokens(run_tokens(0))
    [whole], [streamed] = speak(renderer, said, WHOLE), speak(renderer, said, STREAMED)
    np.testing.assert_array_equal(streamed, whole)


def test_a_stream_stays_near_the_whole(renderer: SoVITSRenderer) -> None:
    """Random weights attend far ahead; trained ones much less, so this is the worse case."""
    said = tokens(150)
    whole, streamed = (np.concatenate(speak(renderer, said, way)) for way in (WHOLE, STREAMED))
    assert len(streamed) == len(whole)
    other = np.concatenate(speak(renderer, said, WHOLE, seed=4))
    near = distance(streamed, whole)
    far = distance(other, whole)
    assert near < 0.5 * far  # nearer than another seed's reading of the same tokens


def test_noise_is_a_function_of_seed_and_frame() -> None:
    long = frame_noise(9, 200, 16)
    assert torch.equal(frame_noise(9, 70, 16), long[:70])
    assert not torch.equal(frame_noise(10, 200, 16), long)
    assert not torch.equal(long[:64], long[64:128])
    assert abs(float(long.mean())) < 0.1
    assert abs(float(long.std()) - 1) < 0.1
    assert torch.isfinite(frame_noise(-1, 3, 16)).all()


def test_runs_hand_over_linearly() -> None:
    mixed = hand_over(torch.zeros(4, 1), torch.ones(6, 1))
    assert mixed[:, 0].tolist() == [0.125, 0.375, 0.625, 0.875, 1.0, 1.0]


def test_no_tokens_are_no_sound(renderer: SoVITSRenderer) -> None:
    row = renderer.open(segment(), voice(), WHOLE, 1, is_last=True)
    row.feed([], is_final=True)
    assert row.is_done


def test_what_was_made_for_other_weights_is_refused(renderer: SoVITSRenderer) -> None:
    foreign = replace(voice(), style=torch.zeros(3))
    with pytest.raises(ModelError, match="a voice of other weights"):
        renderer.open(segment(), foreign, WHOLE, 1, is_last=True)
    for phones in (torch.tensor([TINY.num_phones]), torch.tensor([], dtype=torch.int64)):
        text = TextFeatures(phones, torch.zeros(len(phones), 1024))
        with pytest.raises(ModelError, match="phones of another symbol table"):
            renderer.open(text, voice(), WHOLE, 1, is_last=True)
    row = renderer.open(segment(), voice(), WHOLE, 1, is_last=True)
    with pytest.raises(ModelError, match="unknown token"):
        row.feed([1, TINY.codebook_size], is_final=True)


def test_the_generator_alone_is_rounded() -> None:
    renderer = SoVITSRenderer(tiny_networks(), "tiny", precision="bfloat16")
    assert renderer.networks.dec.conv_pre.weight.dtype is torch.bfloat16
    assert renderer.networks.enc_p.proj.weight.dtype is torch.float32
    exact = np.concatenate(speak(SoVITSRenderer(tiny_networks(), "tiny"), tokens(40), WHOLE))
    rounded = np.concatenate(speak(renderer, tokens(40), WHOLE))
    assert distance(rounded, exact) < 0.03


def test_a_device_may_compile_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def compile_renderer(function):  # type: ignore[no-untyped-def]
        def compiled(*tensors: Tensor) -> Tensor:
            calls.append([tuple(tensor.shape) for tensor in tensors])
            return function(*tensors)

        return compiled

    renderer = SoVITSRenderer(tiny_networks(), "tiny", compile_renderer=compile_renderer)
    monkeypatch.setattr(renderer, "_is_batching", True)
    speak(renderer, tokens(40), WHOLE)
    assert calls == [[(1, 128, TINY.latent), (1, TINY.style_channels), (1,)]]
