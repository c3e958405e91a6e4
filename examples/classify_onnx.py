"""Name a sound by an exported classifier, without Kouji: python classify_onnx.py FOLDER dog.wav"""

import json
import sys
import wave
from pathlib import Path

import numpy as np
import onnxruntime

folder = Path(sys.argv[1])
facts = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
with wave.open(sys.argv[2]) as file:
    channels, width, rate, count = file.getparams()[:4]
    if width != 2:
        sys.exit(f"{sys.argv[2]}: {8 * width}-bit; give a WAV file of 16-bit PCM")
    sound = np.frombuffer(file.readframes(count), "<i2").reshape(-1, channels).mean(axis=1) / 32768
# Plain linear interpolation; Kouji's own resampler is better above 11 kHz.
times = np.arange(round(len(sound) * facts["sample_rate"] / rate)) / facts["sample_rate"]
sound = np.interp(times * rate, np.arange(len(sound)), sound).astype(np.float32)
size = facts["window_samples"]
sound = np.pad(sound, (0, max(0, size - len(sound))))
starts = sorted({*range(0, len(sound) - size + 1, size), len(sound) - size})
windows = np.stack([sound[start : start + size] for start in starts])
session = onnxruntime.InferenceSession(str(folder / "classifier.onnx"))
probabilities = session.run(["probabilities"], {"samples": windows})[0].mean(axis=0)
for place in np.argsort(-probabilities)[:5]:
    print(f"{probabilities[place]:.4f} {facts['labels'][place]}")
