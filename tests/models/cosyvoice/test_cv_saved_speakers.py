"""Saved speakers: what the language model reads for them, and voices of ours saved as such."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cosyvoice_text import text_of
from tiny_cosyvoice import TEXT_ROWS, tiny_config, write_tokenizer

from kouji.errors import VoiceError
from kouji.models.cosyvoice.conditioning import TextSegment
from kouji.models.cosyvoice.files.spk2info import import_speakers
from kouji.models.cosyvoice.hearing.saved_speakers import prepare_imported, save_speakers
from kouji.models.cosyvoice.hearing.voice import make_conditioning, pack_conditioning
from kouji.models.cosyvoice.text.front import Front
from kouji.models.cosyvoice.text.tokenizer import CosyTokenizer
from kouji.text.style import parse_style
from kouji.types import Audio
from kouji.voices.voice import Imported, Voice

SYSTEM, END = "You are a helpful assistant.", "<|endofprompt|>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"), tiny_config().lm)


@pytest.fixture(scope="module", params=[False, True], ids=["own", "compat"])
def third(request: pytest.FixtureRequest, folder: Path) -> Front:
    tokenizer = CosyTokenizer(folder, "cosyvoice3")
    return Front(tokenizer, "cosyvoice3", is_compat=request.param, normaliser="none")


@pytest.fixture(scope="module")
def second(folder: Path) -> Front:
    return Front(CosyTokenizer(folder, "cosyvoice2"), "cosyvoice2")


def conditioning(num_tokens: int = 3) -> Any:
    return make_conditioning(
        torch.arange(num_tokens), torch.zeros(2 * num_tokens, 80), torch.ones(192)
    )


def speaker(front: Front, said: str, num_tokens: int = 3) -> Imported:
    ids = torch.tensor(front.tokenizer.encode(said), dtype=torch.int64)
    return Imported(front.version, pack_conditioning(conditioning(num_tokens), ids))


def heard(front: Front, imported: Imported, **facts: Any) -> tuple[str, str, str]:
    """Mode, prompt and text of the only segment, decoded."""
    prepared = prepare_imported(front, "你好。", imported, text_rows=TEXT_ROWS, **facts)
    (segment,) = prepared.segments
    payload = segment.payload
    assert isinstance(payload, TextSegment)
    prompt, text = (
        text_of(front.tokenizer, ids.tolist())  # type: ignore[arg-type]
        for ids in (payload.prompt_text, payload.text)
    )
    return payload.mode, prompt, text


def test_it_goes_on_from_its_own_prompt(third: Front) -> None:
    imported = speaker(third, f"{SYSTEM}{END}希望你以后能够做的比我还好。")
    said = f"{SYSTEM}{END}希望你以后能够做的比我还好。"
    assert heard(third, imported) == ("zero_shot", said, "你好。")


def test_forgotten_system_words_are_added_for_version_3_alone(third: Front, second: Front) -> None:
    assert heard(third, speaker(third, "好。"))[1] == f"{SYSTEM}{END}好。"
    assert heard(second, speaker(second, "好。"))[1] == "好。"


def test_an_instruction_takes_the_place_of_the_prompt(third: Front) -> None:
    imported = speaker(third, f"{SYSTEM}{END}好。")
    mode, prompt, _ = heard(third, imported, style=parse_style("用四川话"))
    assert mode == "instruct"
    assert "四川话" in prompt
    assert "好。" not in prompt
    assert prompt.endswith(END)


def test_without_words_it_lends_its_sound(third: Front) -> None:
    mode, prompt, text = heard(third, speaker(third, ""))
    assert (mode, prompt) == ("cross_lingual", "")
    assert text.startswith(f"{SYSTEM}{END}")


def test_an_embedding_alone_is_a_speaker_of_fine_tuning(third: Front) -> None:
    mode, prompt, text = heard(third, speaker(third, "", num_tokens=0))
    assert (mode, prompt, text) == ("sft", "", f"{SYSTEM}{END}你好。")


def test_ids_of_another_model_are_told(third: Front) -> None:
    arrays = pack_conditioning(conditioning(), torch.tensor([3, TEXT_ROWS]))
    with pytest.raises(VoiceError, match=f"allowed: 0 to {TEXT_ROWS - 1}"):
        heard(third, Imported("cosyvoice3", arrays))


def test_voices_are_saved_as_the_official_code_reads_them(second: Front, tmp_path: Path) -> None:
    reference = Audio(np.zeros(100, np.float32), 24_000)
    front = Front(second.tokenizer, "cosyvoice2")
    imported = speaker(front, "好。")
    voices = {
        "heard": Voice.from_reference(reference, name="heard", transcript="我有3个。"),
        "silent": Voice.from_reference(reference, name="silent"),
        "imported": Voice.from_import(imported, name="imported"),
    }
    path = tmp_path / "spk2info.pt"
    save_speakers(path, {name: (voice, conditioning()) for name, voice in voices.items()}, front)
    official = torch.load(path, weights_only=True)
    assert list(official) == list(voices)
    assert official["heard"]["prompt_text"].dtype == torch.int32
    back = import_speakers(path)
    said = {
        name: text_of(front.tokenizer, each.prompt_text.tolist()) for name, each in back.items()
    }  # type: ignore[arg-type]
    assert said == {"heard": "我有三个。", "silent": "", "imported": "好。"}
    assert all(each.conditioning.key == conditioning().key for each in back.values())
