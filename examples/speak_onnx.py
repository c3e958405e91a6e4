"""Speak with exported graphs of mini, without Kouji: python speak_onnx.py FOLDER out.wav

FOLDER is what `kouji export-graphs --out FOLDER` wrote. Its demo.npz holds what no earlier stage
gives, as STAGE.INPUT, and the chunks of a WAV file that say its sound is AI-generated. The
watermark is put in by the vocoder's graph.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime

folder, out = map(Path, sys.argv[1:])
demo = np.load(folder / "demo.npz")
known = {}
for stage in ("speaker", "prosody", "plan", "decode", "vocode"):
    session = onnxruntime.InferenceSession(str(folder / f"{stage}.onnx"))
    known |= {name.split(".")[1]: demo[name] for name in demo if name.startswith(f"{stage}.")}
    given = {port.name: known[port.name] for port in session.get_inputs()}
    names = [port.name for port in session.get_outputs()]
    known |= zip(names, session.run(names, given), strict=True)
samples = known["samples"][0]
pcm = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
body = b"WAVE" + demo["wav_chunks"].tobytes() + b"data" + len(pcm).to_bytes(4, "little") + pcm
out.write_bytes(b"RIFF" + len(body).to_bytes(4, "little") + body)
difference = np.abs(samples - demo["samples"]).max()
print(f"{out}: {str(demo['text'])!r}, {difference:.1e} from what Kouji says itself")
