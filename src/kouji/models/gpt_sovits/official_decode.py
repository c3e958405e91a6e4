"""Token loops as GPT-SoVITS runs them: one text, a left-padded batch, and the stream.

They are the yardstick of the engine, in numbers (which tokens, and upstream's own rules of what is
kept at the end) and in time: float32, one request, caches grown by concatenation, shared random
numbers. The product decodes with `decoder`; this file is for goldens and benchmarks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kouji.models.gpt_sovits.conditioning import TextFeatures
from kouji.models.gpt_sovits.t2s import T2S, Pair, prefix_mask
from kouji.models.stages import SamplingOptions

MAX_STEPS = 1500
MIN_TOKENS = 11  # 0.44 s; before it the end token is not offered
MAX_SECONDS_RATE = 50  # upstream counts `max_sec` at 50 Hz although tokens run at 25
MUTE_TOKEN = 486  # the code of silence


@dataclass(frozen=True)
class Decoded:
    """What upstream returns for one text.

    tokens: (tokens,) int64, the prompt included
    idx:    step of the end; upstream renders the last `idx` tokens, and all when it is 0
    """

    tokens: Tensor
    idx: int

    @property
    def spoken(self) -> Tensor:
        """The tokens upstream renders: at its cap one fewer than were made."""
        return self.tokens[-self.idx :]


class _Made(NamedTuple):
    token: int
    is_last: bool  # stopped by a limit, not by the end token


def early_stop_tokens(network: T2S) -> int:
    """Upstream gives up beyond this many tokens (2700 in official weights, so 1500 steps bind)."""
    return int(MAX_SECONDS_RATE * network.config.max_seconds)


def probabilities(logits: Tensor, used: Tensor, options: SamplingOptions) -> Tensor:
    """What the next token is drawn from; the penalty is left in `logits`, as upstream does.

    logits: (rows, vocabulary), changed in place by the repetition penalty
    used:   (rows, tokens) int64, prompt and generated; each distinct token is penalised once
    """
    penalty = options.repetition_penalty
    if penalty != 1.0 and used.shape[1]:
        score = logits.gather(1, used)
        logits.scatter_(1, used, torch.where(score < 0, score * penalty, score / penalty))
    scores = logits
    if options.top_p < 1.0:
        ordered, order = scores.sort(descending=True)
        is_out = ordered.softmax(-1).cumsum(-1) > options.top_p  # crossing token goes too
        is_out[:, 0] = False
        scores = scores.masked_fill(is_out.scatter(1, order, is_out), -torch.inf)
    scores = scores / max(options.temperature, 1e-5)
    least = scores.topk(min(options.top_k, scores.shape[1])).values[:, -1:]
    return scores.masked_fill(scores < least, -torch.inf).softmax(-1)


def draw(chances: Tensor, rng: torch.Generator | None) -> Tensor:
    """One token per row, (rows, 1) int64: the argmax of p / q with q from Exp(1)."""
    noise = torch.empty_like(chances).exponential_(1.0, generator=rng)
    return (chances / noise).argmax(dim=-1, keepdim=True)


@torch.inference_mode()
def decode(
    network: T2S,
    text: TextFeatures,
    prompt: Tensor | None,
    options: SamplingOptions,
    *,
    early_stop: int | None = None,
    rng: torch.Generator | None = None,
) -> Decoded:
    """Decode one text the naive way.

    text:       phones and BERT of prompt text and target text together
    prompt:     (tokens,) int64 semantic tokens of the reference; None speaks reference-free
    early_stop: stop once more tokens than this were made; None takes the checkpoint's
    """
    made = list(_generate(network, text, prompt, options, early_stop, rng))
    tokens = [m.token for m in made] or ([0] if prompt is None else [])
    is_capped = bool(made) and made[-1].is_last
    idx = 0 if prompt is None else len(made) - is_capped
    before = [] if prompt is None else prompt.tolist()
    return Decoded(torch.tensor(before + tokens), idx)


def _generate(
    network: T2S,
    text: TextFeatures,
    prompt: Tensor | None,
    options: SamplingOptions,
    early_stop: int | None,
    rng: torch.Generator | None,
) -> Iterator[_Made]:
    """Tokens of one row; ends after a `is_last` or silently at the end token."""
    limit = early_stop_tokens(network) if early_stop is None else early_stop
    used = torch.empty(1, 0, dtype=torch.int64) if prompt is None else prompt.unsqueeze(0)
    num_prompt = used.shape[1]
    x = _prefix(network, text, used)
    mask: Tensor | None = prefix_mask(x.shape[1] - num_prompt, num_prompt)
    past: list[Pair] | None = None
    for idx in range(MAX_STEPS):
        hidden, past = network(x, mask, past)
        logits = _offered(network, hidden, idx)
        token = draw(probabilities(logits, used, options), rng)
        if network.config.eos in (int(token), int(logits.argmax())):
            return
        used = torch.cat([used, token], dim=1)
        is_last = idx + 1 > limit or idx + 1 == MAX_STEPS
        yield _Made(int(token), is_last)
        if is_last:
            return
        embedded = network.ar_audio_embedding(token)
        x, mask = network.ar_audio_position(embedded, num_prompt + idx), None


def _prefix(network: T2S, text: TextFeatures, prompt: Tensor) -> Tensor:
    """(1, positions, channels) embedded phones, then prompt tokens; both start at position 0."""
    phones = network.embed_phones(text.phones, text.bert).unsqueeze(0)
    phones = network.ar_text_position(phones)
    tokens = network.ar_audio_position(network.ar_audio_embedding(prompt))
    return torch.cat([phones, tokens], dim=1)


def _offered(network: T2S, hidden: Tensor, idx: int) -> Tensor:
    """Logits after the last position, (rows, vocabulary), without the end token at first."""
    logits = network.logits(hidden[:, -1])
    if idx < MIN_TOKENS:
        logits[:, network.config.eos] = -torch.inf
    return logits


@torch.inference_mode()
def decode_batch(
    network: T2S,
    texts: Sequence[TextFeatures],
    prompt: Tensor | None,
    options: SamplingOptions,
    *,
    early_stop: int | None = None,
    rng: torch.Generator | None = None,
) -> list[Decoded]:
    """Decode texts that share one prompt, left-padded; finished rows leave the batch.

    Tokens equal those of `decode`; at a limit the last token is dropped, not the first spoken.
    Without a prompt upstream falls back to single decoding, and so does this.
    """
    if prompt is None:
        return [
            decode(network, text, None, options, early_stop=early_stop, rng=rng) for text in texts
        ]
    limit = early_stop_tokens(network) if early_stop is None else early_stop
    x, mask = _padded_prefix(network, texts, prompt)
    is_seen = mask[:, :, -1:]
    alive = list(range(len(texts)))
    done: dict[int, Decoded] = {}
    used = prompt.repeat(len(texts), 1)
    past: list[Pair] | None = None
    for idx in range(MAX_STEPS):
        hidden, past = network(x, mask, past)
        logits = _offered(network, hidden, idx)
        tokens = draw(probabilities(logits, used, options), rng)
        eos = network.config.eos
        is_end = (tokens[:, 0] == eos) | (logits.argmax(-1) == eos)
        is_capped = idx + 1 > limit or idx + 1 == MAX_STEPS
        for row in range(len(alive)) if is_capped else is_end.nonzero().flatten().tolist():
            done[alive[row]] = Decoded(used[row].clone(), idx)
        if len(done) == len(texts):
            break
        keep = (~is_end).nonzero().flatten()
        alive = [alive[row] for row in keep.tolist()]
        used = torch.cat([used, tokens], dim=1)[keep]
        past = [(keys[keep], values[keep]) for keys, values in past]
        is_seen = F.pad(is_seen[keep], (0, 1), value=True)
        embedded = network.ar_audio_embedding(tokens[keep])
        x, mask = network.ar_audio_position(embedded, len(prompt) + idx), is_seen
    return [done[row] for row in range(len(texts))]


def _padded_prefix(
    network: T2S, texts: Sequence[TextFeatures], prompt: Tensor
) -> tuple[Tensor, Tensor]:
    """Prefixes padded on the left with zero vectors, and who sees whom.

    returns: (rows, positions, channels) and (rows, 1, positions, positions) bool
    """
    rows = [_prefix(network, text, prompt.unsqueeze(0))[0] for text in texts]
    longest = max(len(row) for row in rows)
    x = torch.stack([F.pad(row, (0, 0, longest - len(row), 0)) for row in rows])
    mask = prefix_mask(longest - len(prompt), len(prompt)).repeat(len(rows), 1, 1)
    for number, row in enumerate(rows):  # padding may look, lest its softmax be empty
        mask[number, :, : longest - len(row)] = False
    return x, mask.unsqueeze(1)


@torch.inference_mode()
def stream(
    network: T2S,
    text: TextFeatures,
    prompt: Tensor | None,
    options: SamplingOptions,
    *,
    chunk_tokens: int,
    mute: Tensor | None = None,
    compat: bool = False,
    early_stop: int | None = None,
    rng: torch.Generator | None = None,
) -> Iterator[tuple[list[int] | None, bool]]:
    """Yield (tokens, is_final) as they are made; the last has is_final, None if nothing is left.

    mute:   (vocabulary,) similarity of each token to silence, see `mute_similarity`: chunks of
            `chunk_tokens` or more end at the quietest place; None: all have `chunk_tokens`
    compat: upstream sends everything pending at a quiet place, but goes on from that place, so
            later tokens are spoken twice (a cause of stutter); False sends up to the place only
    """
    pending: list[int] = []
    for made in _generate(network, text, prompt, options, early_stop, rng):
        pending.append(made.token)
        if made.is_last:
            break
        cut = _cut(pending, chunk_tokens, mute)
        if cut:
            yield (pending[:] if compat else pending[:cut]), False
            pending = pending[cut:]
    yield pending or None, True


def _cut(pending: list[int], chunk_tokens: int, mute: Tensor | None) -> int:
    """How many of the pending tokens make a chunk now; 0 for none."""
    if mute is None:
        return chunk_tokens if len(pending) >= chunk_tokens else 0
    if len(pending) < chunk_tokens + 2:
        return 0
    quiet = mute[torch.tensor(pending)]
    quiet = torch.where(quiet < 0, -1.0, quiet)
    quiet[:-1] += quiet[1:].clone()
    best = int(quiet.argmax())
    return best + 1 if float(quiet[best]) >= 0 and best + 1 >= chunk_tokens else 0


def mute_similarity(network: T2S, mute_token: int = MUTE_TOKEN) -> Tensor:
    """How near each token's embedding is to that of silence: (vocabulary,) cosine."""
    table = network.ar_audio_embedding.word_embeddings.weight
    return F.cosine_similarity(table, table[mute_token : mute_token + 1], dim=-1)
