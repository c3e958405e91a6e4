"""An evaluation end to end with fake systems, and what the report makes of it."""

import io
import json

import numpy as np
import pytest
import soundfile
from rich.console import Console

from kouji.errors import TextError, UsageError
from kouji.evaluate.items import EvaluationItem, save_set
from kouji.evaluate.optional import import_extra
from kouji.evaluate.report import json_line, print_report, summarise
from kouji.evaluate.runner import ItemResult, Judges, SystemReport, evaluate
from kouji.evaluate.speed import measure_speed
from kouji.evaluate.systems import Model, Recordings, Rendering
from kouji.evaluate.wer import Errors
from kouji.types import Audio, Speech, Timing

RATE = 24_000


class FakeSynthesiser:
    """Enrols anything, speaks a buzz, refuses one text, streams in two chunks."""

    sample_rate = RATE

    def __init__(self):
        self.enrolled = []

    def enroll(self, reference):
        self.enrolled.append(reference)
        return reference.name

    def speak(self, text, voice, *, style=None, seed=0):
        assert (voice, style, seed) == ("voice.wav", None, 0)
        if text == "refuse":
            raise TextError("nothing to speak", seen=text)
        phones = (Timing("sil", 0, 0.5), Timing("AH1", 0.5, 0.52), Timing("T", 0.52, 0.6))
        return Speech(buzz(), phones=phones)

    def stream(self, text, voice, *, style=None, seed=0):
        assert style is None
        samples = self.speak(text, voice, seed=seed).audio.samples
        for part in np.split(samples, [5000]):
            yield Audio(part, RATE)


def buzz(seconds=1.0):
    times = np.arange(round(seconds * RATE)) / RATE
    samples = 0.2 * sum(np.sin(2 * np.pi * 150 * k * times) / k for k in range(1, 9))
    return Audio(samples.astype(np.float32), RATE)


@pytest.fixture
def set_path(tmp_path):
    for name in ("voice.wav", "real.wav"):
        soundfile.write(tmp_path / name, buzz().samples, RATE)
    items = [
        EvaluationItem("one", "hello", "en", "voice.wav", "anna", recording="real.wav"),
        EvaluationItem("two", "refuse", "en", "voice.wav", "anna"),
    ]
    save_set(items, tmp_path / "set.jsonl")
    return tmp_path / "set.jsonl"


def test_systems_go_through_the_same_items(set_path):
    synthesiser = FakeSynthesiser()
    steps = []
    report = evaluate(
        [Model(synthesiser, "mini"), Recordings()],
        set_path,
        measures=["pitch"],
        progress=lambda *step: steps.append(step),
    )
    model, recordings = report.systems
    assert (report.num_items, len(model.items), len(recordings.items)) == (2, 1, 1)
    assert model.failed[0].startswith("two: nothing to speak")
    assert recordings.failed == ()  # an item without a recording is no failure
    assert len(synthesiser.enrolled) == 1
    assert steps == [("mini", 0, 2), ("mini", 1, 2), ("recordings", 0, 2), ("recordings", 1, 2)]
    assert recordings.items[0].pitch_correlation is None
    assert summarise(model)["short_phones"] == 0.5
    assert summarise(recordings)["short_phones"] is None


def test_own_and_lent_recordings_are_told_apart():
    lent = EvaluationItem("a", "b", "en", "v", "anna", recording="r", recording_speaker="bob")
    judges = Judges(["speaker"])
    judges._similarity = lambda audio, reference: 0.5
    rendering = Rendering(buzz())
    assert judges.judge(lent, rendering, is_recording=True).own_similarity is None
    assert judges.judge(lent, rendering, is_recording=False).own_similarity == 0.5


def test_summary_pools_rates_and_counts_trials():
    items = (
        ItemResult("a", 2.0, 0.1, Errors(1, 0, 0, 1), own_similarity=0.8, other_similarity=0.5),
        ItemResult("b", 2.0, 0.3, Errors(0, 0, 0, 9), own_similarity=0.4, other_similarity=0.6),
        ItemResult("c", 1.0, own_similarity=0.9),
    )
    summary = summarise(SystemReport("mini", items))
    assert summary["wer"] == pytest.approx(0.1)
    assert summary["own_wins"] == 0.5
    assert summary["own_similarity"] == pytest.approx(0.7)
    assert summary["real_time_factor"] == pytest.approx(0.1)
    assert summary["per"] is None


def test_report_prints_what_was_measured_and_one_json_line(set_path):
    report = evaluate([Model(FakeSynthesiser(), "mini"), Recordings()], set_path, measures=[])
    out = io.StringIO()
    print_report(report, Console(file=out, width=80))
    assert "recordings" in out.getvalue()
    assert "two" in out.getvalue()
    assert "WER" not in out.getvalue()  # nothing measured: no row
    line = json_line(report, dtype="float32", threads=2)
    assert "\n" not in line
    record = json.loads(line)
    assert record["set"] == "set.jsonl"
    assert record["systems"]["mini"]["failed"] == 1
    assert {"commit", "hardware", "dtype", "threads"} <= set(record)


def test_speed_is_measured_on_speak_and_stream():
    speed = measure_speed(FakeSynthesiser(), "voice.wav", "text", runs=2)
    assert speed.speech_seconds == 1.0
    assert speed.real_time_factor > 0
    assert speed.first_audio_seconds > 0


def test_borders_are_listened_to_in_what_could_be_spoken(set_path):
    report = evaluate([Model(FakeSynthesiser(), "mini")], set_path, measures=["borders"])
    assert report.systems[0].borders.count == 1
    summary = summarise(report.systems[0])
    assert summary["num_borders"] == 1
    assert summary["border_bend_db"] < 0.5


def test_an_unknown_measure_is_refused():
    with pytest.raises(UsageError, match="beauty"):
        Judges(["beauty"])


def test_a_missing_library_is_found_before_any_speech_is_made(set_path, monkeypatch):
    monkeypatch.setattr(
        "kouji.evaluate.runner.EXTRAS", (("words", "no_such_library_anywhere", "counting words"),)
    )
    synthesiser = FakeSynthesiser()
    with pytest.raises(UsageError, match="counting words"):
        evaluate([Model(synthesiser, "mini")], set_path)
    assert synthesiser.enrolled == []


def test_a_missing_extra_names_its_cure():
    with pytest.raises(UsageError, match=r"kouji\[eval\]"):
        import_extra("no_such_library_anywhere", "beauty")
