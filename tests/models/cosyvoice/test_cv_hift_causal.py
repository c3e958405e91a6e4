"""Version 3's vocoder: the official numbers, streams equal to the whole, rows that never meet."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from cosyvoice_hift import (
    GivenNoise,
    PlainVocoder,
    golden_config,
    overridden,
    random_mel,
    random_weights,
    tiny_config,
)
from safetensors.torch import load_file
from torch import Tensor, nn

from kouji.errors import ModelError
from kouji.models.cosyvoice.vocoder.causal_hift import CausalHift, CausalState, tile_frames
from kouji.models.precision import Precision

FRAME = 480
Golden = dict[str, Tensor]


@pytest.fixture(scope="module")
def folder(shared_dir: Path) -> Path:
    found = shared_dir / "goldens" / "cosyvoice3"
    if not (found / "hift").is_dir():
        pytest.skip(f"no vectors at {found}")
    return found


@pytest.fixture(scope="module")
def golden(folder: Path) -> Golden:
    return load_file(folder / "hift" / "hift.safetensors")


@pytest.fixture(scope="module")
def golden_noise(folder: Path) -> GivenNoise:
    table = load_file(folder / "hift" / "noise_uniform.safetensors")["noise_uniform"]
    return GivenNoise(table.float())


@pytest.fixture(scope="module")
def official(folder: Path, golden_noise: GivenNoise) -> CausalHift:
    weights = load_file(folder / "hift" / "weights.safetensors")
    return CausalHift(golden_config(folder), weights, noise=golden_noise)


@pytest.fixture(scope="module")
def vocoder() -> CausalHift:
    config = tiny_config("cosyvoice3")
    return CausalHift(config, random_weights(config))


def stream(vocoder: CausalHift, mel: Tensor, cuts: list[int]) -> Tensor:
    """The samples of calls that end at these frames, and of a final one."""
    state, start, parts = vocoder.open(0), 0, []
    for end in cuts:
        parts += vocoder.vocode([state], [mel[start:end]], [False])
        assert sum(map(len, parts)) == max(0, end - 8) * FRAME
        start = end
    return torch.cat([*parts, *vocoder.vocode([state], [mel[start:]], [True])])


def test_equals_the_official_numbers(official: CausalHift, golden: Golden) -> None:
    wave = stream(official, golden["mel"][0].T, [])
    torch.testing.assert_close(wave, golden["final.wav"][0], rtol=0, atol=5e-5)


@pytest.mark.parametrize("num_frames", [12, 18, 24])
def test_equals_the_official_prefixes(
    official: CausalHift, golden: Golden, num_frames: int
) -> None:
    name = "partial" if num_frames == 24 else f"prefix{num_frames}"
    state = official.open(0)
    (wave,) = official.vocode([state], [golden["mel"][0, :, :num_frames].T], [False])
    torch.testing.assert_close(wave, golden[f"{name}.wav"][0], rtol=0, atol=5e-5)


def test_frequencies_and_source_equal_the_official(official: CausalHift, golden: Golden) -> None:
    state = official.open(0)
    state.mel = torch.nn.functional.pad(golden["mel"][0].T, (0, 0, 0, 4))
    state.is_closed = True
    official._excite([state], [24])
    wanted = golden["final.source"][0, 0]
    torch.testing.assert_close(state.source[8:-8], wanted, rtol=0, atol=2e-6)
    torch.testing.assert_close(state.source[:8], wanted[1:9].flip(0), rtol=0, atol=2e-6)


def test_equals_the_official_sound_given_the_official_source(
    official: CausalHift, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    def given(state: CausalState, f0: Tensor) -> None:
        state.num_pitched = len(f0)
        source = golden["final.source"][0]
        state.source = torch.nn.functional.pad(source, (8, 8), mode="reflect")[0]

    monkeypatch.setattr(official, "_extend_source", given)
    wave = stream(official, golden["mel"][0].T, [])
    torch.testing.assert_close(wave, golden["final.wav"][0], rtol=0, atol=2e-5)


def test_equals_the_official_speech_whole_and_streamed(
    folder: Path, golden_noise: GivenNoise
) -> None:
    golden = load_file(folder / "token2wav" / "token2wav.safetensors")
    weights = overridden(load_file(folder / "hift" / "weights.safetensors"))
    vocoder = CausalHift(golden_config(folder), weights, noise=golden_noise)
    state, start = vocoder.open(0), 0
    for number in range(4):
        mel = golden[f"stream.chunk{number}.mel_all"][0].T
        new, start = mel[start:], len(mel)  # the last call's begins otherwise: full attention
        (wave,) = vocoder.vocode([state], [new], [number == 3])
        wanted = golden[f"stream.chunk{number}.wav"][0]
        torch.testing.assert_close(wave, wanted, rtol=0, atol=2e-6)
    whole = stream(vocoder, golden["stream.chunk3.mel_all"][0].T, [])
    torch.testing.assert_close(whole, golden["full.speed1.0.wav"][0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("num_frames", [1, 2, 9, 47])
def test_equals_the_plain_network(vocoder: CausalHift, num_frames: int) -> None:
    config = tiny_config("cosyvoice3")
    mel = random_mel(num_frames)
    noise = vocoder.noise.rows(0, 0, num_frames * FRAME)
    wanted = PlainVocoder(config, random_weights(config))(mel, noise)
    wave = stream(vocoder, mel, [])
    assert wanted.abs().max() > 0.01
    torch.testing.assert_close(wave, wanted, rtol=0, atol=5e-6)


@pytest.mark.parametrize("seed", range(8))
def test_any_cuts_give_the_same_samples(vocoder: CausalHift, seed: int) -> None:
    draw = random.Random(seed)
    num_frames = draw.randint(1, 90)
    mel = random_mel(num_frames, seed)
    cuts = sorted(draw.choices(range(num_frames + 1), k=draw.choice([1, 3, 12])))
    whole = stream(vocoder, mel, [])
    torch.testing.assert_close(stream(vocoder, mel, cuts), whole, rtol=0, atol=5e-6)


@pytest.mark.parametrize("step", [1, 2, 7, 50])
def test_steady_chunks_give_the_same_samples(vocoder: CausalHift, step: int) -> None:
    mel = random_mel(60)
    cuts = sorted([0, *range(step, 60, step), 60])
    whole = stream(vocoder, mel, [])
    torch.testing.assert_close(stream(vocoder, mel, cuts), whole, rtol=0, atol=5e-6)


def test_a_segment_without_frames_is_silent(vocoder: CausalHift) -> None:
    assert len(stream(vocoder, torch.zeros(0, 80), [0])) == 0


@pytest.mark.parametrize("is_batching", [False, True])
def test_rows_do_not_hear_each_other(vocoder: CausalHift, is_batching: bool) -> None:
    lengths = [5, 33, 60, 12]
    mels = [random_mel(length, seed) for seed, length in enumerate(lengths)]
    config = tiny_config("cosyvoice3")
    together = CausalHift(config, random_weights(config))
    together._is_batching = is_batching  # as on a GPU
    states = [together.open(seed) for seed in range(4)]
    firsts = [mel[: 3 + 9 * row] for row, mel in enumerate(mels)]
    begun = together.vocode(states, firsts, [False, False, True, False])
    left = [0, 1, 3]  # the third row has ended, and the others come in another order
    left.reverse()
    ended = together.vocode(
        [states[row] for row in left],
        [mels[row][len(firsts[row]) :] for row in left],
        [True] * 3,
    )
    mels[2] = firsts[2]
    for row, mel in enumerate(mels):
        parts = [begun[row], *(ended[left.index(row)] for _ in range(row in left))]
        wanted = stream(vocoder, mel, [])
        torch.testing.assert_close(torch.cat(parts), wanted, rtol=0, atol=5e-6)


def test_a_stream_computes_what_the_whole_does() -> None:
    config = tiny_config("cosyvoice3")
    vocoder = CausalHift(config, random_weights(config))
    costs = [0]  # multiplications in all convolutions and products

    def count(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        del given
        weight = module.get_parameter("weight")
        num_frames = made.shape[0] * made.shape[1] // getattr(module, "rate", 1)
        costs[-1] += num_frames * weight.numel()

    for module in vocoder.networks.modules():
        if isinstance(getattr(module, "weight", None), Tensor):
            module.register_forward_hook(count)
    mel = random_mel(96)
    stream(vocoder, mel, [])
    costs.append(0)
    stream(vocoder, mel, [37, 67])  # 30, 30 and 36 frames, which pad as the whole's do
    whole, streamed = costs
    assert whole <= streamed < 1.01 * whole


def test_keeps_a_bounded_state(vocoder: CausalHift) -> None:
    state, sizes = vocoder.open(0), []
    for _ in range(6):
        vocoder.vocode([state], [random_mel(16)], [False])
        sizes.append(state.num_bytes)
    assert sizes[-1] == sizes[0]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_sounds_alike(vocoder: CausalHift, precision: Precision) -> None:
    config = tiny_config("cosyvoice3")
    half = CausalHift(config, random_weights(config), precision=precision)
    mel = random_mel(40)
    exact, rough = stream(vocoder, mel, []), stream(half, mel, [])
    assert rough.dtype == torch.float32
    assert (exact - rough).norm() < 0.05 * exact.norm()


def test_refuses_weights_that_do_not_fit() -> None:
    config = tiny_config("cosyvoice3")
    weights = random_weights(config)
    with pytest.raises(ModelError, match=r"missing: conv_pre\.bias; unexpected: strange"):
        CausalHift(config, {"strange": weights.pop("conv_pre.bias"), **weights})
    with pytest.raises(ModelError, match=r"wrong shape: .* is \w+, not "):
        CausalHift(tiny_config("cosyvoice3", base_channels=32), random_weights(config))
    with pytest.raises(ModelError, match=r"hift\.pt do not fit"):
        CausalHift(config, random_weights(tiny_config("cosyvoice2")))


def test_a_tile_is_large_or_hardly_padded() -> None:
    assert [tile_frames(n) for n in (1, 3, 26, 49, 50, 99, 100, 250)] == [
        *(1, 5, 30, 50),
        *(50, 50, 100, 100),
    ]
