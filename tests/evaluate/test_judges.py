"""The judges on real recordings: right about what is known, indifferent to order and level."""

import csv
from pathlib import Path

import numpy as np
import pytest

from kouji.audio.load import load_audio
from kouji.types import Audio


@pytest.fixture(scope="module")
def clips(shared_dir):
    """Two clips of a woman and one of a man, each with its text."""
    speech = shared_dir / "corpus" / "speech"
    with (speech / "manifest.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="|", quoting=csv.QUOTE_NONE))
    women = [r for r in rows if r["speaker"] == "ls-5789" and 5 < float(r["duration_s"]) < 12][:2]
    men = [r for r in rows if r["speaker"] == "ls-7312" and 5 < float(r["duration_s"]) < 12][:1]
    assert len(women + men) == 3
    return [(load_audio(speech / row["path"]), row["text"]) for row in women + men]


def test_speaker_encoder_tells_people_apart(clips):
    from kouji.evaluate.similarity import SpeakerEncoder, cosine

    encoder = SpeakerEncoder()
    first, second, man = (encoder.embed(audio) for audio, _ in clips)
    assert cosine(first, second) > cosine(first, man) + 0.1
    assert encoder.embed(Audio(np.zeros(16_000, np.float32), 16_000)) is None


def test_english_recogniser_hears_words_whatever_came_before(clips):
    from kouji.evaluate.asr_en import EnglishRecogniser
    from kouji.evaluate.wer import count_errors, spoken_words

    (audio, text), (other, _) = clips[0], clips[2]
    audio = Audio(audio.samples[: 5 * audio.sample_rate], audio.sample_rate)
    recogniser = EnglishRecogniser()
    heard = recogniser.transcribe(audio)
    quiet = Audio(audio.samples * 0.3, audio.sample_rate)
    recogniser.transcribe(Audio(other.samples[: 2 * other.sample_rate], other.sample_rate))
    assert recogniser.transcribe(quiet) == heard
    num_words = len(spoken_words(text))
    assert count_errors(spoken_words(text), heard).deletions < num_words
    assert len(set(heard) & set(spoken_words(text))) >= 4


def test_silence_is_no_words():
    from kouji.evaluate.asr_en import EnglishRecogniser

    assert EnglishRecogniser().transcribe(Audio(np.zeros(16_000, np.float32), 16_000)) == []


def test_quality_judge_prefers_the_clean_recording(clips):
    from kouji.evaluate.mos import QualityJudge

    audio = clips[0][0]
    noise = np.random.default_rng(0).normal(0, 0.05, len(audio.samples)).astype(np.float32)
    judge = QualityJudge()
    clean = judge.rate(audio)
    noisy = judge.rate(Audio(audio.samples + noise, audio.sample_rate))
    assert clean.overall > noisy.overall + 0.3
    assert judge.rate(Audio(np.zeros(16_000, np.float32), 16_000)) is None


def test_chinese_recogniser_hears_the_right_sentence(shared_dir):
    """Held-out recordings: far fewer errors against their own text than against another's."""
    from kouji.evaluate.items import load_set
    from kouji.evaluate.per_zh import ChineseRecogniser, count_phone_errors, phones_of_text
    from kouji.evaluate.wer import pool

    sets = Path(__file__).parents[2] / "benchmarks" / "sets" / "zh.jsonl"
    items = load_set(sets, shared_dir / "corpus" / "speech")[:6]
    recogniser = ChineseRecogniser()
    heard = [recogniser.transcribe(load_audio(item.recording)) for item in items]
    said = [phones_of_text(item.text) for item in items]
    own = pool(count_phone_errors(s, h).plain for s, h in zip(said, heard, strict=True)).rate
    others = zip(said[1:] + said[:1], heard, strict=True)
    other = pool(count_phone_errors(s, h).plain for s, h in others).rate
    assert own < 0.45
    assert other > 0.7
