"""From a recording to what the networks are given, and to the arrays kept of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_cosyvoice import CODEBOOK, write_campplus, write_speech_tokenizer

from kouji.errors import ReferenceRefused, VoiceError
from kouji.models.cosyvoice.hearing import features
from kouji.models.cosyvoice.hearing.onnx_models import CampPlus, SpeechTokenizer
from kouji.models.cosyvoice.hearing.voice import (
    Hearing,
    condition,
    hear_speech,
    make_conditioning,
    pack_conditioning,
    prepare_conversion,
    unpack_conditioning,
    unpack_prompt_text,
)
from kouji.types import Audio


@pytest.fixture(scope="module")
def hearing(tmp_path_factory: pytest.TempPathFactory) -> Hearing:
    folder: Path = tmp_path_factory.mktemp("onnx")
    return Hearing(
        SpeechTokenizer(write_speech_tokenizer(folder / "t.onnx"), CODEBOOK),
        CampPlus(write_campplus(folder / "c.onnx")),
        12_000.0,
    )


def noise(num_samples: int, rate: int = 24_000, seed: int = 0) -> Audio:
    samples = np.random.default_rng(seed).normal(0, 0.1, num_samples)
    return Audio(samples.astype(np.float32), rate)


@pytest.mark.parametrize(
    ("num_samples", "num_tokens"),
    [(72_000, 75), (72_000 + 480, 75), (72_000 + 959, 75), (72_000 + 960, 76)],
)
def test_mel_and_tokens_are_cut_to_each_other(
    hearing: Hearing, num_samples: int, num_tokens: int
) -> None:
    audio = noise(num_samples)
    made = condition(audio, hearing)
    assert made.tokens.shape == (num_tokens,)
    assert made.mel.shape == (2 * num_tokens, 80)
    assert made.speaker.shape == (192,)
    whole = features.flow_mel(features.samples_at(audio, 24_000), 12_000.0)
    assert torch.equal(made.mel, whole[: 2 * num_tokens])


def test_whichever_is_shorter_decides(hearing: Hearing) -> None:
    few = Hearing(lambda mel: hearing.tokenizer(mel)[:9], hearing.speaker, 12_000.0)
    assert condition(noise(72_000), few).mel.shape == (18, 80)
    many = Hearing(lambda mel: torch.cat([hearing.tokenizer(mel)] * 2), hearing.speaker, 12_000.0)
    assert condition(noise(72_000), many).tokens.shape == (75,)


def test_nothing_heard_is_refused(hearing: Hearing) -> None:
    deaf = Hearing(lambda mel: torch.zeros(0, dtype=torch.int64), hearing.speaker, 12_000.0)
    with pytest.raises(ReferenceRefused, match=r"seen: 1\.00 s"):
        condition(noise(24_000), deaf)


def test_the_key_follows_the_content(hearing: Hearing) -> None:
    one = condition(noise(48_000), hearing)
    assert condition(noise(48_000), hearing).key == one.key
    assert condition(noise(48_000, seed=1), hearing).key != one.key
    lower = Hearing(hearing.tokenizer, hearing.speaker, 8_000.0)
    assert condition(noise(48_000), lower).key != one.key


def test_other_rates_are_heard(hearing: Hearing) -> None:
    made = condition(noise(44_100 * 2, rate=44_100), hearing)
    assert made.mel.shape == (100, 80)


def test_speech_to_be_converted_keeps_all_its_tokens(hearing: Hearing) -> None:
    audio = noise(48_000 + 960)
    heard = hear_speech(audio, hearing).tokens
    assert heard.shape == (51,)
    assert torch.equal(heard[:51], condition(audio, hearing).tokens[:51])


def test_a_long_source_becomes_segments_of_one_text(hearing: Hearing) -> None:
    source = noise(70 * 24_000)
    prepared = prepare_conversion(source, hearing)
    counts = [len(segment.payload.tokens) for segment in prepared.segments]
    assert len(counts) == 3
    assert max(counts) < 750
    assert sum(counts) == 70 * 25
    assert {segment.pause_seconds for segment in prepared.segments} == {0.0}
    assert prepare_conversion(noise(8000 * 2, 8000), hearing).warnings


def test_packing_is_undone(hearing: Hearing) -> None:
    made = condition(noise(48_000), hearing)
    arrays = pack_conditioning(made)
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    back = unpack_conditioning(arrays, CODEBOOK)
    assert back.key == made.key
    assert torch.equal(back.mel, made.mel)
    assert back.tokens.dtype == torch.int64
    assert unpack_prompt_text(arrays) is None


def test_a_fixed_speaker_without_prompt_is_packed_too() -> None:
    made = make_conditioning(torch.zeros(0).long(), torch.zeros(0, 80), torch.ones(192))
    back = unpack_conditioning(pack_conditioning(made), CODEBOOK)
    assert back.tokens.shape == (0,)
    assert back.mel.shape == (0, 80)
    assert torch.equal(back.speaker, torch.ones(192))


def test_the_prompt_text_of_an_imported_speaker_is_kept() -> None:
    made = make_conditioning(torch.arange(3), torch.zeros(6, 80), torch.ones(192))
    ids = torch.tensor([5, 151_646, 7])
    arrays = pack_conditioning(made, ids)
    assert unpack_prompt_text(arrays) is not None
    assert torch.equal(unpack_prompt_text(arrays), ids)
    assert unpack_conditioning(arrays, CODEBOOK).key == made.key


DAMAGES: dict[str, tuple[dict[str, Any], str]] = {
    "format": ({"format": np.array([9])}, "format"),
    "missing": ({"mel": None}, "no 'mel'"),
    "cut": ({"mel": np.zeros((5, 80), np.float32)}, "of 3 tokens"),
    "foreign": ({"tokens": np.array([1, CODEBOOK, 2])}, f"where {CODEBOOK} are known"),
    "negative": ({"tokens": np.array([1, -1, 2])}, "tokens -1 to 2"),
    "floats": ({"tokens": np.zeros(3)}, "tokens float64"),
    "narrow": ({"speaker": np.ones(80, np.float32)}, "speaker"),
    "infinite": ({"speaker": np.full(192, np.inf, np.float32)}, "not finite"),
    "text": ({"format": np.array(["one"])}, "one"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_arrays_are_told(name: str) -> None:
    changes, told = DAMAGES[name]
    made = make_conditioning(torch.arange(3), torch.zeros(6, 80), torch.ones(192))
    arrays = {**pack_conditioning(made), **changes}
    arrays = {key: value for key, value in arrays.items() if value is not None}
    with pytest.raises(VoiceError, match=told):
        unpack_conditioning(arrays, CODEBOOK)
