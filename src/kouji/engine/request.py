"""The words between a caller and the engine: what is asked, what comes back.

A request is frozen and whole; everything that changes while it is worked on lives on one
object inside the engine, and ends when that object is dropped. Knows no thread and no queue.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kouji.engine.distribution import check_options
from kouji.engine.guard import GuardOptions
from kouji.errors import UsageError
from kouji.models.stages import RenderOptions, SamplingOptions, SpeechModel

MAX_SEED = (1 << 63) - 1


@dataclass(frozen=True)
class EngineRequest:
    """One text to speak in one voice.

    model:    the weights that speak it
    segments: the text, cut into pieces the family prepared; spoken in this order
    voice:    the family's conditioning
    seed:     with text, voice and options it decides every sample, whoever shares the batch
    client:   whose request it is; clients take turns
    deadline_seconds: from submission to the last sample; None waits for ever
    is_background: goes behind every request that is not
    is_exact: computed without company and with a fixed number of threads: the same bits each
              time on a machine, where others may differ in the last of them; slower
    is_sound: what comes back is to be heard, and counts in the times to the first sound
    id:       names the request in traces and errors
    """

    model: SpeechModel
    segments: tuple[Any, ...]
    voice: Any = None
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    render: RenderOptions = field(default_factory=RenderOptions)
    guard: GuardOptions = field(default_factory=GuardOptions)
    seed: int = 0
    client: str = ""
    deadline_seconds: float | None = None
    is_background: bool = False
    is_exact: bool = False
    is_sound: bool = True
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True)
class SegmentOutcome:
    """What became of one segment.

    num_tokens:  of the attempt that is heard; 0 for a family without decode stage
    num_samples: of the whole segment
    retries:     how many times it was decoded again
    warnings:    faults the attempt that is heard still has, in plain words
    info:        the family's own report (`RenderRow.info`)
    """

    index: int
    num_tokens: int = 0
    num_samples: int = 0
    retries: int = 0
    warnings: tuple[str, ...] = ()
    info: Any = None


@dataclass(frozen=True)
class EngineChunk:
    """Sound in the order it is to be heard.

    samples: (samples,) float32 at the renderer's rate; empty if a segment made no sound
    outcome: set on the last chunk of a segment, else None
    info:    the family's facts about the segment so far (`RenderRow.info`)
    """

    segment_index: int
    samples: NDArray[np.float32]
    is_segment_end: bool = False
    outcome: SegmentOutcome | None = None
    info: Any = None


@dataclass(frozen=True)
class EngineResult:
    """A whole request.

    segments: samples of each segment, (samples,) float32
    """

    segments: tuple[NDArray[np.float32], ...]
    outcomes: tuple[SegmentOutcome, ...]

    @property
    def samples(self) -> NDArray[np.float32]:
        """All segments, one after another."""
        return np.concatenate([np.zeros(0, np.float32), *self.segments])


def segment_seed(seed: int, index: int) -> int:
    """A seed of its own for every segment, whatever the number of its neighbours."""
    return (seed * 1_000_003 + index * 7_919) % (MAX_SEED + 1)


def check_request(request: EngineRequest) -> None:
    """Refuse options no family can serve, before anything is computed.

    raises: UsageError
    """
    if not request.segments:
        raise UsageError("a request has no segments", cure="give it text that can be spoken")
    if not 0 <= request.seed <= MAX_SEED:
        raise UsageError("seed out of range", seen=request.seed, allowed="0 to 2^63 - 1")
    check_wishes(request.sampling, request.deadline_seconds)
    _check_positive("speed", request.render.speed)
    if request.guard.max_retries < 0:
        raise UsageError(
            "max_retries out of range", seen=request.guard.max_retries, allowed="0 or more"
        )


def check_wishes(sampling: SamplingOptions, deadline_seconds: float | None) -> None:
    """Refuse what can be judged before text and voice are looked at.

    raises: UsageError
    """
    check_options(sampling)
    if deadline_seconds is not None:
        _check_positive("deadline_seconds", deadline_seconds)


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{name} out of range", seen=value, allowed="a finite number above 0")
