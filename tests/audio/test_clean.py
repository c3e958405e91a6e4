"""The verdict on a reference: figures against known truth, refusals, and the prepared part."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kouji.audio.clean import QualityReport, ReferenceRules, check_reference, prepare_reference
from kouji.audio.loudness import measure_loudness
from kouji.audio.quality import choose_best_part, mark_clipped
from kouji.errors import ConfigError, ReferenceRefused
from kouji.types import Audio

PAUSES = ((0.0, 0.5), (3.0, 3.6), (7.4, 8.0))


def add_noise(audio: Audio, snr_db: float, kind: str = "white", seed: int = 0) -> Audio:
    """Mix noise against the power of the louder parts, which are the speech."""
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal(len(audio.samples))
    if kind == "pink":
        spectrum = np.fft.rfft(noise)
        hertz = np.fft.rfftfreq(len(noise), 1 / audio.sample_rate)
        noise = np.fft.irfft(spectrum * (hertz > 80) / np.sqrt(np.maximum(hertz, 1)), len(noise))
    blocks = audio.samples[: len(audio.samples) // 480 * 480].reshape(-1, 480)
    power = np.square(blocks.astype(np.float64)).mean(axis=1)
    active = power[power > 1e-3 * power.max()].mean()
    noise *= np.sqrt(active / np.square(noise).mean() / 10 ** (snr_db / 10))
    mixed = audio.samples + noise
    scale = min(1.0, 0.95 / np.abs(mixed).max())
    return Audio((mixed * scale).astype(np.float32), audio.sample_rate)


def codes(report: QualityReport) -> list[str]:
    return [reason.code for reason in report.reasons]


@pytest.mark.parametrize("rate", [16000, 24000, 44100])
def test_good_recording_at_any_rate(make_speech, rate: int) -> None:
    report = check_reference(make_speech(8.0, rate, pauses=PAUSES))
    assert (report.verdict, report.reasons) == ("good", ())
    assert report.duration == pytest.approx(8.0)
    assert 4.0 < report.speech_seconds < 7.0
    assert report.snr_db > 30
    assert report.clipped_fraction == 0
    assert report.peak == pytest.approx(0.5, abs=0.01)
    assert 110 < report.pitch_median_hz < 130
    assert report.pitch_range[0] < 105
    assert report.pitch_range[1] > 135
    assert 3.0 <= report.best_end - report.best_start <= 10.0


@pytest.mark.parametrize("snr_db", [0, 5, 10, 15, 20])
@pytest.mark.parametrize("kind", ["white", "pink"])
def test_snr_of_known_mixtures(make_speech, snr_db: int, kind: str) -> None:
    noisy = add_noise(make_speech(8.0, pauses=PAUSES), snr_db, kind)
    report = check_reference(noisy)
    assert abs(report.snr_db - snr_db) < 4
    assert ("noisy" in codes(report)) == (report.snr_db < 10)


def test_hum_and_rumble_are_not_noise(make_speech) -> None:
    speech = make_speech(8.0, pauses=PAUSES)
    hum = 0.2 * np.sin(2 * np.pi * 50 * np.arange(len(speech.samples)) / 24000)
    report = check_reference(Audio((speech.samples + hum).astype(np.float32), 24000))
    assert report.snr_db > 15


@pytest.mark.parametrize("low_hz", [4000, 6000, 8000])
def test_bandwidth_is_the_recordings_own(low_hz: int) -> None:
    noise = np.random.default_rng(0).standard_normal(72000)
    spectrum = np.fft.rfft(noise)
    spectrum[np.fft.rfftfreq(72000, 1 / 24000) > low_hz] = 0
    audio = Audio(0.1 * np.fft.irfft(spectrum, 72000).astype(np.float32), 24000)
    assert check_reference(audio).bandwidth_hz == pytest.approx(low_hz, abs=300)


def test_clipping_is_counted_also_when_turned_down(make_speech) -> None:
    samples = make_speech(4.0).samples
    assert mark_clipped(samples).mean() < 1e-4
    for drive in (1.2, 3.0):
        truth = (np.abs(samples * 2 * drive) >= 1).mean()
        clipped = np.clip(samples * 2 * drive, -1, 1)
        assert mark_clipped(clipped).mean() == pytest.approx(truth, rel=0.1)
    assert mark_clipped(0.2 * clipped).mean() == pytest.approx(truth, rel=0.5)


def test_refusals_name_code_and_figure(make_speech) -> None:
    good = make_speech(8.0, pauses=PAUSES).samples
    broken = good.copy()
    broken[100] = np.nan
    constant = np.full(48000, 0.3, np.float32)
    cases = {
        "empty": (good[:0], "0 samples"),
        "silent": (1e-6 * good, "dBFS"),
        "too_short": (good[12000:28000], " s;"),
        "too_long": (np.tile(good, 40), "320.0 s; allowed: at most 300 s"),
        "clipped": (np.clip(8 * good, -1, 1), "%; allowed: at most 1.0%"),
        "noisy": (add_noise(Audio(good, 24000), 3).samples, "dB; allowed: at least 10 dB"),
        "not_finite": (broken, "1 of 192000 samples"),
    }
    for code, (samples, figure) in cases.items():
        audio = Audio(samples.astype(np.float32), 24000)
        report = check_reference(audio)
        assert (report.verdict, codes(report)[0]) == ("refused", code)
        with pytest.raises(ReferenceRefused) as refusal:
            prepare_reference(audio)
        assert refusal.value.reason == code
        assert figure in str(refusal.value)
        assert refusal.value.cure
    assert check_reference(Audio(constant, 24000)).verdict == "refused"


def test_files_that_are_not_even_decoded_are_refused_with_their_figure(tmp_path: Path) -> None:
    cases = (
        ("0.flac", 0, "empty", "0 bytes"),  # libsndfile writes nothing at all
        ("0.wav", 0, "empty", "0 samples"),
        ("1.wav", 1, "empty", "1 samples"),
        ("1201.flac", 8000 * 1201, "too_long", "1201.0 s; allowed: at most 300 s"),
    )
    for name, num_samples, code, figure in cases:
        path = tmp_path / name
        soundfile.write(path, np.zeros(num_samples, np.int16), 8000)
        for source in (path, path.read_bytes()):
            with pytest.raises(ReferenceRefused) as refusal:
                prepare_reference(source)
            assert refusal.value.reason == code
            assert figure in str(refusal.value)
        assert path.name in _refusal_of(path)


def _refusal_of(path: Path) -> str:
    with pytest.raises(ReferenceRefused) as refusal:
        prepare_reference(path)
    return str(refusal.value)


def test_arrays_are_refused_like_recordings() -> None:
    with pytest.raises(ReferenceRefused, match="empty"):
        prepare_reference(np.zeros(0, np.float32), array_rate=24000)
    with pytest.raises(ReferenceRefused, match="NaN"):
        prepare_reference(np.full(48000, np.inf, np.float32), array_rate=24000)


@pytest.mark.parametrize("num_samples", [0, 1, 2, 100, 480, 3000])
@pytest.mark.parametrize("rate", [8000, 192000])
def test_checking_never_raises(num_samples: int, rate: int) -> None:
    generator = np.random.default_rng(num_samples)
    for scale in (0.0, 1e-3, 1.0, 10.0):
        samples = (scale * generator.standard_normal(num_samples)).astype(np.float32)
        assert check_reference(Audio(samples, rate)).verdict == "refused"


def test_rules_are_settings(make_speech) -> None:
    noisy = add_noise(make_speech(8.0, pauses=PAUSES), 6)
    assert check_reference(noisy).verdict == "refused"
    assert check_reference(noisy, ReferenceRules(min_snr_db=0)).verdict == "usable"
    long = ReferenceRules(max_seconds=5)
    assert codes(check_reference(make_speech(8.0), long)) == ["too_long"]
    with pytest.raises(ConfigError):
        ReferenceRules(best_seconds=(5, 3))
    with pytest.raises(ConfigError):
        ReferenceRules(denoise="maybe")


def test_prepared_part(make_speech) -> None:
    pauses = ((0, 2), (5, 6), (9, 9.5), (11, 12))
    audio, report = prepare_reference(make_speech(12.0, 32000, pauses=pauses))
    assert audio.sample_rate == 24000
    assert audio.samples.dtype == np.float32
    assert 3.0 <= audio.duration <= 10.0
    assert audio.duration == pytest.approx(report.best_end - report.best_start, abs=1e-3)
    assert measure_loudness(audio) == pytest.approx(-23.0, abs=0.1)
    assert report.best_start >= 1.8


def test_what_has_words_is_kept_whole_up_to_30_seconds(make_speech) -> None:
    pauses = ((0, 2), (5, 6), (9, 9.5), (13, 15))
    audio, report = prepare_reference(make_speech(15.0, pauses=pauses), has_words=True)
    assert report.best_start == pytest.approx(1.5, abs=0.1)
    assert report.best_end == pytest.approx(13.5, abs=0.2)
    assert audio.duration == pytest.approx(report.best_end - report.best_start, abs=1e-3)
    cut, _ = prepare_reference(make_speech(30.5), has_words=True)
    assert cut.duration <= 10.0, "no model goes on from so much; families refuse it with words"


def test_best_part_avoids_clipping_and_takes_the_louder(make_speech) -> None:
    samples = make_speech(8.0, pauses=PAUSES).samples.copy()
    spans = [(0.5, 3.5), (4.2, 7.2)]
    early, late = samples.copy(), samples.copy()
    early[: 4 * 24000] *= 0.3
    late[4 * 24000 :] *= 0.3
    assert choose_best_part(Audio(early, 24000), spans, (3.0, 5.0))[0] > 4.0
    assert choose_best_part(Audio(late, 24000), spans, (3.0, 5.0))[1] < 4.0
    late[: 4 * 24000] = np.clip(3 * late[: 4 * 24000], -1, 1)
    assert choose_best_part(Audio(late, 24000), spans, (3.0, 5.0))[0] > 4.0


def test_denoise_rule(make_speech) -> None:
    noisy = add_noise(make_speech(8.0, pauses=PAUSES), 14)
    levels = {}
    for rule in ("auto", "on", "off"):
        audio, report = prepare_reference(noisy, ReferenceRules(denoise=rule))
        gap = slice(*(round((t - report.best_start) * 24000) for t in (3.2, 3.4)))
        levels[rule] = audio.samples[gap].std() / audio.samples.std()
    assert levels["auto"] == levels["on"] < 0.4 * levels["off"]
    clean = make_speech(8.0, pauses=PAUSES)
    untouched, _ = prepare_reference(clean, ReferenceRules(denoise="off"))
    automatic, _ = prepare_reference(clean)
    assert np.array_equal(untouched.samples, automatic.samples)


def test_refusal_needs_no_torch() -> None:
    import subprocess

    code = (
        "import sys, numpy as np\n"
        "from kouji.audio.clean import prepare_reference\n"
        "from kouji.errors import ReferenceRefused\n"
        "try: prepare_reference(np.zeros(48000, np.float32), array_rate=24000)\n"
        "except ReferenceRefused: print('torch' in sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


def test_corpus_is_clean_and_mixtures_are_measured(shared_dir: Path) -> None:
    import soundfile

    folder = shared_dir / "corpus/speech"
    with (folder / "manifest.csv").open(encoding="utf8") as file:
        rows = list(csv.DictReader(file, delimiter="|", quoting=csv.QUOTE_NONE))
    rows = [
        row
        for row in rows
        if row["path"].startswith("librispeech/") and 4 < float(row["duration_s"]) < 9
    ]
    for index in np.random.default_rng(3).choice(len(rows), 4, replace=False):
        samples, rate = soundfile.read(folder / rows[index]["path"], dtype="float32")
        audio = Audio(samples, rate)
        own = check_reference(audio).snr_db
        assert own >= 15
        for snr_db in (0, 10, 20):
            truth = -10 * np.log10(10 ** (-snr_db / 10) + 10 ** (-own / 10))
            assert abs(check_reference(add_noise(audio, snr_db)).snr_db - truth) < 4
