"""What the engine makes of GPT-SoVITS on this machine, against the way the official code runs.

    python benchmarks/engine.py [--runs 5] [--threads 2] [--precision auto] [--version v2]
                                [--concurrency 1,2,4,8,16] [--parts decode,render,end,accuracy]

Official sizes, seeded random weights, fixed numbers of tokens: both sides do the same work. The
baseline (plain_gpt_sovits.py) is float32, batch 1, one request after another. All figures are
medians; prints tables and, as its last line, one JSON object. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from measuring import (
    FixedLength,
    describe_machine,
    describe_run,
    median,
    print_facts,
    print_rows,
    run_together,
)
from plain_gpt_sovits import PlainGenerator, official_sovits, official_t2s
from torch import Tensor

from kouji.engine.engine import Engine
from kouji.engine.guard import GuardOptions
from kouji.engine.openmp import release_team
from kouji.engine.request import EngineRequest
from kouji.engine.settings import EngineSettings
from kouji.models.decode_precision import choose_decode_precision
from kouji.models.gpt_sovits import official_decode
from kouji.models.gpt_sovits.conditioning import Conditioning, TextFeatures
from kouji.models.gpt_sovits.decode_accuracy import compare_precisions
from kouji.models.gpt_sovits.decoder import T2SDecoder
from kouji.models.gpt_sovits.render_accuracy import stft_distance
from kouji.models.gpt_sovits.renderer import SoVITSRenderer
from kouji.models.precision import read_device_facts
from kouji.models.stages import RenderOptions, SamplingOptions, SpeechModel

SEGMENTS = 5  # a text of about 100 Chinese characters
SEGMENT_PHONES, SEGMENT_TOKENS = 44, 110  # 20 characters, 4.4 s
PROMPT_PHONES, PROMPT_TOKENS = 40, 125  # a reference of 5 s
DECODE_STEPS = 100
RENDER_TOKENS, RENDER_PHONES = 250, 120  # 10 s
GREEDY = SamplingOptions(top_k=1)


def main() -> None:
    """Build, measure, print."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    asked = None if options.precision == "auto" else options.precision
    choice = choose_decode_precision(read_device_facts(options.device), asked)
    render = "float32" if choice.precision == "int8" else choice.precision
    print(f"decode {choice.precision}, render {render}: {choice.reason}; {options.threads} threads")
    bench = Bench(options, choice.precision, render)
    report: dict[str, Any] = {"machine": describe_machine()}
    print_facts(report["machine"])
    for part in options.parts.split(","):
        report[part] = getattr(bench, f"measure_{part}")()
        print_rows(part, report[part])
    report["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps({"benchmark": "engine", **describe_run(options, choice.precision), **report}))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--version", default="v2", choices=("v2", "v2ProPlus"))
    parser.add_argument("--concurrency", default="1,2,4,8,16")
    parser.add_argument("--parts", default="decode,render,end,accuracy")
    return parser.parse_args()


