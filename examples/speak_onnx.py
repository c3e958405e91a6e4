"""Speak with exported graphs of mini, without Kouji: python speak_onnx.py FOLDER out.wav

FOLDER is what `kouji export-graphs --out FOLDER` wrote. The sound carries Kouji's watermark,
which the vocoder's graph puts in; this script adds the label "AI-generated" to the file.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def main(folder: Path, out: Path) -> None:
    facts = json.loads((folder / "graphs.json").read_text(encoding="utf-8"))
    demo = {name: array[None] for name, array in np.load(folder / facts["demo"]["file"]).items()}

    def run(stage, *inputs):
        session = onnxruntime.InferenceSession(str(folder / f"{stage}.onnx"))
        names = [port.name for port in session.get_inputs()]
        return session.run(None, dict(zip(names, inputs, strict=True)))

    phones = demo["symbols"], demo["tones"], np.ones(demo["symbols"].shape, np.float32)
    (speaker,) = run("speaker", demo["mel"], np.ones(demo["mel"].shape[:2], np.float32))
    is_drawn = "noise" in [port["name"] for port in facts["stages"]["prosody"]["inputs"]]
    drawn = (demo["edges"], demo["prosody_noise"]) if is_drawn else ()
    frames, prosody = run("prosody", *phones, speaker, *drawn)
    durations = whole_frames(frames[0], demo["symbols"][0], facts)
    which = np.repeat(np.arange(len(durations)), durations)
    planned = run("plan", *phones, speaker, prosody, durations[None], which[None])
    (mel,) = run("decode", *planned, speaker)
    (samples,) = run("vocode", mel, *planned[1:], demo["noise"])
    write_wav(out, samples[0], facts)
    difference = np.abs(samples[0] - demo["samples"][0]).max()
    print(f"{out}: {facts['demo']['text']!r}, {difference:.1e} from what Kouji says itself")


def whole_frames(frames, symbols, facts):
    """Round durations; what one phone loses the next gains, and a sounding phone has one frame."""
    counts, owed = [], 0.0
    for place, (wish, symbol) in enumerate(zip(frames, symbols, strict=True)):
        least = int(symbol not in facts["silent_symbols"])
        if place in (0, len(frames) - 1):
            least = facts["rounding"]["edge_frames"]
        counts.append(max(least, int(np.floor(wish + owed + 0.5))))
        owed = float(np.clip(owed + wish - counts[-1], -1.0, 1.0))
    return np.array(counts, np.int64)


def write_wav(out, samples, facts):
    """16-bit PCM behind a LIST INFO chunk that says the sound is AI-generated."""
    rate, info = facts["sample_rate"], b"INFO"
    for name, text in (("ICMT", facts["labels"]["comment"]), ("AIGC", facts["labels"]["AIGC"])):
        data = text.encode() + b"\0"
        info += name.encode() + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    pcm = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    chunks = ((b"fmt ", form), (b"LIST", info), (b"data", pcm))
    body = b"WAVE" + b"".join(n + struct.pack("<I", len(data)) + data for n, data in chunks)
    out.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


main(Path(sys.argv[1]), Path(sys.argv[2]))
