"""What is said in one recording and when, judged by the model that shall learn its voice.

The phones come from a transcript or, without one, from the phone recogniser. `mini` reads them in
the speaker's zero-shot voice; its reading says how each phone sounds there, and the best path
through those sounds (Viterbi) lays the phones over the recording. Needs no corpus.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kouji.errors import TextError
from kouji.models.mini.fine_mel import coarse_mel
from kouji.models.mini.frontend import FREE, PhoneSequence
from kouji.models.mini.model import AcousticModel
from kouji.models.mini.plan import make_plan
from kouji.text.phones import ARPABET_VOWELS, EDGE, FINALS, INITIALS, SYMBOL_IDS, SYMBOLS
from kouji.text.style import Style
from kouji.train.alignment import (
    STATES_PER_PHONE,
    AlignedUnits,
    StateGraph,
    best_path,
    build_graph,
    silence_doubt,
    units_from_path,
)
from kouji.train.gaussian_aligner import cepstra

_TEMPER = 0.5  # frames 20 ms apart are not independent
_FLOOR = 1e-200
_MANDARIN = frozenset((*INITIALS, *FINALS))
_STRESSED = 1  # of the marks 0 to 2 the one that says least wrong of a vowel heard clearly

Phones = dict[str, NDArray[Any]]


def heard_phones(log_mel: NDArray[np.float32], language: str | None = None) -> Phones:
    """Phones as the recogniser of `kouji evaluate` writes them down, each a word of its own.

    log_mel:  (frames, mels) natural log
    language: zh or en; else whichever the recogniser hears more of
    raises:   TextError if it hears nothing
    """
    from kouji.models.recogniser import best_path as read
    from kouji.models.recogniser import load_recogniser, phone_classes

    network = load_recogniser(Path(str(files("kouji") / "evaluate" / "weights")))
    with torch.inference_mode():
        logits, _ = network(torch.from_numpy(log_mel)[None], torch.tensor([len(log_mel)]))
    is_mandarin = torch.tensor([phone.symbol in _MANDARIN for phone in phone_classes()])
    if language not in ("zh", "en"):
        chances = logits[0].float().softmax(-1)[:, 1:].sum(0)
        language = "zh" if chances[is_mandarin].sum() > chances[~is_mandarin].sum() else "en"
    shut_out = torch.cat([torch.tensor([False]), is_mandarin == (language != "zh")])
    scores = logits[0].float().masked_fill(shut_out, -torch.inf).log_softmax(-1)
    found = read(scores, network.get_buffer("to_symbols").float())
    if not found:
        raise TextError("no phone was heard in the recording", cure="give its transcript")
    tones = [_STRESSED if phone.symbol in ARPABET_VOWELS else phone.tone for phone in found]
    return {
        "phones": np.array([SYMBOL_IDS[phone.symbol] for phone in found], np.int16),
        "tones": np.array(tones, np.int8),
        "words": np.arange(len(found), dtype=np.int16),
    }


def align_recording(
    acoustic: AcousticModel, log_mel: NDArray[np.float32], phones: Phones, speaker: Tensor
) -> AlignedUnits:
    """Lay phones over a recording; pauses are put where they are heard.

    log_mel: (frames, mels) natural log
    phones:  as `transcript_phones` or `heard_phones` gives them
    speaker: (channels,) embedding of the recording
    raises:  TextError if there are more phones than the recording has room for
    """
    symbols, tones, words = (phones[name] for name in ("phones", "tones", "words"))
    graph = build_graph(symbols, words)
    features, doubt = _scaled(cepstra(log_mel)), silence_doubt(log_mel)
    sounds = _read_aloud(acoustic, symbols, tones, words, speaker)
    quiet = features[np.argsort(log_mel.mean(axis=1))[: max(1, len(log_mel) // 20)]].mean(axis=0)
    scores = np.stack(
        [_closeness(features, sound) for sound in _states(graph, sounds, quiet)], axis=1
    )
    scores -= doubt[:, None] * np.array(
        [SYMBOLS[c // STATES_PER_PHONE] == EDGE for c in graph.classes]
    )
    scores -= scores.max(axis=1, keepdims=True)
    path = best_path(np.maximum(np.exp(scores), _FLOOR), graph)
    if path is None:
        raise TextError(
            "the transcript does not fit the recording",
            seen=f"{len(symbols)} phones in {len(log_mel)} frames of 20 ms",
            cure="write down what is said in it and nothing else",
        )
    return units_from_path(path, graph, symbols, tones, words)


def _read_aloud(
    acoustic: AcousticModel,
    symbols: NDArray[np.integer],
    tones: NDArray[np.integer],
    words: NDArray[np.integer],
    speaker: Tensor,
) -> NDArray[np.float32]:
    """How onset and body of each unit sound when `mini` says them: (units, 2, features)."""
    edge = SYMBOL_IDS[EDGE]
    count = len(symbols) + 2
    sequence = PhoneSequence(
        np.r_[edge, symbols, SYMBOL_IDS["."]].astype(np.int64),
        np.r_[0, tones, 0].astype(np.int64),
        np.r_[-1, words, -1].astype(np.int64),
        np.full(count, FREE, np.int64),
        np.ones(count, np.float32),
        np.zeros(count, np.float32),
        np.zeros(count, np.float32),
    )
    plan = make_plan(acoustic, sequence, speaker, Style())
    with torch.inference_mode():
        mel = acoustic.decode(
            plan.x[None],
            torch.ones(1, plan.num_frames, 1),
            plan.log_f0[None],
            torch.sigmoid(plan.voicing)[None],
            speaker[None],
            torch.zeros(1),
        )
    features = _scaled(cepstra(coarse_mel(mel)[0].numpy()))
    ends = np.cumsum(plan.durations)[1:-1]
    starts = ends - plan.durations[1:-1]
    sounds = []
    for start, end in zip(starts, ends, strict=True):
        middle, end = (start + end + 1) // 2, max(end, start + 1)
        last = min(middle, end - 1)
        sounds.append(
            [features[start : max(middle, start + 1)].mean(0), features[last:end].mean(0)]
        )
    return np.array(sounds, np.float32)


def _states(
    graph: StateGraph, sounds: NDArray[np.float32], quiet: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """The sound of each state of the graph; all silences sound alike."""
    return [
        quiet
        if SYMBOLS[kind // STATES_PER_PHONE] == EDGE or unit < 0
        else sounds[unit, kind % STATES_PER_PHONE]
        for kind, unit in zip(graph.classes, graph.units, strict=True)
    ]


def _closeness(features: NDArray[np.float32], sound: NDArray[np.float32]) -> NDArray[np.float64]:
    """Tempered log-likelihood of each frame under a unit normal around a sound: (frames,)."""
    distance = np.square(features - sound, dtype=np.float64).sum(axis=1)
    return np.asarray(-0.5 * _TEMPER * distance, np.float64)


def _scaled(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features with unit variance over the recording."""
    return np.asarray(features / np.maximum(features.std(axis=0), 1e-3), np.float32)
