"""A picture of what the engine does with eight requests at once, from a real run.

    python benchmarks/timeline.py [--out docs/images/timeline.png] [--threads 2]

Networks of GPT-SoVITS in official sizes with seeded random weights; every segment is made to
have two and a half tokens a phone. Two requests stream, one has three segments, one is
cancelled on the way. Bars are the batches a row took part in, thicker with more rows.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from plain_gpt_sovits import official_sovits, official_t2s

from kouji.engine.engine import Engine
from kouji.engine.guard import GuardOptions
from kouji.engine.request import EngineRequest
from kouji.engine.settings import EngineSettings
from kouji.engine.trace import Trace, TraceEvent
from kouji.errors import Cancelled
from kouji.models.gpt_sovits.conditioning import Conditioning, TextFeatures
from kouji.models.gpt_sovits.decoder import T2SDecoder
from kouji.models.gpt_sovits.renderer import SoVITSRenderer
from kouji.models.precision import choose_precision, read_device_facts
from kouji.models.stages import Prompt, RenderOptions, SpeechModel

TOKENS_PER_PHONE = 2.5
COLOURS = {"begin": "#7b5ea7", "step": "#4c8bbf", "acoustic": "#e0a030", "vocode": "#5aa469"}
LABELS = {
    "begin": "prefill",
    "step": "decode step",
    "acoustic": "acoustic",
    "vocode": "vocode",
}


@dataclass(frozen=True)
class Visit:
    """One of the eight: when it comes, how many phones each segment has, and its ways."""

    name: str
    arrives: float
    phones: tuple[int, ...]
    is_streamed: bool = False
    leaves: float | None = None


VISITS = (
    Visit("A", 0.0, (30,)),
    Visit("B", 0.2, (24, 40, 36)),
    Visit("C, streamed", 0.4, (40,), is_streamed=True),
    Visit("D", 0.6, (12,)),
    Visit("E, leaves", 0.8, (60, 60), leaves=2.5),
    Visit("F", 1.5, (30,)),
    Visit("G, streamed", 2.0, (20, 30), is_streamed=True),
    Visit("H", 3.0, (16,)),
)


class PacedDecoder(T2SDecoder):
    """Random weights know no end; here the number of phones decides it."""

    def prompt(self, segment: Any, voice: Any) -> Prompt:
        """As the family makes it, with the number of tokens fixed."""
        prompt = super().prompt(segment, voice)
        count = round(TOKENS_PER_PHONE * len(segment.phones))
        return replace(prompt, min_tokens=count, max_tokens=count, expected_tokens=(1, count))


def main() -> None:
    """Run and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images/timeline.png"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    trace = run_visits(make_model())
    draw(list(trace.events), options.out)
    print(f"{len(trace.events)} events in {options.out}")


def make_model() -> SpeechModel:
    """Official sizes, random weights, the precision this machine would choose."""
    precision = choose_precision(read_device_facts("cpu")).precision
    sovits, _ = official_sovits()
    decoder = PacedDecoder(official_t2s(), "random-t2s", precision=precision)
    return SpeechModel(SoVITSRenderer(sovits, "random-sovits", precision=precision), decoder)


def run_visits(model: SpeechModel) -> Trace:
    """All eight, each in its own thread as callers are."""
    trace, settings = Trace.of(), EngineSettings(device="cpu", max_seats=8, max_positions=512)
    with Engine(settings, trace=trace) as engine:
        engine.submit(make_request(model, Visit("warm-up", 0.0, (8,)))).result()
        trace.events.clear()
        start = time.monotonic()
        threads = [threading.Thread(target=visit, args=(engine, model, v, start)) for v in VISITS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return trace


def visit(engine: Engine, model: SpeechModel, visitor: Visit, start: float) -> None:
    """Come, listen, and perhaps leave."""
    time.sleep(max(0.0, start + visitor.arrives - time.monotonic()))
    ticket = engine.submit(make_request(model, visitor))
    if visitor.leaves is not None:
        threading.Timer(start + visitor.leaves - time.monotonic(), ticket.cancel).start()
    try:
        ticket.result()
    except Cancelled:
        print(f"{visitor.name}: cancelled")


def make_request(model: SpeechModel, visitor: Visit) -> EngineRequest:
    """Random text in a random voice, the same at every run."""
    rng = torch.Generator().manual_seed(len(visitor.name) + sum(visitor.phones))

    def text(num_phones: int) -> TextFeatures:
        phones = torch.randint(1, 300, (num_phones,), generator=rng)
        return TextFeatures(phones, torch.randn(num_phones, 1024, generator=rng))

    tokens = torch.randint(0, 1024, (75,), generator=rng)
    channels = model.renderer.config.style_channels  # type: ignore[attr-defined]
    voice = Conditioning(text(30), tokens, torch.randn(channels, generator=rng), visitor.name)
    return EngineRequest(
        model,
        tuple(text(count) for count in visitor.phones),
        voice,
        render=RenderOptions(is_streamed=visitor.is_streamed),
        guard=GuardOptions(is_on=False),
        client=visitor.name,
        id=visitor.name,
    )


def draw(events: Sequence[TraceEvent], out: Path) -> None:
    """Requests over time above, rows in each batch below."""
    start = min(event.start for event in events)
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(11, 6.5), sharex=True, height_ratios=(3, 1), constrained_layout=True
    )
    draw_requests(upper, events, start)
    draw_batches(lower, events, start)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=90)


def draw_requests(axes: Axes, events: Sequence[TraceEvent], start: float) -> None:
    """One line a request: when it came, in which batches it was, when it was heard and done."""
    names = [visitor.name for visitor in VISITS]
    marks = {"arrive": ">", "first_audio": "*", "finished": "s", "cancelled": "X", "failed": "X"}
    for event in events:
        line = names.index(event.request)
        if event.stage in marks:
            style = {"marker": marks[event.stage], "color": "black", "markersize": 6}
            axes.plot([event.start - start], [line], **style, zorder=3)  # type: ignore[arg-type]
            continue
        height = 0.2 + 0.06 * min(8, event.batch)
        place = (event.start - start, event.end - event.start)
        colour = COLOURS[event.stage]
        axes.broken_barh([place], (line - height / 2, height), facecolors=colour)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    patches = [Patch(color=colour, label=LABELS[stage]) for stage, colour in COLOURS.items()]
    axes.legend(handles=patches, loc="lower right", fontsize=8)
    axes.set_title(
        "arrival ▸  first sound ★  done ■  left ✖   (thicker: more rows in the batch)", fontsize=9
    )


def draw_batches(axes: Axes, events: Sequence[TraceEvent], start: float) -> None:
    """How many rows each batch had."""
    seen = {(event.start, event.end, event.stage, event.batch) for event in events if event.batch}
    for begin, end, stage, rows in seen:
        axes.broken_barh([(begin - start, end - begin)], (0, rows), facecolors=COLOURS[stage])
    axes.set_ylabel("rows in the batch")
    axes.set_xlabel("seconds")


if __name__ == "__main__":
    main()
