"""`mini` as graphs: its stages in every format, what they need to be run, and a sentence to try.

The text front end, consent and the rounding of durations stay outside; the watermark is inside
the vocoder's graph, so that nothing it says is unmarked, and the demo brings the label of its file.
"""

from __future__ import annotations

import json
import secrets
import struct
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kouji.audio.features import MINI_FINE_MEL, MINI_MEL, mel_spectrogram
from kouji.audio.labels import label_tags, riff_info
from kouji.audio.watermark import embed
from kouji.graphs.folder import (
    Report,
    Watcher,
    choose_formats,
    export_stages,
    open_folder,
    write_file,
)
from kouji.graphs.mini_stages import mini_stages
from kouji.models.mini.config import (
    FINE_MEAN,
    FINE_PER_FRAME,
    HOP_SAMPLES,
    LOG_F0_MEAN,
    LOG_F0_STD,
    MEL_MEAN,
    MEL_STD,
    SAMPLE_RATE,
)
from kouji.models.mini.excitation import noise
from kouji.models.mini.family import MiniFamily
from kouji.models.mini.frontend import sequence_segment
from kouji.models.mini.plan import EDGE_SILENCE_FRAMES, MAX_PHONE_FRAMES, reading_noise
from kouji.models.mini.prosody import word_edges
from kouji.models.mini.weights import SHIPPED, Checkpoint, load_checkpoint
from kouji.models.stages import RenderOptions
from kouji.text.phones import FINALS, INITIALS, SYMBOLS, is_silence
from kouji.text.style import Style
from kouji.voices.sample import sample_voice

DEMO_FILE = "demo.npz"
DEMO_TEXT = "This sentence was spoken without Kouji."
_DEMO_SEED = 0
_EDGES = ("silence", "inside a word", "first of a word", "last of a word", "a word of its own")


def export_mini(
    out: str | Path,
    formats: str | Sequence[str] = "all",
    *,
    folder: str | Path = SHIPPED,
    number: int | None = None,
    tell: Watcher | None = None,
) -> Report:
    """Write the stages of a `mini` checkpoint, each verified, with `graphs.json` and a demo.

    formats: of `folder.FORMATS`, or "all"
    folder:  of the checkpoint; the shipped one by default
    number:  in the watermark of all the graphs will say, 0 to 2**32 - 1; drawn where None
    tell:    is told of each file that is done
    raises:  UsageError for an unknown format, a folder that cannot be written to or a missing
             library; ModelError for a damaged checkpoint or a file that does not agree
    """
    chosen = choose_formats(formats)
    checkpoint = load_checkpoint(folder)
    out = open_folder(out)
    number = secrets.randbits(32) if number is None else number
    stages = mini_stages(checkpoint, number)
    demo = make_demo(checkpoint, number)
    write_file(out / DEMO_FILE, lambda draft: _save_arrays(draft, demo))
    return export_stages(stages, out, chosen, describe(checkpoint, number), tell)


def describe(checkpoint: Checkpoint, number: int) -> dict[str, Any]:
    """What whoever runs the graphs has to know; plain values."""
    config = checkpoint.acoustic.config
    return {
        "model": "mini",
        "weights": checkpoint.weights_hash,
        "sample_rate": SAMPLE_RATE,
        "hop_samples": HOP_SAMPLES,
        "pace": checkpoint.pace,
        "mel": {**asdict(MINI_MEL), "mean": MEL_MEAN, "std": MEL_STD},
        "fine_mel": {
            **asdict(MINI_FINE_MEL),
            "mean": FINE_MEAN,
            "std": MEL_STD,
            "per_frame": FINE_PER_FRAME,
        },
        "log_f0": {"mean": LOG_F0_MEAN, "std": LOG_F0_STD},
        "symbols": list(SYMBOLS),
        "silent_symbols": [i for i, name in enumerate(SYMBOLS) if is_silence(name)],
        "mandarin_symbols": [i for i, name in enumerate(SYMBOLS) if name in (*INITIALS, *FINALS)],
        "edges": list(_EDGES),
        "temperature": list(config.prosody_temperature),
        "mandarin_temperature": list(config.mandarin_temperature),
        "rounding": {"edge_frames": EDGE_SILENCE_FRAMES, "max_frames": MAX_PHONE_FRAMES},
        "watermark": f"{number:08x}",
        "labels": label_tags(f"{number:08x}"),
        "duty": "Everything these graphs say is made by AI: the vocoder's graph puts an inaudible "
        "watermark in. Label files as AI-generated, and imitate nobody without consent.",
        "demo": {"file": DEMO_FILE, "text": DEMO_TEXT},
    }


@torch.inference_mode()
def make_demo(checkpoint: Checkpoint, number: int) -> dict[str, NDArray[Any]]:
    """One sentence in the packaged voice: what goes into the stages, and what Kouji makes of it.

    returns: `STAGE.INPUT` (1, ...) for each input that no earlier stage gives, of the shapes of its
             port; `samples` (samples,) as Kouji's own code speaks and marks them; `text`;
             `wav_chunks` (bytes,) uint8, format and labels of a WAV file, all but its sound
    """
    family = MiniFamily(checkpoint, precision="float32")
    voice = sample_voice()
    prepared = family.prepare(DEMO_TEXT, voice, language="en", style=Style())
    segment = prepared.segments[0].payload
    row = family.renderer.open(
        segment, family.embed(voice.reference), RenderOptions(), _DEMO_SEED, is_last=True
    )
    pieces = []
    while not row.is_done:
        if row.acoustic_cost:
            family.renderer.acoustic([row])
        pieces += family.renderer.vocode([row])
    reference = torch.from_numpy(voice.reference.samples)[None]
    mel = (mel_spectrogram(reference, MINI_MEL)[0].T - MEL_MEAN) / MEL_STD
    sequence, durations = sequence_segment(segment), row.plan.durations
    given = {
        "speaker.mel": mel.numpy(),
        "speaker.mask": np.ones(len(mel), np.float32),
        "prosody.symbols": sequence.symbols,
        "prosody.tones": sequence.tones,
        "prosody.mask": np.ones(len(durations), np.float32),
        "plan.durations": durations,
        "plan.phone_of_frame": np.repeat(np.arange(len(durations)), durations),
        "vocode.noise": noise(_DEMO_SEED, 0, row.plan.num_frames).reshape(-1, HOP_SAMPLES).numpy(),
    }
    if checkpoint.acoustic.config.prosody_width:
        readings = reading_noise(checkpoint.acoustic.config, sequence.symbols, _DEMO_SEED)
        given["prosody.edges"] = word_edges(sequence.symbols, sequence.units)
        given["prosody.noise"] = readings.numpy()
    return {
        **{name: array[None] for name, array in given.items()},
        "samples": embed(np.concatenate(pieces), SAMPLE_RATE, number),
        "text": np.array(DEMO_TEXT),
        "wav_chunks": np.frombuffer(_wav_chunks(number), np.uint8),
    }


def _wav_chunks(number: int) -> bytes:
    """Format (16-bit PCM, mono) and labels as the chunks before the sound of a WAV file."""
    form = struct.pack("<HHIIHH", 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)
    labels = riff_info(label_tags(f"{number:08x}"))
    return b"fmt " + struct.pack("<I", len(form)) + form + labels


def _save_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    save: Any = np.savez_compressed  # its stubs take every name for an option of its own
    save(path, **arrays)


def read_number(report: Report) -> str:
    """The watermark number of an export, as eight hex digits."""
    document = json.loads(report.list_path.read_text(encoding="utf-8"))
    return str(document["watermark"])
