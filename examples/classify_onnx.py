"""Name a sound by an exported classifier, without Kouji: python classify_onnx.py FOLDER dog.wav

FOLDER is what `kouji classify export` wrote. Resamples by plain interpolation: Kouji's own way is
better above 11 kHz.
"""

import json
import sys
import wave

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(f"{sys.argv[1]}/classifier.onnx")
facts = session.get_modelmeta().custom_metadata_map
rate, size, labels = (json.loads(facts[n]) for n in ("sample_rate", "window_samples", "labels"))
try:
    with wave.open(sys.argv[2]) as file:
        channels, width, own_rate, count = file.getparams()[:4]
        if not (data := file.readframes(count)) or width != 2:
            raise wave.Error(f"{8 * width}-bit, {len(data)} bytes of sound")
    sound = np.frombuffer(data, "<i2").reshape(-1, channels).mean(axis=1) / 32768
except (OSError, EOFError, ValueError, wave.Error) as error:
    sys.exit(f"{sys.argv[2]}: {str(error) or 'it breaks off'}; give a WAV file of 16-bit PCM")
times = np.arange(max(size, round(len(sound) * rate / own_rate))) * (own_rate / rate)
sound = np.interp(times, np.arange(len(sound)), sound, right=0).astype(np.float32)
starts = np.minimum(np.arange(0, len(sound), size), len(sound) - size)  # the last ends at the end
windows = np.stack([sound[start : start + size] for start in starts])
probabilities = session.run(None, {"samples": windows})[0].mean(axis=0)
for place in np.argsort(-probabilities)[:5]:
    print(f"{probabilities[place]:.4f} {labels[place]}")
