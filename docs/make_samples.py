"""Make the listening page docs/samples/index.html: people `mini` has heard for some seconds.

Twelve sentences in four voices, English and Chinese each in both languages' voices; the recording
of the person who really read a sentence stands beside it; then one sentence of each language in
several styles. Every sound has its spectrogram. The page opens from disk and loads nothing else.
Needs the corpus the recordings are from, matplotlib and pillow:

    python docs/make_samples.py --data CORPUS/speech [--model CANDIDATE]
"""

from __future__ import annotations

import argparse
import html
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import kouji
from kouji.api import TTS
from kouji.audio.encode import save_audio
from kouji.audio.load import load_audio
from kouji.audio.resample import resample
from kouji.types import Audio
from kouji.voices.voice import Voice

SAMPLES = Path(__file__).with_name("samples")
SEED = 1
RATE = 24_000
BIT_RATE = 48_000
COLOURS = 24  # of a spectrogram: a page of 80 stays small
TOP_HZ = 8000  # of a spectrogram; the recordings hold nothing above


@dataclass(frozen=True)
class Person:
    """Somebody of the corpus: `reference` is all that is heard of them for the cloning."""

    name: str
    told: str
    reference: str
    source: str


@dataclass(frozen=True)
class Sentence:
    """A sentence and the recording of the person who read it."""

    text: str
    person: str
    recording: str


LIBRISPEECH = "LibriSpeech, speaker {}, CC BY 4.0"
AISHELL = "AISHELL-1, speaker {}, Apache-2.0"
PEOPLE = (
    Person(
        "1970",
        "a woman, English, never trained on",
        "librispeech/ls-1970/1970-28415-0003.ogg",
        LIBRISPEECH.format("1970"),
    ),
    Person(
        "6848",
        "a man, English, never trained on",
        "librispeech/ls-6848/6848-252323-0037.ogg",
        LIBRISPEECH.format("6848"),
    ),
    Person(
        "S0150",
        "a woman, Chinese, a voice of the training",
        "aishell1/aishell-S0150/BAC009S0150W0284.ogg",
        AISHELL.format("S0150"),
    ),
    Person(
        "S0252",
        "a man, Chinese, a voice of the training",
        "aishell1/aishell-S0252/BAC009S0252W0121.ogg",
        AISHELL.format("S0252"),
    ),
)
SENTENCES = (
    Sentence(
        "Where people were making their gifts to God.",
        "1970",
        "librispeech/ls-1970/1970-28415-0023.ogg",
    ),
    Sentence(
        "These people will also be surprised. They will say: Lord!",
        "1970",
        "librispeech/ls-1970/1970-28415-0030.ogg",
    ),
    Sentence(
        "But something had to be done, the priests and the rulers said. The week was going by.",
        "1970",
        "librispeech/ls-1970/1970-28415-0034.ogg",
    ),
    Sentence(
        "Carbineer, if the same to you, master, said the other quietly. I never served in the "
        "infantry.",
        "6848",
        "librispeech/ls-6848/6848-252323-0006.ogg",
    ),
    Sentence(
        "Said Billy: I'll have to be up at the office for the bags at six o'clock, faix.",
        "6848",
        "librispeech/ls-6848/6848-252323-0001.ogg",
    ),
    Sentence(
        "Sorra taste of it, muttered another. There's a sea running outside now that would swamp "
        "a life boat. I'll not lose an elegant situation of six pounds ten a year.",
        "6848",
        "librispeech/ls-6848/6848-252323-0002.ogg",
    ),
    Sentence(
        "其并未具体指明，新生产线将会生产何种产品。",
        "S0150",
        "aishell1/aishell-S0150/BAC009S0150W0297.ogg",
    ),
    Sentence(
        "这个指标没有上一个指标那么好。", "S0150", "aishell1/aishell-S0150/BAC009S0150W0143.ogg"
    ),
    Sentence(
        "购房者主要集中在二十五到三十五岁之间。",
        "S0150",
        "aishell1/aishell-S0150/BAC009S0150W0186.ogg",
    ),
    Sentence(
        "虽然多个在售楼盘的看楼买家都有所增加。",
        "S0252",
        "aishell1/aishell-S0252/BAC009S0252W0167.ogg",
    ),
    Sentence(
        "销售中心内依然不断有销货人员带着客户前来。",
        "S0252",
        "aishell1/aishell-S0252/BAC009S0252W0172.ogg",
    ),
    Sentence(
        "各大开发商在主流城市开始进入推盘高峰期。",
        "S0252",
        "aishell1/aishell-S0252/BAC009S0252W0139.ogg",
    ),
)
STYLED = (
    ("1970", "I did not think that you would come back so soon. Sit down and tell me everything."),
    ("S0150", "没想到你这么快就回来了，坐下来慢慢说吧。"),
)
STYLES = ("", "excited", "sad and slow", "angry", "calm", "fast", "deep and quiet", "whisper")


