"""What CosyVoice's language model and flow were trained to make small, as pure functions.

For measuring: how well a model foretells recordings, before and after it was changed. All that
training draws at random is given. Cross entropy over speech tokens, text first or in turn with
speech (arXiv:2412.10117); flow matching (Lipman et al. 2023) with parts of the condition left out.
Networks are the plain ones; gradients flow where their weights want them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.cosyvoice.acoustic.conformer import chunk_mask
from kouji.models.cosyvoice.acoustic.plain_flow import PlainFlow
from kouji.models.cosyvoice.acoustic.unet_network import UNetNetwork
from kouji.models.cosyvoice.conditioning import Conditioning, LMPart
from kouji.models.cosyvoice.config import FRAMES_PER_TOKEN, MELS, LMConfig
from kouji.models.cosyvoice.decode.lm import SpeechLM

IGNORED = -1  # a target nobody asks for
LEAST_NOISE = 1e-6  # of the path's end
LEAST_RATIO = 3  # speech tokens for each of text, from which on they may stand in turn


@dataclass(frozen=True)
class LMExample:
    """One utterance, all (ids,) int64; in version 2 nobody reads the instruction."""

    instruction: Tensor
    text: Tensor
    speech: Tensor


class LMLoss(NamedTuple):
    """loss: nats a target; accuracy: share of targets that are the likeliest; num_targets."""

    loss: Tensor
    accuracy: Tensor
    num_targets: int


def lm_row(
    example: LMExample, config: LMConfig, *, is_in_turn: bool
) -> tuple[list[LMPart], list[int]]:
    """What the model reads, and what it is to say at each position.

    is_in_turn: five tokens of text, fifteen of speech, and so on, where there is enough speech
    """
    text, speech = example.text.tolist(), example.speech.tolist()
    parts, targets = [LMPart("sos")], [IGNORED]
    if config.version == "cosyvoice3":
        parts.append(LMPart("text", tuple(example.instruction.tolist())))
        targets += [IGNORED] * len(example.instruction)
    num_text, num_speech = config.mix_text, config.mix_speech
    if is_in_turn and len(speech) > LEAST_RATIO * len(text):
        while len(text) >= num_text:
            parts += [
                LMPart("text", tuple(text[:num_text])), LMPart("speech", tuple(speech[:num_speech]))
            ]  # fmt: skip
            targets += [IGNORED] * (num_text - 1) + speech[:num_speech] + [config.fill]
            text, speech = text[num_text:], speech[num_speech:]
    parts += [LMPart("text", tuple(text)), LMPart("task"), LMPart("speech", tuple(speech))]
    return parts, [*targets, *[IGNORED] * len(text), *speech, config.eos]


def lm_inputs(network: SpeechLM, parts: Sequence[LMPart]) -> Tensor:
    """Parts embedded, (positions, channels)."""
    own = {"sos": network.sos, "task": network.task}
    embed = {"text": network.embed_text, "speech": network.embed_speech}
    return torch.cat(
        [
            own[part.kind] if part.kind in own else embed[part.kind](torch.tensor(part.ids).long())
            for part in parts
        ]
    )


def lm_loss(network: SpeechLM, examples: Sequence[LMExample], *, is_in_turn: bool) -> LMLoss:
    """Cross entropy over all targets of the examples together.

    raises: ModelError for no examples at all
    """
    if not examples:
        raise ModelError("no examples to foretell", cure="give at least one utterance")
    scores, targets = [], []
    for example in examples:
        parts, wanted = lm_row(example, network.config, is_in_turn=is_in_turn)
        hidden, _ = network(lm_inputs(network, parts)[None])
        scores.append(network.logits(hidden[0]))
        targets.append(torch.tensor(wanted))
    said, wanted_ids = torch.cat(scores), torch.cat(targets)
    is_asked = wanted_ids != IGNORED
    loss = F.cross_entropy(said, wanted_ids, ignore_index=IGNORED)
    is_right = said.argmax(1)[is_asked] == wanted_ids[is_asked]
    return LMLoss(loss, is_right.float().mean(), int(is_asked.sum()))


@dataclass(frozen=True)
class FlowExample:
    """One utterance and what training draws for it.

    tokens:    (tokens,) int64
    mel:       (2 * tokens, 80)
    speaker:   (192,)
    noise:     (2 * tokens, 80)
    time:      in [0, 1]
    num_given: frames at the beginning whose mel is told
    is_free:   nothing is told, as in the free branch of guidance
    """

    tokens: Tensor
    mel: Tensor
    speaker: Tensor
    noise: Tensor
    time: float
    num_given: int = 0
    is_free: bool = False


def flow_loss(
    network: PlainFlow | UNetNetwork, examples: Sequence[FlowExample], *, is_streamed: bool
) -> Tensor:
    """Mean squared error of velocities over all frames of the examples together.

    is_streamed: under the chunk mask
    raises:      ModelError for no examples, or a mel that does not fit its tokens
    """
    if not examples:
        raise ModelError("no examples to draw", cure="give at least one utterance")
    errors = [_flow_error(network, example, is_streamed) for example in examples]
    num_frames = sum(len(example.mel) for example in examples)
    return torch.stack(errors).sum() / (num_frames * MELS)


def _flow_error(
    network: PlainFlow | UNetNetwork, example: FlowExample, is_streamed: bool
) -> Tensor:
    shape = (FRAMES_PER_TOKEN * len(example.tokens), MELS)
    for name, given in (("mel", example.mel), ("noise", example.noise)):
        if tuple(given.shape) != shape:
            seen = tuple(given.shape)
            raise ModelError(f"{name} that does not fit its tokens", seen=seen, allowed=str(shape))
    kept = 1 - LEAST_NOISE
    x = (1 - kept * example.time) * example.noise + example.time * example.mel
    condition = torch.zeros_like(example.mel)
    condition[: example.num_given] = example.mel[: example.num_given]
    of = _velocity_dit if isinstance(network, PlainFlow) else _velocity_unet
    made = of(network, example, x, condition, is_streamed)  # type: ignore[arg-type]
    error: Tensor = (made - (example.mel - kept * example.noise)).square().sum()
    return error


def _velocity_dit(
    network: PlainFlow, example: FlowExample, x: Tensor, condition: Tensor, is_streamed: bool
) -> Tensor:
    mu = network.frames(example.tokens, example.tokens[:0])
    told = [mu, condition, network.speaker(example.speaker)]
    mu, condition, speaker = (_kept(part, example)[None] for part in told)
    times = torch.tensor([example.time])
    made: Tensor = network.decoder.estimator(
        x[None], mu, condition, speaker, times, is_chunked=is_streamed
    )
    return made[0]


def _velocity_unet(
    network: UNetNetwork, example: FlowExample, x: Tensor, condition: Tensor, is_streamed: bool
) -> Tensor:
    nobody = Conditioning("", example.tokens[:0], condition[:0], example.speaker)
    given = network.encode(nobody, example.tokens, is_streaming=is_streamed, is_final=True)
    told = [given.mu, given.speaker, condition.T[None]]
    mu, speaker, cond = (_kept(part, example) for part in told)
    chunk = FRAMES_PER_TOKEN * network.config.chunk_tokens
    seen = chunk_mask(len(x), chunk) if is_streamed else None
    times, mask = torch.tensor([example.time]), x.new_ones(1, 1, len(x))
    made: Tensor = network.decoder.estimator(x.T[None], mask, mu, times, speaker, cond, seen=seen)
    return made[0].T


def _kept(told: Tensor, example: FlowExample) -> Tensor:
    return torch.zeros_like(told) if example.is_free else told
