"""Saved speakers: the official file in and out, and what is wrong with a damaged one."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_cosyvoice import tiny_config
from torch import Tensor

from kouji.errors import ModelError, VoiceError
from kouji.models.cosyvoice.files.spk2info import (
    StoredSpeaker,
    export_speakers,
    import_speakers,
)

CONFIG = tiny_config()


def int32(*values: int) -> Tensor:
    return torch.tensor([values], dtype=torch.int32)


def official(seed: int = 0, num_tokens: int = 12, num_text: int = 7) -> dict[str, Tensor]:
    """An entry as the official `add_zero_shot_spk` makes it."""
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 81, (1, num_tokens), generator=rng, dtype=torch.int32)
    embedding = torch.randn(1, 192, generator=rng)
    return {
        "prompt_text": torch.randint(0, 300, (1, num_text), generator=rng, dtype=torch.int32),
        "prompt_text_len": int32(num_text)[0],
        "llm_prompt_speech_token": tokens,
        "llm_prompt_speech_token_len": int32(num_tokens)[0],
        "flow_prompt_speech_token": tokens.clone(),
        "flow_prompt_speech_token_len": int32(num_tokens)[0],
        "prompt_speech_feat": torch.randn(1, 2 * num_tokens, 80, generator=rng),
        "prompt_speech_feat_len": int32(2 * num_tokens)[0],
        "llm_embedding": embedding,
        "flow_embedding": embedding.clone(),
    }


def saved(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "spk2info.pt")
    return folder / "spk2info.pt"


def test_a_whole_prompt(tmp_path: Path) -> None:
    entry = official()
    (speaker,) = import_speakers(saved(tmp_path, {"anna": entry}), CONFIG).values()
    voice = speaker.conditioning
    assert not speaker.is_fixed
    assert torch.equal(voice.tokens, entry["flow_prompt_speech_token"][0].long())
    assert torch.equal(voice.mel, entry["prompt_speech_feat"][0])
    assert torch.equal(voice.speaker, entry["flow_embedding"][0])
    assert torch.equal(speaker.prompt_text, entry["prompt_text"][0].long())


@pytest.mark.parametrize("shape", [(1, 192), (192,)])
def test_speakers_of_fine_tuning(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """An embedding alone; what older models kept beside it is not read."""
    entry = {"embedding": torch.randn(shape), "speech_token": "anything", "speech_feat": None}
    (speaker,) = import_speakers(saved(tmp_path, {"中文女": entry}), CONFIG).values()
    assert speaker.is_fixed
    assert torch.equal(speaker.conditioning.speaker, entry["embedding"].reshape(192))
    assert speaker.conditioning.mel.shape == (0, 80)
    assert len(speaker.prompt_text) == 0


def test_written_files_are_official_ones(tmp_path: Path) -> None:
    """Equal keys, kinds, shapes and numbers; read the way the official code reads them."""
    content = {
        "anna": official(1),
        "bert": official(2, 30, 0),
        "中文女": {"embedding": torch.ones(1, 192)},
    }
    speakers = import_speakers(saved(tmp_path, content), CONFIG)
    export_speakers(tmp_path / "again.pt", speakers)
    again = torch.load(tmp_path / "again.pt", weights_only=True)
    assert list(again) == list(content)
    for name, entry in content.items():
        assert again[name].keys() == entry.keys()
        for key, value in entry.items():
            assert again[name][key].dtype == value.dtype, key
            assert torch.equal(again[name][key], value), key


def test_a_round_trip_keeps_keys(tmp_path: Path) -> None:
    """Equal voices have equal keys, others have others."""
    first = import_speakers(saved(tmp_path, {"a": official(1), "b": official(2)}))
    export_speakers(tmp_path / "again.pt", first)
    second = import_speakers(tmp_path / "again.pt")
    keys = {name: speaker.conditioning.key for name, speaker in first.items()}
    assert {name: speaker.conditioning.key for name, speaker in second.items()} == keys
    assert len(set(keys.values())) == 2


def test_a_model_folder(tmp_path: Path) -> None:
    assert import_speakers(tmp_path) == {}
    saved(tmp_path, {"anna": official()})
    assert list(import_speakers(tmp_path)) == ["anna"]
    with pytest.raises(ModelError, match="cannot be read"):
        import_speakers(tmp_path / "absent.pt")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"flow_prompt_speech_token": int32(1, 2)},
            r"anna: .*_len: \[12\]; allowed: \[2\]",
        ),
        (
            {"flow_prompt_speech_token": torch.ones(1, 12)},
            "speech_token: torch.float32",
        ),
        ({"flow_prompt_speech_token": torch.ones(2, 6, dtype=torch.int32)}, "2 x 6"),
        ({"flow_prompt_speech_token": int32(*[81] * 12)}, "ids 81 to 81.*0 to 80"),
        ({"flow_prompt_speech_token": int32(*[-1] * 12)}, "ids -1 to -1"),
        ({"llm_prompt_speech_token": int32(*[3] * 12)}, "llm_prompt_speech_token: other tokens"),
        ({"prompt_text": int32(*[100_000] * 7)}, "prompt_text: ids"),
        ({"prompt_speech_feat": torch.ones(1, 24, 100)}, "prompt_speech_feat: 1 x 24 x 100"),
        (
            {"prompt_speech_feat": torch.ones(1, 20, 80), "prompt_speech_feat_len": int32(20)},
            "20 frames; allowed: 24 frames for 12 tokens",
        ),
        ({"prompt_speech_feat": torch.full((1, 24, 80), torch.nan)}, "not finite"),
        ({"prompt_speech_feat": None}, "prompt_speech_feat: is missing"),
        ({"flow_prompt_speech_token": None}, "flow_prompt_speech_token: is missing"),
        ({"flow_embedding": torch.ones(1, 256)}, "flow_embedding: 1 x 256.*1 x 192"),
        ({"flow_embedding": torch.ones(2, 192)}, "flow_embedding: 2 x 192"),
        ({"flow_embedding": torch.ones(1, 192, dtype=torch.int32)}, "torch.int32"),
        ({"prompt_text_len": torch.tensor(torch.nan)}, r"prompt_text_len: \[nan\]"),
        ({"flow_embedding": "x"}, "flow_embedding: is str"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    entry = {key: value for key, value in (official() | changes).items() if value is not None}
    with pytest.raises(VoiceError, match=said):
        import_speakers(saved(tmp_path, {"anna": entry}), CONFIG)


def test_prompts_of_more_than_30_seconds(tmp_path: Path) -> None:
    with pytest.raises(VoiceError, match=r"1 x 751.*at most 750"):
        import_speakers(saved(tmp_path, {"anna": official(0, 751)}), CONFIG)


@pytest.mark.parametrize(
    ("content", "said"),
    [([1], "holds list"), ({"anna": 5}, "anna is int"), ({"anna": {}}, "embedding: is missing")],
)
def test_files_of_something_else(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(VoiceError, match=said):
        import_speakers(saved(tmp_path, content))


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"anna": Hostile()}, tmp_path / "spk2info.pt", pickle_module=pickle)
    with pytest.raises(ModelError, match="asks for code"):
        import_speakers(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_writing_where_nothing_can_be_written(tmp_path: Path) -> None:
    speakers: dict[str, StoredSpeaker] = {}
    with pytest.raises(VoiceError, match="cannot be written"):
        export_speakers(tmp_path / "no" / "folder" / "a.pt", speakers)