def main() -> None:
    """Speak all, draw all, write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="CORPUS/speech")
    parser.add_argument("--model", default="mini", help="mini, or a folder of weights")
    options = parser.parse_args()
    SAMPLES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        os.environ["KOUJI_HOME"] = home  # the audit of this page is nobody's
        with kouji.load(options.model) as tts:
            page = Page(tts, options.data)
            body = page.sentences() + page.styles()
    (SAMPLES / "index.html").write_text(document(body), encoding="utf-8")
    print(f"{page.count} sounds, {sum(f.stat().st_size for f in SAMPLES.iterdir()) / 1e6:.1f} MB")
    for stale in {f for f in SAMPLES.iterdir() if f.suffix != ".html"} - page.written:
        stale.unlink()


class Page:
    """The rows of the page, made as they are asked for."""

    def __init__(self, tts: TTS, data: Path) -> None:
        self._tts, self._data = tts, data
        self._voices: dict[str, Voice] = {
            person.name: tts.enroll(data / person.reference) for person in PEOPLE
        }
        self.written: set[Path] = set()
        self.count = 0

    def sentences(self) -> str:
        """A table: each sentence as it was read, and in all voices."""
        heads = "".join(
            f"<th>{person.name}<small>{html.escape(person.told)}</small></th>" for person in PEOPLE
        )
        reference = "".join(
            f"<td>{self._recording(f'reference-{p.name}', p.reference)}</td>" for p in PEOPLE
        )
        rows = [f"<tr><th>All that was heard of them</th><td></td>{reference}</tr>"]
        for number, sentence in enumerate(SENTENCES, start=1):
            read = self._recording(f"{number:02}-recording", sentence.recording)
            cells = "".join(
                f"<td>{self._spoken(f'{number:02}-{person.name}', sentence.text, person.name)}</td>"
                for person in PEOPLE
            )
            text = html.escape(sentence.text)
            rows.append(
                f"<tr><th>{text}</th><td>{read}<small>{sentence.person}, a recording</small></td>"
                f"{cells}</tr>"
            )
        return (
            "<h2>Twelve sentences, four voices</h2><div class='wide'><table>"
            f"<tr><th></th><th>as it was read</th>{heads}</tr>{''.join(rows)}</table></div>"
        )

    def styles(self) -> str:
        """A table: one sentence of each language in every style."""
        heads = "".join(
            f"<th>{name}<small>{html.escape(text)}</small></th>" for name, text in STYLED
        )
        rows = []
        for number, style in enumerate(STYLES):
            cells = "".join(
                f"<td>{self._spoken(f'style-{number}-{name}', text, name, style)}</td>"
                for name, text in STYLED
            )
            rows.append(f"<tr><th>{style or 'no style asked for'}</th>{cells}</tr>")
        return (
            "<h2>Styles, in plain words</h2><div class='wide'><table>"
            f"<tr><th></th>{heads}</tr>{''.join(rows)}</table></div>"
        )

    def _spoken(self, name: str, text: str, person: str, style: str = "") -> str:
        speech = self._tts.speak(text, self._voices[person], style=style or None, seed=SEED)
        target = SAMPLES / f"{name}.mp3"
        save_audio(speech.audio, target, tags=speech.metadata, bit_rate=BIT_RATE)
        return self._cell(name, speech.audio)

    def _recording(self, name: str, path: str) -> str:
        audio = resample(load_audio(self._data / path), RATE)
        save_audio(audio, SAMPLES / f"{name}.mp3", bit_rate=BIT_RATE)
        return self._cell(name, audio)

    def _cell(self, name: str, audio: Audio) -> str:
        draw(audio, SAMPLES / f"{name}.png")
        self.written |= {SAMPLES / f"{name}.mp3", SAMPLES / f"{name}.png"}
        self.count += 1
        return (
            f"<img src='{name}.png' alt='spectrogram' loading='lazy'>"
            f"<audio controls preload='none' src='{name}.mp3'></audio>"
        )


def draw(audio: Audio, path: Path) -> None:
    """A spectrogram of 0 to 8 kHz, 70 dB deep, 240 points wide."""
    from matplotlib import colormaps
    from PIL import Image

    size = 1024
    padded = np.pad(audio.samples, size // 2)
    starts = np.linspace(0, len(padded) - size, 240).astype(int)
    frames = np.stack([padded[start : start + size] for start in starts]) * np.hanning(size)
    power = np.abs(np.fft.rfft(frames)) ** 2
    top = round(TOP_HZ * size / audio.sample_rate)
    bands = power[:, : top // 4 * 4].reshape(len(power), -1, 4).mean(axis=2)
    level = 10 * np.log10(bands + 1e-10)
    picture = np.clip((level - level.max()) / 70 + 1, 0, 1).T[::-1]
    coloured = (colormaps["magma"](picture)[..., :3] * 255).astype(np.uint8)
    Image.fromarray(coloured).quantize(COLOURS).save(path, optimize=True)


def document(body: str) -> str:
    """The whole page."""
    sources = "; ".join(sorted({person.source for person in PEOPLE}))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>mini, to listen to</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 90rem; padding: 1.5rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: .5rem; text-align: left; vertical-align: top; border-top: 1px solid #8884; }}
th {{ font-weight: 500; min-width: 11rem; max-width: 20rem; }}
small {{ display: block; font-weight: 400; opacity: .7; }}
img, audio {{ display: block; width: 15rem; }}
img {{ height: 4.5rem; border-radius: 4px 4px 0 0; }}
audio {{ height: 2rem; }}
</style>
</head>
<body>
<h1>mini, to listen to</h1>
<p>Made by Kouji's own small model on a processor, from one recording of each person. What is
not called a recording is AI-generated, labelled and watermarked. One seed, nothing chosen: the
page is made by <code>docs/make_samples.py</code>. Figures and limits stand in
<code>docs/model-card-mini.md</code>.</p>
{body}
<p><small>Recordings: {html.escape(sources)}.</small></p>
</body>
</html>
"""


if __name__ == "__main__":
    main()
