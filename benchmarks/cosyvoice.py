"""What the engine makes of CosyVoice on this machine, against the way the official code runs.

    python benchmarks/cosyvoice.py [--runs 3] [--threads 2] [--precision auto]
                                   [--version cosyvoice3] [--concurrency 1,4]
                                   [--parts decode,flow,vocoder,end,stream,accuracy]

Official sizes, seeded random weights; 10 s of speech behind a reference of 3.5 s; fixed numbers of
tokens, so that both sides do the same work. The baseline is the same networks in plain torch:
float32, batch 1, a cache grown by concatenation, one request after another. All figures are
medians of one run; prints tables and, as its last line, one JSON object. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from cosyvoice_weights import (
    SPEECH_TOKENS,
    flow_config,
    flow_weights,
    hift_config,
    hift_weights,
    llm_weights,
    lm_config,
    make_segment,
    make_voice,
)
from measuring import (
    FixedLength,
    describe_machine,
    describe_run,
    median,
    print_facts,
    print_rows,
    run_together,
)
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from cosyvoice_hift import PlainVocoder

from kouji.engine.engine import Engine
from kouji.engine.guard import GuardOptions
from kouji.engine.openmp import release_team
from kouji.engine.request import EngineRequest
from kouji.engine.settings import EngineSettings
from kouji.models.catalogue import wide_precision
from kouji.models.cosyvoice.acoustic.plain_flow import PlainFlow
from kouji.models.cosyvoice.acoustic.unet_network import UNetNetwork
from kouji.models.cosyvoice.conditioning import Conditioning, Manner, TextSegment
from kouji.models.cosyvoice.config import SamplingConfig
from kouji.models.cosyvoice.decode.lm import SpeechLM
from kouji.models.cosyvoice.decode.lm_accuracy import compare_precisions
from kouji.models.cosyvoice.decode.lm_decoder import LMDecoder
from kouji.models.cosyvoice.decode.official_decode import draw_aware, torch_draw
from kouji.models.cosyvoice.networks import make_flow, make_vocoder
from kouji.models.cosyvoice.renderer import CosyRenderer
from kouji.models.decode_precision import choose_decode_precision
from kouji.models.precision import read_device_facts
from kouji.models.stages import RenderOptions, SamplingOptions, SpeechModel

SECONDS = SPEECH_TOKENS / 25
DECODE_STEPS = 50
SAMPLING = SamplingOptions(
    top_k=25, top_p=0.8, repetition_penalty=1.0, repetition_window=10, repetition_share=0.1
)


def main() -> None:
    """Build, measure, print."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    asked = None if options.precision == "auto" else options.precision
    choice = choose_decode_precision(read_device_facts(options.device), asked)
    bench = Bench(options, choice.precision)
    print(f"decode {choice.precision}, render {bench.render}; {options.threads} threads")
    report: dict[str, Any] = {"machine": describe_machine()}
    print_facts(report["machine"])
    for part in options.parts.split(","):
        report[part] = getattr(bench, f"measure_{part}")()
        print_rows(part, report[part])
    report["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(
        json.dumps({"benchmark": "cosyvoice", **describe_run(options, choice.precision), **report})
    )


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--version", default="cosyvoice3", choices=("cosyvoice3", "cosyvoice2"))
    parser.add_argument("--concurrency", default="1,4")
    parser.add_argument("--parts", default="decode,flow,vocoder,end,stream,accuracy")
    return parser.parse_args()


