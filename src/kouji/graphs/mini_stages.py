"""Where `mini` is cut into graphs, what each takes and gives, and how it is tried.

What files are compared with is Kouji's own code: the networks' methods, `Networks.decode` and
`Networks.vocode` on each row, and the watermark of every spoken sound.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kouji.audio.watermark import embed
from kouji.graphs.mini_modules import (
    DecodeGraph,
    MeanProsodyGraph,
    PlanGraph,
    ProsodyGraph,
    SpeakerGraph,
    VocodeGraph,
)
from kouji.graphs.stage import Port, Sizes, Stage, Tensors
from kouji.models.mini.config import FINE_CHANNELS, HOP_SAMPLES, NUM_MELS, SAMPLE_RATE
from kouji.models.mini.excitation import noise
from kouji.models.mini.frontend import PhoneSequence
from kouji.models.mini.model import NUM_PROSODY
from kouji.models.mini.plan import MAX_PHONE_FRAMES, Plan
from kouji.models.mini.prosody import NUM_EDGES, NUM_FEATURES
from kouji.models.mini.synthesis import Networks
from kouji.models.mini.vocoder import Pitch, source_pulses
from kouji.models.mini.weights import Checkpoint
from kouji.text.phones import NUM_TONES, SYMBOLS

_SYMBOLS = Port("symbols", ("batch", "phones"), "int64", "ids of phones, padded with 0")
_TONES = Port("tones", ("batch", "phones"), "int64", "tones or stress of the phones")
_EDGES = Port("edges", ("batch", "phones"), "int64", "where words begin and end")
_MASK = Port("mask", ("batch", "phones"), meaning="1 for phones, 0 for padding")
_PROSODY = Port(
    "prosody", ("batch", "phones", NUM_PROSODY), meaning="log-f0, voicing in [0, 1], energy"
)
_FRAME_MASK = Port("frame_mask", ("batch", "frames"), meaning="1 for frames, 0 for padding")
_LOG_F0 = Port("log_f0", ("batch", "frames"), meaning="normalised natural logarithm of f0")
_VOICING = Port("voicing", ("batch", "frames"), meaning="logit that the frame is voiced")
_MEL = Port("mel", ("batch", "frames", NUM_MELS), meaning="normalised log-mel")
_FINE_MEL = Port(
    "fine_mel", ("batch", "frames", FINE_CHANNELS), meaning="two normalised log-mels of 10 ms"
)

# Sizes that files are made with and tried with: other lengths, one row and several, short ones.
_PHONES = ({"phones": 13, "frames": 40}, {"phones": 29, "frames": 97}, {"phones": 4, "frames": 17})


def mini_stages(checkpoint: Checkpoint, payload: int) -> tuple[Stage, ...]:
    """The stages in the order they are run in: speaker, prosody, plan, decode, vocode.

    payload: the number in the watermark of what the vocoder says
    """
    maker = _Maker(checkpoint)
    return (
        maker.speaker(),
        maker.prosody(),
        maker.plan(),
        maker.decode(),
        maker.vocode(payload),
    )


class _Maker:
    """Stages of one checkpoint."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.acoustic, self.vocoder, self.pace = (
            checkpoint.acoustic,
            checkpoint.vocoder,
            checkpoint.pace,
        )
        config = self.acoustic.config
        self.is_drawn = bool(config.prosody_width)
        channels = config.speaker_channels
        self.speaker_port = Port("speaker", ("batch", channels), meaning="who speaks")
        self.x_port = Port("x", ("batch", "frames", config.width), meaning="input of the decoder")

    def speaker(self) -> Stage:
        """A reference recording's mel to who speaks."""

        def model(mel: Tensor, mask: Tensor) -> Tensors:
            rows = zip(mel, mask.sum(dim=1).long(), strict=True)
            encoder = self.acoustic.speaker_encoder
            alone = [row[None, :count] for row, count in rows]
            return (torch.cat([encoder(row, torch.ones_like(row[..., :1])) for row in alone]),)

        def make_inputs(sizes: Sizes) -> Tensors:
            mask = _mask(sizes["batch"], sizes["frames"])
            return _normal(sizes, "frames", NUM_MELS) * mask[..., None], mask

        frames = (*({"batch": 3, "frames": n} for n in (7, 150)), {"batch": 1, "frames": 423})
        return Stage(
            "speaker",
            SpeakerGraph(self.acoustic).eval(),
            model,
            (_MEL, Port("mask", ("batch", "frames"), meaning="1 for frames, 0 for padding")),
            (self.speaker_port,),
            make_inputs,
            {"batch": 2, "frames": 60},
            frames,
            1e-4,
        )

    def prosody(self) -> Stage:
        """How a segment is said: what the noise decides, or the mean of it."""

        def model(
            symbols: Tensor, tones: Tensor, mask: Tensor, speaker: Tensor, *drawn: Tensor
        ) -> Tensors:
            if drawn:
                edges, given = drawn
                draw = self.acoustic.draw_prosody
                said = draw(symbols, tones, edges, mask[..., None], speaker, given)
            else:
                encoded = self.acoustic.encode(symbols, tones, mask[..., None], speaker)
                said = self.acoustic.predict_prosody(encoded, mask[..., None], speaker)
            ideal = np.clip(np.expm1(said.log_duration.double().numpy()), 0.0, MAX_PHONE_FRAMES)
            frames = torch.from_numpy(ideal * self.pace).float() * mask
            prosody = said.prosody.clone()
            prosody[..., 1] = torch.sigmoid(prosody[..., 1])
            return frames, prosody * mask[..., None]

        def make_inputs(sizes: Sizes) -> Tensors:
            phones = self._phones(sizes)
            if not self.is_drawn:
                return phones
            edges = _ids(sizes, NUM_EDGES)
            return *phones, edges, 0.6 * _normal(sizes, "phones", NUM_FEATURES)

        given = (_SYMBOLS, _TONES, _MASK, self.speaker_port)
        noise_port = Port(
            "noise",
            ("batch", "phones", NUM_FEATURES),
            meaning="normal noise times the temperatures: it decides the reading",
        )
        graph = ProsodyGraph if self.is_drawn else MeanProsodyGraph
        return Stage(
            "prosody",
            graph(self.acoustic, self.pace).eval(),
            model,
            (*given, _EDGES, noise_port) if self.is_drawn else given,
            (Port("frames", ("batch", "phones"), meaning="wished frames, not rounded"), _PROSODY),
            make_inputs,
            {"batch": 2, "phones": 11},
            ({"batch": 3, "phones": 29}, {"batch": 1, "phones": 4}),
            1e-3,
        )

    def plan(self) -> Stage:
        """Phones with whole durations to frames."""

        def model(
            symbols: Tensor,
            tones: Tensor,
            mask: Tensor,
            speaker: Tensor,
            prosody: Tensor,
            durations: Tensor,
            phone_of_frame: Tensor,
        ) -> Tensors:
            acoustic = self.acoustic
            encoded = acoustic.encode(symbols, tones, mask[..., None], speaker)
            num_frames = phone_of_frame.shape[1]
            x, frames, base = acoustic.expand(encoded, prosody, durations, num_frames)
            pitch = acoustic.frame_pitch(x, frames, base, speaker)
            valid = frames[..., 0]
            return x, valid, pitch.log_f0.clamp(-4.0, 4.0) * valid, pitch.voicing * valid

        def make_inputs(sizes: Sizes) -> Tensors:
            phones = self._phones(sizes)
            prosody = _normal(sizes, "phones", NUM_PROSODY)
            prosody[..., 1] = prosody[..., 1].sigmoid()
            return *phones, prosody, *_durations(sizes)

        counts = Port("durations", ("batch", "phones"), "int64", "whole frames of each phone")
        which = Port("phone_of_frame", ("batch", "frames"), "int64", "which phone a frame is of")
        given = (_SYMBOLS, _TONES, _MASK, self.speaker_port, _PROSODY, counts, which)
        made_with, longer, shorter = _PHONES
        return Stage(
            "plan",
            PlanGraph(self.acoustic).eval(),
            model,
            given,
            (self.x_port, _FRAME_MASK, _LOG_F0, _VOICING),
            make_inputs,
            {"batch": 2, **made_with},
            ({"batch": 3, **longer}, {"batch": 1, **shorter}),
            1e-3,
        )

    def decode(self) -> Stage:
        """Frames to fine mel."""

        def model(
            x: Tensor, frame_mask: Tensor, log_f0: Tensor, voicing: Tensor, speaker: Tensor
        ) -> Tensors:
            plans = _plans(x, frame_mask, log_f0, voicing, speaker)
            spans = [(0, plan.num_frames) for plan in plans]
            networks = Networks(self.acoustic, self.vocoder)
            return (_padded(networks.decode(plans, spans), x.shape[1]),)

        def make_inputs(sizes: Sizes) -> Tensors:
            mask = _mask(sizes["batch"], sizes["frames"])
            x = _normal(sizes, "frames", self.acoustic.config.width) * mask[..., None]
            return x, mask, *_pitch(sizes, mask), self._speaker(sizes)

        return Stage(
            "decode",
            DecodeGraph(self.acoustic).eval(),
            model,
            (self.x_port, _FRAME_MASK, _LOG_F0, _VOICING, self.speaker_port),
            (_FINE_MEL,),
            make_inputs,
            {"batch": 2, "frames": 40},
            ({"batch": 3, "frames": 97}, {"batch": 1, "frames": 9}),
            1e-3,
        )

    def vocode(self, payload: int) -> Stage:
        """Fine mel and pitch to marked samples."""

        def model(
            fine_mel: Tensor, frame_mask: Tensor, log_f0: Tensor, voicing: Tensor, given: Tensor
        ) -> Tensors:
            del given  # as `noise` makes it for the seed that is the row's number
            plans = _plans(fine_mel, frame_mask, log_f0, voicing, fine_mel[:, 0])
            spans = [(0, plan.num_frames) for plan in plans]
            mels = [row[: plan.num_frames] for row, plan in zip(fine_mel, plans, strict=True)]
            networks = Networks(self.acoustic, self.vocoder)
            said = networks.vocode(plans, mels, spans, range(len(plans)))
            room = np.zeros((len(said), fine_mel.shape[1] * HOP_SAMPLES), np.float32)
            for row, samples in zip(room, said, strict=True):
                row[: len(samples)] = samples
                row[:] = embed(row, SAMPLE_RATE, payload)
            return (torch.from_numpy(room),)

        def make_inputs(sizes: Sizes) -> Tensors:
            mask = _mask(sizes["batch"], sizes["frames"])
            mel = _normal(sizes, "frames", FINE_CHANNELS) * mask[..., None]
            rows = [noise(row, 0, sizes["frames"]) for row in range(sizes["batch"])]
            return (
                mel,
                mask,
                *_pitch(sizes, mask),
                torch.stack(rows).reshape(*mask.shape, HOP_SAMPLES),
            )

        hiss = Port("noise", ("batch", "frames", HOP_SAMPLES), meaning="normal noise")
        out = Port("samples", ("batch", "samples"), meaning="marked sound at the sample rate")
        return Stage(
            "vocode",
            VocodeGraph(self.vocoder, payload).eval(),
            model,
            (_FINE_MEL, _FRAME_MASK, _LOG_F0, _VOICING, hiss),
            (out,),
            make_inputs,
            {"batch": 2, "frames": 40},
            ({"batch": 3, "frames": 97}, {"batch": 1, "frames": 9}),
            2e-3,
        )

    def _phones(self, sizes: Sizes) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Symbols, tones, mask and speaker."""
        mask = _mask(sizes["batch"], sizes["phones"])
        symbols, tones = _ids(sizes, len(SYMBOLS)), _ids(sizes, NUM_TONES)
        return symbols * mask.long(), tones * mask.long(), mask, self._speaker(sizes)

    def _speaker(self, sizes: Sizes) -> Tensor:
        channels = self.acoustic.config.speaker_channels
        drawn = torch.randn(sizes["batch"], channels, generator=_generator(sizes))
        return torch.nn.functional.layer_norm(drawn, (channels,))


def _generator(sizes: Sizes) -> torch.Generator:
    return torch.Generator().manual_seed(sum(sizes.values()))


def _normal(sizes: Sizes, axis: str, channels: int) -> Tensor:
    return torch.randn(sizes["batch"], sizes[axis], channels, generator=_generator(sizes))


def _ids(sizes: Sizes, below: int) -> Tensor:
    shape = (sizes["batch"], sizes["phones"])
    return torch.randint(0, below, shape, generator=_generator(sizes))


def _mask(batch: int, longest: int) -> Tensor:
    """(batch, longest): the first row is full, each next one a little shorter."""
    counts = torch.tensor([max(1, longest - 3 * row) for row in range(batch)])
    return (torch.arange(longest)[None] < counts[:, None]).float()


def _pitch(sizes: Sizes, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Log-f0 that wanders, and voicing that comes and goes."""
    drawn = _normal(sizes, "frames", 2)
    return (drawn[..., 0] * 0.3).cumsum(dim=1).clamp(-2, 2) * mask, 3 * drawn[..., 1] * mask


