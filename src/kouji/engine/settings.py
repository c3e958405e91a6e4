"""The operator's decisions about the engine, and what they default to."""

from __future__ import annotations

from dataclasses import dataclass

from kouji.config import Settings
from kouji.errors import ConfigError

FALLBACK_SEATS = 16  # of the queue's size, until the memory has been measured


@dataclass(frozen=True)
class EngineSettings:
    """How much the engine takes on at once.

    device:        auto, cpu, cuda, cuda:1
    max_seats:     rows decoded together; 0 measures the memory
    max_queue:     requests waiting for their first seat; 0 means 4 x seats
    max_requests:  requests inside at once, those whose reader is slow included; 0 means
                   16 x seats
    max_positions: cache positions of a seat, the longest prompt and its speech together
    memory_bytes:  for all seats; 0 leaves it to the budget
    render_batch:  rows in one acoustic or vocode batch
    render_wait_ms: how long a ready row waits for mates of like length
    segments_ahead: segments of one request worked on beyond the one being heard; 0: one a seat
    buffer_seconds: audio nobody has read yet, after which a request is rendered no further
    prefix_bytes:  for prompts kept because they came more than once; 0 keeps none
    guard_seconds: newest tokens of a streamed request's first segment that are withheld from
                   the renderer, so that a fault that shows in them can still be undone
    guard_seconds_later: the same of its later segments, which nobody waits for yet
    live_idle_seconds: without news of a text that is still being written, after which it counts
                   as ended: its row holds a seat
    threads:       of the CPU; 0 follows what cores are free, up to what torch may use
    """

    device: str = "auto"
    threads: int = 0
    max_seats: int = 0
    max_queue: int = 0
    max_requests: int = 0
    max_positions: int = 2048
    memory_bytes: int = 0
    render_batch: int = 8
    render_wait_ms: float = 5.0
    segments_ahead: int = 0
    buffer_seconds: float = 60.0
    prefix_bytes: int = 256 << 20
    guard_seconds: float = 0.4
    guard_seconds_later: float = 2.4
    live_idle_seconds: float = 60.0

    def __post_init__(self) -> None:
        at_least_one = ("render_batch", "max_positions")
        for name, value in vars(self).items():
            if name == "device":
                continue
            low = 1 if name in at_least_one else 0
            if not value >= low:
                raise ConfigError(f"wrong engine setting {name}", seen=value, allowed=f">= {low}")

    @classmethod
    def from_settings(cls, settings: Settings) -> EngineSettings:
        """What config.toml and the environment say of the engine."""
        return cls(
            device=settings.device,
            threads=settings.threads,
            max_seats=settings.engine_seats,
            max_queue=settings.engine_queue,
            render_batch=settings.render_batch,
            render_wait_ms=settings.render_wait_ms,
        )
