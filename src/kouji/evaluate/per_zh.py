"""Chinese intelligibility: phones our own recogniser hears against phones the text has.

The recogniser was trained with `kouji train` on recordings and never taught a voice.
Pauses are not counted. Compare with the rate of real recordings in the same table.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from kouji.evaluate.wer import Errors, count_errors
from kouji.text.phones import Phone
from kouji.types import Audio

WEIGHTS = Path(__file__).parent / "weights"


class PhoneErrors(NamedTuple):
    """Edit counts of one utterance, ignoring tones and with them."""

    plain: Errors
    toned: Errors


class ChineseRecogniser:
    """Writes down the phones of Mandarin speech."""

    def __init__(self, folder: Path = WEIGHTS) -> None:
        """Load the weights of `folder`. Raises ModelError if they are missing or damaged."""
        from kouji.models.recogniser import load_recogniser

        self._network = load_recogniser(folder)

    def transcribe(self, audio: Audio) -> list[Phone]:
        """Return the phones heard, finals with their tones."""
        import torch

        from kouji.audio.features import MINI_MEL, mel_spectrogram
        from kouji.audio.loudness import normalise_loudness
        from kouji.audio.resample import resample

        levelled = normalise_loudness(resample(audio, MINI_MEL.sample_rate))
        samples = torch.from_numpy(levelled.samples)[None]
        return self._network.recognise(mel_spectrogram(samples, MINI_MEL)[0].T)


def phones_of_text(text: str) -> list[Phone]:
    """The phones our front end reads a Chinese text as, without pauses."""
    from kouji.text.front import Word, analyse

    units = (unit for segment in analyse(text, language="zh").segments for unit in segment.units)
    return [phone for unit in units if isinstance(unit, Word) for phone in unit.phones]


def count_phone_errors(said: list[Phone], heard: list[Phone]) -> PhoneErrors:
    """Align what was said with what was heard, once without and once with tones."""
    plain = count_errors([p.symbol for p in said], [p.symbol for p in heard])
    return PhoneErrors(plain, count_errors(_toned(said), _toned(heard)))


def _toned(phones: list[Phone]) -> list[str]:
    return [f"{phone.symbol}{phone.tone or ''}" for phone in phones]
