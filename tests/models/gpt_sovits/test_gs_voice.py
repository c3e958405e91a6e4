"""Voices: what is asked of which network, fusing, keys, and what is kept on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gs_sovits import Golden, det
from torch import Tensor, nn

from kouji.errors import ModelError, ReferenceRefused, TextError, UsageError, VoiceError
from kouji.models.gpt_sovits import spectrogram
from kouji.models.gpt_sovits.conditioning import Conditioning, TextFeatures
from kouji.models.gpt_sovits.reference import Reference, hubert_input, load_first, load_further
from kouji.models.gpt_sovits.voice import condition, pack_conditioning, unpack_conditioning
from kouji.types import Audio
from kouji.voices.store import VoiceStore
from kouji.voices.voice import Voice

BERT_CHANNELS = 6


class FakeSoVITS:
    """Styles are mean magnitudes of four bands plus the speaker vector's; codes count frames."""

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset
        self.heard: list[tuple[Tensor, Tensor | None]] = []

    def style(self, spectrogram: Tensor, speaker_vector: Tensor | None = None) -> Tensor:
        self.heard.append((spectrogram, speaker_vector))
        bands = spectrogram.mean(dim=2)[:, :1024].unflatten(1, (4, -1)).mean(dim=2) + self.offset
        return bands if speaker_vector is None else bands + speaker_vector[:, :4]

    def extract_codes(self, features: Tensor) -> Tensor:
        return torch.arange(features.shape[2] // 2)[None] % 1024


class FakeHubert:
    """One frame per 320 samples."""

    def __init__(self) -> None:
        self.heard: list[Tensor] = []

    def features(self, samples: Tensor) -> Tensor:
        self.heard.append(samples)
        with torch.inference_mode():
            return torch.zeros(1, 8, samples.shape[1] // 320)


class FakeSpeaker:
    """A vector that says how loud the recording is."""

    def embed(self, samples: Tensor) -> Tensor:
        with torch.inference_mode():
            return samples.square().mean().expand(1, 20).clone()


def hum(hertz: float, seconds: float = 4.0, rate: int = 24000) -> Audio:
    times = np.arange(round(seconds * rate)) / rate
    return Audio((0.3 * np.sin(2 * np.pi * hertz * times)).astype(np.float32), rate)


def features(num_phones: int = 5, text: str = "你好.") -> TextFeatures:
    bert = torch.arange(float(num_phones * BERT_CHANNELS)).reshape(num_phones, BERT_CHANNELS)
    return TextFeatures(torch.arange(num_phones) + 3, bert, text)


def make(
    hertz: float = 200.0, transcript: TextFeatures | None = None, offset: float = 0.0
) -> Conditioning:
    return condition(load_first(hum(hertz)), transcript, FakeSoVITS(offset), FakeHubert())


def test_networks_hear_what_they_should() -> None:
    reference, sovits, hubert = load_first(hum(200.0)), FakeSoVITS(), FakeHubert()
    voice = condition(reference, features(), sovits, hubert)
    samples = spectrogram.reference_samples(reference.audio)
    (heard, vector) = sovits.heard[0]
    assert torch.equal(heard, spectrogram.linear(samples))
    assert vector is None
    assert torch.equal(hubert.heard[0], hubert_input(reference))
    assert voice.style.shape == (4,)
    assert voice.prompt_tokens is not None
    assert len(voice.prompt_tokens) == hubert.heard[0].shape[1] // 640
    assert voice.prompt_tokens.dtype == torch.int64


class GivenHubert:
    """Features as the goldens seed them."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def features(self, samples: Tensor) -> Tensor:
        return self.values


class GivenSpeaker:
    """Vectors as the goldens seed them, one after another."""

    def __init__(self, vectors: list[Tensor]) -> None:
        self.vectors = iter(vectors)

    def embed(self, samples: Tensor) -> Tensor:
        return next(self.vectors)


@pytest.mark.parametrize("name", ["v2", "v2Pro"])
def test_with_the_networks_of_a_checkpoint(
    name: str, goldens_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens are the official ones, the style is the mean of the official references' styles."""
    golden = Golden.load(goldens_dir, name)
    networks, seed = golden.networks(), golden.seed
    config = networks.config
    spectra = [
        det(seed + 10 + index, 1, config.spectrum_bins, 40 + 17 * index, low=0, high=4)
        for index in range(2)
    ]
    given = iter(spectra)
    monkeypatch.setattr(spectrogram, "linear", lambda samples: next(given))
    speaker = None
    if config.has_speaker:
        width = config.speaker_channels
        speaker = GivenSpeaker([det(seed + 20 + index, 1, width) for index in range(2)])
    hubert = GivenHubert(2 * det(seed + 40, 1, config.ssl_channels, 31))
    references = [load_first(hum(200.0)), load_further(hum(300.0))]
    voice = condition(references, features(), networks, hubert, speaker)
    assert voice.prompt_tokens is not None
    assert torch.equal(voice.prompt_tokens, golden.array("d_extract_codes_T31")[0, 0])
    fused = torch.cat([golden.reference(networks, index) for index in range(2)]).mean(0)
    assert torch.allclose(voice.style, fused, atol=1e-6)


def test_without_transcript_no_tokens_are_drawn() -> None:
    hubert = FakeHubert()
    voice = condition(load_first(hum(200.0)), None, FakeSoVITS(), hubert)
    assert voice.prompt is None
    assert voice.prompt_tokens is None
    assert hubert.heard == []
    assert condition(load_first(hum(200.0)), None, FakeSoVITS(), None).key == voice.key


def test_several_references_are_averaged_each_with_its_own_vector() -> None:
    references = [load_first(hum(200.0)), load_further(hum(900.0, 1.0)), load_further(hum(60.0))]
    sovits, speaker = FakeSoVITS(), FakeSpeaker()
    fused = condition(references, features(), sovits, FakeHubert(), speaker)
    vectors = [vector for _, vector in sovits.heard]
    assert len({float(vector[0, 0]) for vector in vectors if vector is not None}) == 3
    alone = [condition(each, None, FakeSoVITS(), None, speaker).style for each in references]
    assert torch.allclose(fused.style, torch.stack(alone).mean(0))
    # Only the first lends its words.
    assert fused.prompt_tokens is not None
    words = condition(references[0], features(), FakeSoVITS(), FakeHubert()).prompt_tokens
    assert torch.equal(fused.prompt_tokens, words)


def test_results_may_meet_gradients() -> None:
    voice = condition(load_first(hum(200.0)), features(), FakeSoVITS(), FakeHubert(), FakeSpeaker())
    assert voice.prompt_tokens is not None
    for tensor in (voice.style, voice.prompt_tokens):
        assert not tensor.is_inference()
        assert not tensor.requires_grad


class ElsewhereSoVITS(nn.Module):
    """Networks on another device than the reference."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, device="meta"))

    def style(self, spectrogram: Tensor, speaker_vector: Tensor | None = None) -> Tensor:
        assert spectrogram.device == self.weight.device
        assert speaker_vector is not None
        assert speaker_vector.device == self.weight.device
        return torch.ones(1, 4)

    def extract_codes(self, features: Tensor) -> Tensor:
        assert features.device == self.weight.device
        return torch.arange(3)[None]


def test_networks_on_another_device_are_given_what_lies_there() -> None:
    reference = load_first(hum(200.0))
    voice = condition(reference, features(), ElsewhereSoVITS(), FakeHubert(), FakeSpeaker())
    assert voice.style.device.type == "cpu"
    assert voice.prompt_tokens is not None
    assert voice.prompt_tokens.tolist() == [0, 1, 2]


def test_keys_follow_the_content() -> None:
    base = make(transcript=features())
    assert make(transcript=features()).key == base.key
    assert make(transcript=features(text="another spelling")).key == base.key
    others = [
        make(),
        make(300.0, features()),
        make(transcript=features(6)),
        make(transcript=features(), offset=1e-3),
        make(transcript=replace(features(), bert=features().bert + 1.0)),
        make(transcript=replace(features(), phones=features().phones + 1)),
    ]
    assert len({base.key, *(each.key for each in others)}) == 1 + len(others)


@pytest.mark.parametrize("transcript", [None, features(), features(text="")])
def test_kept_and_read_back(transcript: TextFeatures | None) -> None:
    voice = make(transcript=transcript)
    again = unpack_conditioning(pack_conditioning(voice))
    assert again.key == voice.key
    assert torch.equal(again.style, voice.style)
    if transcript is None:
        assert again.prompt is None
        return
    assert again.prompt is not None
    assert again.prompt.text == transcript.text
    assert torch.equal(again.prompt.bert, transcript.bert)
    assert again.prompt_tokens is not None
    assert torch.equal(again.prompt_tokens, voice.prompt_tokens)


def test_kept_beside_a_voice(tmp_path: Path) -> None:
    store = VoiceStore(tmp_path)
    store.add(Voice.from_reference(hum(200.0), name="anna"))
    voice = make(transcript=features())
    store.save_conditioning("anna", "gpt-sovits", "0123456789abcdef", pack_conditioning(voice))
    arrays = store.load_conditioning("anna", "gpt-sovits", "0123456789abcdef")
    assert arrays is not None
    assert unpack_conditioning(arrays).key == voice.key


def test_damaged_arrays_are_told() -> None:
    arrays = pack_conditioning(make(transcript=features()))
    for change in (
        {"style": np.zeros((2, 2), np.float32)},
        {"bert": np.zeros((4, BERT_CHANNELS), np.float32)},
        {"prompt_tokens": np.zeros((1, 3), np.int64)},
        {"text": np.array([255], np.uint8)},
    ):
        with pytest.raises(VoiceError, match="damaged"):
            unpack_conditioning({**arrays, **change})
    for name in ("style", "phones", "bert", "text"):
        with pytest.raises(VoiceError, match="damaged"):
            unpack_conditioning({key: value for key, value in arrays.items() if key != name})


def test_what_does_not_go_together() -> None:
    reference = load_first(hum(200.0))
    with pytest.raises(UsageError, match="reference"):
        condition([], None, FakeSoVITS(), None)
    with pytest.raises(UsageError, match="HuBERT"):
        condition(reference, features(), FakeSoVITS(), None)
    with pytest.raises(TextError, match="nothing to speak"):
        condition(reference, features(0), FakeSoVITS(), FakeHubert())
    cut = Reference(reference.audio, (1.0, 5.0))
    with pytest.raises(ReferenceRefused, match="cut") as caught:
        condition(cut, features(), FakeSoVITS(), FakeHubert())
    assert caught.value.reason == "too_long"
    assert condition(cut, None, FakeSoVITS(), None).prompt is None


def test_weights_that_give_no_numbers_are_told() -> None:
    with pytest.raises(ModelError, match="not finite"):
        make(offset=float("nan"))