class Bench:
    """The networks of both sides and everything that is measured on them."""

    def __init__(self, options: argparse.Namespace, precision: Any, render: Any) -> None:
        self.options, self.precision, self.render = options, precision, render
        self.runs, self.device = options.runs, options.device
        self.concurrency = [int(n) for n in options.concurrency.split(",")]
        self.t2s = never_ending(official_t2s())
        self.sovits, weights = official_sovits(options.version)
        self.plain = PlainGenerator(self.sovits.config, weights)
        self.decoder = self._decoder(precision)
        self.renderer = self._renderer(render)

    def _decoder(self, precision: Any) -> T2SDecoder:
        return T2SDecoder(self.t2s, "bench", precision=precision, device=self.device)

    def _renderer(self, precision: Any) -> SoVITSRenderer:
        networks = copy.deepcopy(self.sovits)  # a renderer rounds what it takes over
        return SoVITSRenderer(networks, "bench", precision=precision, device=self.device)

    # --- decode alone

    def measure_decode(self) -> list[dict[str, Any]]:
        """Tokens a second: the plain loop, then rows together."""
        voice, segment = make_voice(self.sovits, 0), make_segment(0, SEGMENT_PHONES)
        text = joined(voice, segment)
        plain = median(self.runs, lambda: self._plain_decode(text, voice, DECODE_STEPS))
        base = DECODE_STEPS / plain
        rows = [{"what": "plain loop, fp32", "tokens_s": round(base, 1), "ratio": 1.0}]
        floor = self.decoder.num_bytes / (describe_machine()["read_gb_s"] * 1e9)
        for count in self.concurrency:
            prefill, steps = self._decode_rows(count)
            rate = count * DECODE_STEPS / (prefill + steps)
            rows.append(
                {
                    "what": f"{count} rows, {self.precision}",
                    "tokens_s": round(rate, 1),
                    "ratio": round(rate / base, 2),
                    "prefill_ms": round(prefill * 1000),
                    "step_ms": round(steps / DECODE_STEPS * 1000, 2),
                    "floor_share": round(floor / (steps / DECODE_STEPS), 2),
                }
            )
        return rows

    def _plain_decode(self, text: TextFeatures, voice: Conditioning, count: int) -> Tensor:
        made = official_decode.decode(
            self.t2s, text, voice.prompt_tokens, GREEDY, early_stop=count - 1
        )
        return made.tokens

    def _decode_rows(self, count: int) -> tuple[float, float]:
        """Median seconds of a prefill of `count` rows, and of all steps after it."""
        decoder, voices = self.decoder, [make_voice(self.sovits, i) for i in range(count)]
        prompts = [
            decoder.prompt(make_segment(i, SEGMENT_PHONES), voice) for i, voice in enumerate(voices)
        ]
        cache = decoder.new_cache(count, prompts[0].num_positions + DECODE_STEPS + 8)
        slots = list(range(count))
        device = torch.device(self.device)

        def prefill() -> Tensor:
            decoder.prefill(prompts, cache, slots)
            return torch.tensor([prompt.num_positions for prompt in prompts], device=device)

        def steps() -> None:
            lengths = torch.tensor([prompt.num_positions for prompt in prompts], device=device)
            tokens = torch.zeros(count, dtype=torch.int64, device=device)
            positions = torch.full((count,), PROMPT_TOKENS, device=device)
            at = torch.tensor(slots, device=device)
            for step in range(DECODE_STEPS):
                decoder.step(tokens, positions + step, lengths + step, at, cache)

        first = median(self.runs, prefill)
        return first, median(self.runs, steps)

    # --- the renderer alone

    def measure_render(self) -> list[dict[str, Any]]:
        """Seconds for 10 s of audio, and audio seconds a second in batches."""
        seconds = RENDER_TOKENS / 25
        voice, segment = make_voice(self.sovits, 0), make_segment(0, RENDER_PHONES)
        tokens = torch.randint(0, 1024, (1, RENDER_TOKENS), generator=seeded(5))
        plain = median(self.runs, lambda: self._plain_render(tokens, segment, voice))
        rows = [{"what": "plain, fp32", "seconds": round(plain, 2), "ratio": 1.0}]
        for count in self.concurrency[:3]:
            spent = median(self.runs, lambda n=count: self._render_rows(n, tokens[0].tolist()))
            rows.append(
                {
                    "what": f"{count} rows, {self.render}",
                    "seconds": round(spent, 2),
                    "ratio": round(plain * count / spent, 2),
                    "audio_s_per_s": round(seconds * count / spent, 2),
                }
            )
        return rows

    @torch.inference_mode()
    def _plain_render(self, tokens: Tensor, segment: TextFeatures, voice: Conditioning) -> Tensor:
        style = voice.style[None]
        met = self.sovits.encode(tokens, segment.phones[None], style)
        noise = torch.randn(met.shape, generator=seeded(6))
        return self.plain(self.sovits.sample_latents(met, style, None, noise), style)

    def _render_rows(self, count: int, tokens: Sequence[int]) -> None:
        rows = [
            self.renderer.open(
                make_segment(i, RENDER_PHONES),
                make_voice(self.sovits, i),
                RenderOptions(),
                i,
                is_last=True,
            )
            for i in range(count)
        ]
        for row in rows:
            row.feed(tokens, is_final=True)
        while any(not row.is_done for row in rows):
            if ready := [row for row in rows if row.acoustic_cost]:
                self.renderer.acoustic(ready)
            if ready := [row for row in rows if row.vocode_cost]:
                self.renderer.vocode(ready)

    # --- end to end

    def measure_end(self) -> list[dict[str, Any]]:
        """Whole requests of five segments: audio seconds a second, and the wait for the first."""
        seconds = SEGMENTS * SEGMENT_TOKENS / 25
        voices = [make_voice(self.sovits, i) for i in range(8)]
        segments = [make_segment(i, SEGMENT_PHONES) for i in range(SEGMENTS)]
        plain = median(self.runs, lambda: self._plain_request(segments, voices[0]))
        base = seconds / plain
        rows = [{"what": "plain, one by one", "audio_s_per_s": round(base, 2), "ratio": 1.0}]
        decoder = FixedLength(self.decoder, SEGMENT_TOKENS)
        release_team()  # as kouji.load does
        with Engine(
            EngineSettings(
                max_seats=32, max_positions=512, max_queue=64, threads=self.options.threads
            )
        ) as engine:
            for count in self.concurrency:
                requests = [
                    make_request(decoder, self.renderer, segments, voices[i % 8], i)
                    for i in range(count)
                ]
                rows.append(self._measure_engine(engine, requests, base, seconds))
            rows.append(self._first_audio(engine, decoder, segments[:1], voices[0]))
        return rows

    def _plain_request(self, segments: Sequence[TextFeatures], voice: Conditioning) -> None:
        for segment in segments:
            made = self._plain_decode(joined(voice, segment), voice, SEGMENT_TOKENS)
            self._plain_render(made[None, -SEGMENT_TOKENS:], segment, voice)

    def _measure_engine(
        self, engine: Engine, requests: list[EngineRequest], base: float, seconds: float
    ) -> dict[str, Any]:
        spent = []
        run_together(engine, requests)  # warm
        for _ in range(self.runs):
            began = time.perf_counter()
            run_together(engine, requests)
            spent.append(time.perf_counter() - began)
        rate = seconds * len(requests) / statistics.median(spent)
        streamed = [
            replace(request, render=RenderOptions(is_streamed=True)) for request in requests
        ]
        rounds = max(1, self.runs // len(requests))
        firsts = [wait for _ in range(rounds) for wait in run_together(engine, streamed)]
        return {
            "what": f"{len(requests)} at once, {self.precision}",
            "audio_s_per_s": round(rate, 2),
            "ratio": round(rate / base, 2),
            "first_p50_ms": round(statistics.median(firsts) * 1000),
            "first_p95_ms": round(sorted(firsts)[int(0.95 * (len(firsts) - 1))] * 1000),
        }

    def _first_audio(
        self,
        engine: Engine,
        decoder: FixedLength,
        segments: Sequence[TextFeatures],
        voice: Conditioning,
    ) -> dict[str, Any]:
        request = make_request(decoder, self.renderer, segments, voice, 0)
        request = replace(request, render=RenderOptions(is_streamed=True))
        waits = [run_together(engine, [replace(request, id=str(i))])[0] for i in range(self.runs)]
        return {
            "what": "20 characters, one stream",
            "first_p50_ms": round(statistics.median(waits) * 1000),
        }

    # --- what precision costs

    def measure_accuracy(self) -> list[dict[str, Any]]:
        """Tokens teacher-forced against float32, and the spectra of the waves."""
        inputs = [(make_segment(i, SEGMENT_PHONES), make_voice(self.sovits, i)) for i in range(4)]
        exact, rows = self._decoder("float32"), []
        for precision in dict.fromkeys((self.precision, "bfloat16", "int8")):
            if precision != "float32":
                rounded = self._decoder(precision)
                found = compare_precisions(exact, rounded, inputs, num_tokens=100)
                figures = {name: round(value, 5) for name, value in vars(found).items()}
                rows.append({"what": f"tokens, {precision}", **figures})
        tokens = torch.randint(0, 1024, (RENDER_TOKENS,), generator=seeded(5)).tolist()
        wave = self._wave(self._renderer("float32"), tokens)
        for precision in ("float32", "bfloat16"):
            distance = stft_distance(self._wave(self._renderer(precision), tokens), wave)
            rows.append({"what": f"wave, {precision}", "stft_distance": round(distance, 5)})
        return rows

    def _wave(self, renderer: SoVITSRenderer, tokens: Sequence[int]) -> Any:
        segment, voice = make_segment(0, RENDER_PHONES), make_voice(self.sovits, 0)
        row = renderer.open(segment, voice, RenderOptions(), 0, is_last=True)
        row.feed(tokens, is_final=True)
        renderer.acoustic([row])
        return renderer.vocode([row])[0]


# --- inputs


def seeded(seed: int) -> torch.Generator:
    """A generator of its own for every input."""
    return torch.Generator().manual_seed(seed)


def make_segment(seed: int, num_phones: int) -> TextFeatures:
    """Random phones of a Chinese sentence with features like BERT's."""
    rng = seeded(100 + seed)
    phones = torch.randint(90, 700, (num_phones,), generator=rng)
    return TextFeatures(phones, torch.randn(num_phones, 1024, generator=rng))


def make_voice(sovits: Any, seed: int) -> Conditioning:
    """A random voice of a reference of 5 s."""
    rng = seeded(1000 + seed)
    tokens = torch.randint(0, 1024, (PROMPT_TOKENS,), generator=rng)
    style = torch.randn(sovits.config.style_channels, generator=rng)
    prompt = make_segment(500 + seed, PROMPT_PHONES)
    return Conditioning(prompt, tokens, style, f"voice-{seed}")


def joined(voice: Conditioning, segment: TextFeatures) -> TextFeatures:
    """Prompt text and target text, as the plain loop takes them."""
    assert voice.prompt is not None
    return TextFeatures(
        torch.cat([voice.prompt.phones, segment.phones]),
        torch.cat([voice.prompt.bert, segment.bert]),
    )


def never_ending(t2s: Any) -> Any:
    """The network with an end token that cannot win, so that the number of tokens is fixed."""
    with torch.no_grad():
        t2s.ar_predict_layer.weight[t2s.config.eos] = 0
    return t2s


def make_request(
    decoder: Any, renderer: Any, segments: Sequence[TextFeatures], voice: Conditioning, seed: int
) -> EngineRequest:
    """A request that the guard leaves alone: random weights babble."""
    return EngineRequest(
        SpeechModel(renderer, decoder),
        tuple(segments),
        voice,
        guard=GuardOptions(is_on=False),
        seed=seed,
        client=f"client-{seed}",
    )


if __name__ == "__main__":
    main()