class Bench:
    """The networks of both sides and everything that is measured on them."""

    def __init__(self, options: argparse.Namespace, precision: Any) -> None:
        self.options, self.precision = options, precision
        self.runs, self.device = options.runs, options.device
        self.render = wide_precision(precision)
        self.concurrency = [int(n) for n in options.concurrency.split(",")]
        version = options.version
        self.lm = SpeechLM.from_state(lm_config(version), llm_weights(lm_config(version)))
        self.flow_weights = flow_weights(flow_config(version))
        self.hift_weights = hift_weights(hift_config(version))
        network = PlainFlow if version == "cosyvoice3" else UNetNetwork
        self.plain_flow: Any = network.from_state(flow_config(version), self.flow_weights)
        self.plain_vocoder = PlainVocoder(hift_config(version), self.hift_weights)
        self.noise = torch.rand(2 * SPEECH_TOKENS * 480, 9)
        self.decoder = self._decoder(precision)
        self.flow, self.vocoder = self._flow(self.render), self._vocoder(self.render)
        self.renderer = self._renderer(self.flow, self.vocoder)
        rng = torch.Generator().manual_seed(5)
        self.tokens = torch.randint(3000, 6500, (SPEECH_TOKENS,), generator=rng)

    def _decoder(self, precision: Any) -> LMDecoder:
        return LMDecoder(self.lm, f"bench {precision}", precision=precision, device=self.device)

    def _flow(self, precision: Any) -> Any:
        config = flow_config(self.options.version)
        return make_flow(
            config, self.flow_weights, f"bench {precision}", precision=precision, device=self.device
        )

    def _vocoder(self, precision: Any) -> Any:
        config = hift_config(self.options.version)
        return make_vocoder(config, self.hift_weights, precision=precision, device=self.device)

    def _renderer(self, flow: Any, vocoder: Any) -> CosyRenderer:
        return CosyRenderer(flow, vocoder, "bench", manner=Manner(), device=self.device)

    # --- language model

    def measure_decode(self) -> list[dict[str, Any]]:
        """Tokens a second: the plain loop, then rows together."""
        segment, voice = make_segment(0, self.lm.config), make_voice(0)
        plain_prefill, plain_step = self._plain_times(segment, voice)
        rows = [
            {
                "what": "plain loop, float32",
                "step_ms": round(1000 * plain_step, 1),
                "prefill_ms": round(1000 * plain_prefill),
                "tokens_s": round(1 / plain_step, 1),
                "ratio": 1.0,
            }
        ]
        bandwidth = describe_machine()["read_gb_s"] * 1e9
        for precision in dict.fromkeys((self.precision, "bfloat16", "int8")):
            decoder = self.decoder if precision == self.precision else self._decoder(precision)
            floor = decoder.step_bytes / bandwidth
            for count in (1, 2, 4, 8):
                prefill, step = self._row_times(decoder, count)
                rows.append(
                    {
                        "what": f"{count} rows, {precision}",
                        "step_ms": round(1000 * step, 1),
                        "prefill_ms": round(1000 * prefill),
                        "tokens_s": round(count / step, 1),
                        "ratio": round(count * plain_step / step, 2),
                        "floor_share": round(floor / step, 2),
                    }
                )
        return rows

    @torch.inference_mode()
    def _plain_times(self, segment: TextSegment, voice: Conditioning) -> tuple[float, float]:
        x = self.lm.embed(segment.prompt_text, segment.text, voice.tokens)
        prefill = median(self.runs, lambda: self.lm(x))
        steps = median(self.runs, lambda: self._plain_decode(segment, voice, DECODE_STEPS))
        return prefill, (steps - prefill) / DECODE_STEPS

    @torch.inference_mode()
    def _plain_decode(self, segment: TextSegment, voice: Conditioning, count: int) -> list[int]:
        x = self.lm.embed(segment.prompt_text, segment.text, voice.tokens)
        past, made, draw = None, list[int](), torch_draw(torch.Generator().manual_seed(0))
        for _ in range(count):
            hidden, past = self.lm(x, past)
            logp = self.lm.logits(hidden[0, -1]).log_softmax(0)
            logp[self.lm.config.first_stop :] = -torch.inf
            made.append(draw_aware(logp, made, draw, SamplingConfig()).token)
            x = self.lm.embed_speech(torch.tensor([[made[-1]]]))
        return made

    def _row_times(self, decoder: LMDecoder, count: int) -> tuple[float, float]:
        """Median seconds of a prefill of `count` rows, and of one step after it."""
        prompts = [
            decoder.prompt(make_segment(i, self.lm.config), make_voice(i)) for i in range(count)
        ]
        cache = decoder.new_cache(count, prompts[0].num_positions + DECODE_STEPS + 8)
        slots = list(range(count))
        device = torch.device(self.device)

        def steps() -> None:
            lengths = torch.tensor([prompt.num_positions for prompt in prompts], device=device)
            tokens = torch.zeros(count, dtype=torch.int64, device=device)
            at = torch.tensor(slots, device=device)
            for step in range(DECODE_STEPS):
                decoder.step(tokens, lengths + step, lengths + step, at, cache)

        prefill = median(self.runs, lambda: decoder.prefill(prompts, cache, slots))
        return prefill, median(self.runs, steps) / DECODE_STEPS

    # --- flow and vocoder

    def measure_flow(self) -> list[dict[str, Any]]:
        """Seconds of 10 s of speech behind 3.5 s of prompt: 674 frames, ten steps."""
        plain = median(max(1, self.runs - 1), self._plain_mel)
        rows = [{"what": "plain, float32", "seconds": round(plain, 2), "ratio": 1.0}]
        for count in self.concurrency:
            spent = median(self.runs, lambda n=count: self._solve(n, is_streamed=False))
            rows.append(
                {
                    "what": f"{count} rows, {self.render}",
                    "seconds": round(spent, 2),
                    "ratio": round(count * plain / spent, 2),
                }
            )
        self._solve(1, is_streamed=True)  # the voice is warm from here on
        spent = median(self.runs, lambda: self._solve(1, is_streamed=True))
        whole, streamed = (self._solve(1, is_streamed=kind) for kind in (False, True))
        rows.append(
            {
                "what": "streamed, warm voice",
                "seconds": round(spent, 2),
                "ratio": round(plain / spent, 2),
                "flops_to_whole": round(streamed / whole, 3),
            }
        )
        cold = make_voice(99)
        streamed = self._solve(1, is_streamed=True, voice=cold)
        rows.append({"what": "streamed, new voice", "flops_to_whole": round(streamed / whole, 3)})
        return rows

    def _plain_mel(self) -> Tensor:
        kind = "is_streamed" if self.options.version == "cosyvoice3" else "is_streaming"
        with torch.inference_mode():
            mel: Tensor = self.plain_flow.render(
                make_voice(0), self.tokens, **{kind: False}, is_final=True
            )
        return mel

    @torch.inference_mode()
    def _plain_sound(self, mel: Tensor) -> Tensor:
        return self.plain_vocoder(mel, self.noise)

    def _solve(self, count: int, *, is_streamed: bool, voice: Conditioning | None = None) -> int:
        """Solve `count` segments; what they cost, in multiplications and additions."""
        renderer = self._renderer(self.flow, _Silent())
        rows = [
            renderer.open(
                make_segment(i, self.lm.config),
                voice or make_voice(i),
                RenderOptions(is_streamed),
                i,
                is_last=True,
            )
            for i in range(count)
        ]
        for row in rows:
            row.feed(self.tokens.tolist(), is_final=True)
        while any(not row.is_done for row in rows):
            if ready := [row for row in rows if row.vocode_cost]:
                renderer.vocode(ready)
            elif ready := [row for row in rows if row.acoustic_cost]:
                renderer.acoustic(ready)
        return sum(row.flow.num_flops for row in rows)  # type: ignore[attr-defined]

    def measure_vocoder(self) -> list[dict[str, Any]]:
        """Seconds of 500 frames, 10 s."""
        mel = torch.randn(2 * SPEECH_TOKENS, 80, generator=torch.Generator().manual_seed(3)) - 4
        plain = median(self.runs, lambda: self._plain_sound(mel))
        rows = [{"what": "plain, float32", "seconds": round(plain, 2), "ratio": 1.0}]
        for size in (len(mel), 50):
            spent = median(self.runs, lambda n=size: vocode(self.vocoder, mel, n))
            rows.append(
                {
                    "what": f"{self.render}, {size} frames at a time",
                    "seconds": round(spent, 2),
                    "ratio": round(plain / spent, 2),
                }
            )
        return rows

    # --- end to end

    def measure_end(self) -> list[dict[str, Any]]:
        """Requests of 10 s from text tokens to samples."""
        segment, voice = make_segment(0, self.lm.config), make_voice(0)
        plain = median(max(1, self.runs - 1), lambda: self._plain_request(segment, voice))
        rows = [row_of("plain, one by one", SECONDS, plain, plain)]
        with self._engine() as engine:
            for count in self.concurrency:
                requests = [self._request(i, is_streamed=False) for i in range(count)]
                spent = median(self.runs, lambda r=requests: run_together(engine, r))
                name = f"{count} at once, {self.precision} and {self.render}"
                rows.append(row_of(name, count * SECONDS, spent, count * plain))
        return rows

    def measure_stream(self) -> list[dict[str, Any]]:
        """How long a listener waits for the first sound, with the voice warm."""
        rows = []
        with self._engine() as engine:
            for count in self.concurrency:
                requests = [self._request(i, is_streamed=True) for i in range(count)]
                run_together(engine, requests)
                waits, spent = [], []
                for _ in range(self.runs):
                    began = time.perf_counter()
                    waits += run_together(engine, requests)
                    spent.append(time.perf_counter() - began)
                total = statistics.median(spent)
                rows.append(
                    {
                        "what": f"{count} streams",
                        "first_p50_s": round(statistics.median(waits), 2),
                        "first_max_s": round(max(waits), 2),
                        "seconds": round(total, 2),
                        "audio_s_per_s": round(count * SECONDS / total, 2),
                    }
                )
        return rows

    def _engine(self) -> Engine:
        release_team()  # as kouji.load does
        threads = self.options.threads
        return Engine(
            EngineSettings(max_seats=32, max_positions=512, max_queue=64, threads=threads),
            device=None,
        )

    def _plain_request(self, segment: TextSegment, voice: Conditioning) -> None:
        self._plain_decode(segment, voice, SPEECH_TOKENS)
        self._plain_sound(self._plain_mel())

    def _request(self, seed: int, *, is_streamed: bool) -> EngineRequest:
        """A request that the guard leaves alone: random weights babble."""
        return EngineRequest(
            SpeechModel(self.renderer, FixedLength(self.decoder, SPEECH_TOKENS)),
            (make_segment(seed, self.lm.config),),
            make_voice(seed),
            sampling=SAMPLING,
            render=RenderOptions(is_streamed),
            guard=GuardOptions(is_on=False),
            seed=seed,
            client=f"client-{seed}",
        )

    # --- what precision costs

    def measure_accuracy(self) -> list[dict[str, Any]]:
        """Tokens teacher-forced against float32, and mels on the same noise."""
        inputs = [(make_segment(i, self.lm.config), make_voice(i)) for i in range(2)]
        exact, rows = self._decoder("float32"), list[dict[str, Any]]()
        for precision in ("bfloat16", "int8"):
            found = compare_precisions(exact, self._decoder(precision), inputs, num_tokens=50)
            figures = {name: round(value, 5) for name, value in vars(found).items()}
            rows.append({"what": f"tokens, {precision}", **figures})
        mel = self._plain_mel()
        for precision in dict.fromkeys(("float32", self.render)):
            flow = self.flow if precision == self.render else self._flow(precision)
            distance = (self._mel(flow) - mel).abs().mean()
            rows.append({"what": f"mel, {precision}", "l1": round(float(distance), 5)})
        return rows

    def _mel(self, flow: Any) -> Tensor:
        state = flow.open(make_voice(0), is_streamed=False, manner=Manner(), num_tokens=None)
        state.feed(self.tokens.tolist(), is_final=True)
        while state.num_steps_left:
            flow.step([state])
        mel: Tensor = state.take()
        return mel.cpu()


class _Silent:
    """Stands where the vocoder is not measured."""

    num_bytes = 0

    def open(self, seed: int) -> None:
        """Nothing to keep."""

    def vocode(
        self, states: Sequence[Any], mels: Sequence[Tensor], is_final: Sequence[bool]
    ) -> list[Tensor]:
        """No samples."""
        del states, is_final
        return [mel.new_zeros(0) for mel in mels]


def vocode(vocoder: Any, mel: Tensor, size: int) -> None:
    """A whole segment, `size` frames at a time."""
    state = vocoder.open(0)
    for begin in range(0, len(mel), size):
        vocoder.vocode([state], [mel[begin : begin + size]], [begin + size >= len(mel)])


def row_of(what: str, audio: float, spent: float, plain: float) -> dict[str, Any]:
    """A line of the table end to end."""
    return {
        "what": what,
        "seconds": round(spent, 1),
        "rtf": round(spent / audio, 2),
        "ratio": round(plain / spent, 2),
    }


if __name__ == "__main__":
    main()