def _durations(sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Durations of rows as long as `_mask` says, and the phone of each frame."""
    phones = _mask(sizes["batch"], sizes["phones"]).sum(dim=1).long().tolist()
    frames = _mask(sizes["batch"], sizes["frames"]).sum(dim=1).long().tolist()
    durations = torch.zeros(sizes["batch"], sizes["phones"], dtype=torch.int64)
    which = torch.full((sizes["batch"], sizes["frames"]), sizes["phones"] - 1)
    for row, (count, total) in enumerate(zip(phones, frames, strict=True)):
        own = torch.arange(total) * count // total
        which[row, :total] = own
        durations[row, :count] = torch.bincount(own, minlength=count)
    return durations, which


def _plans(
    x: Tensor, frame_mask: Tensor, log_f0: Tensor, voicing: Tensor, speaker: Tensor
) -> list[Plan]:
    """Each padded row as the plan of a segment of its own."""
    empty = np.zeros(0, np.int64)
    nothing = PhoneSequence(*[empty] * 4, *[empty.astype(np.float32)] * 3)  # type: ignore[arg-type]
    plans = []
    for row, count in enumerate(frame_mask.sum(dim=1).long().tolist()):
        pitch = Pitch(log_f0[row, :count], voicing[row, :count])
        pulses = source_pulses(Pitch(pitch.log_f0[None], pitch.voicing[None]))[0]
        plans.append(
            Plan(
                sequence=nothing,
                durations=empty,
                x=x[row, :count],
                log_f0=pitch.log_f0,
                voicing=pitch.voicing,
                pulses=pulses,
                speaker=speaker[row],
                gain=torch.zeros(count),
            )
        )
    return plans


def _padded(rows: list[Tensor], num_frames: int) -> Tensor:
    missing = (num_frames - len(row) for row in rows)
    return torch.stack(
        [
            torch.nn.functional.pad(row, (0, 0, 0, lack))
            for row, lack in zip(rows, missing, strict=True)
        ]
    )
