"""The device seam: plain on the CPU; on CUDA graphs, buckets and fallbacks, proved by a fake."""

from __future__ import annotations

import copy
import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kouji.engine import cuda_graphs
from kouji.engine.budget import Memory
from kouji.engine.cuda_graphs import BUCKETS
from kouji.engine.device import CudaDevice, Device, open_device
from kouji.errors import ConfigError

CPU = torch.device("cpu")
NUM_SLOTS, NUM_POSITIONS, VOCABULARY = 40, 12, 7


class FakeGraph:
    """Keeps what was called while recording, and calls it again."""

    def __init__(self) -> None:
        self.recorded: Callable[[], Tensor] | None = None
        self.output: Tensor | None = None
        self.num_replays = 0

    def replay(self) -> None:
        assert self.recorded is not None
        assert self.output is not None
        self.num_replays += 1
        self.output.copy_(self.recorded())


class FakeCuda:
    """Records like CUDA: same tensors at the same addresses, nothing computed while recording."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.graphs: list[FakeGraph] = []
        self.recording: FakeGraph | None = None
        self.num_pinned = self.num_emptied = self.num_warm_ups = 0

    def warm_up(self, function: Callable[[], Any]) -> None:
        self.num_warm_ups += 1
        function()

    def new_graph(self) -> FakeGraph:
        return FakeGraph()

    @contextmanager
    def capture(self, graph: FakeGraph) -> Iterator[None]:
        if self.failure is not None:
            raise self.failure
        self.recording = graph
        yield
        self.recording = None
        self.graphs.append(graph)

    def pin(self, tensor: Tensor) -> Tensor:
        self.num_pinned += 1
        return tensor.clone()

    def compile(self, function: Any) -> Any:
        def compiled(*arguments: Any) -> Any:
            if self.failure is not None:
                raise self.failure
            return function(*arguments)

        return compiled

    def memory(self) -> Memory:
        return Memory(80 << 30, 60 << 30)

    def empty_cache(self) -> None:
        self.num_emptied += 1


class ToyCache:
    def __init__(self) -> None:
        self.num_slots, self.num_positions = NUM_SLOTS, NUM_POSITIONS
        self.values = torch.zeros(NUM_SLOTS, NUM_POSITIONS, dtype=torch.float64)

    num_bytes = 0

    def copy_out(self, slot: int, num_positions: int) -> Any: ...
    def copy_in(self, slot: int, prefix: Any) -> None: ...


class ToyDecoder:
    """Writes a value per row and answers with the sum of what the slot holds."""

    identity, vocabulary, eos, stops_on_argmax = "toy", VOCABULARY, 0, False
    token_rate_hz, silent_tokens, num_bytes, cache_key = 25.0, frozenset[int](), 0, "toy"

    def __init__(self, weight: float = 1.0, api: FakeCuda | None = None) -> None:
        self.weight, self.api = weight, api
        self.num_steps = 0

    def step(
        self, tokens: Tensor, positions: Tensor, lengths: Tensor, slots: Tensor, cache: ToyCache
    ) -> Tensor:
        def compute() -> Tensor:
            cache.values[slots, lengths] = tokens.double() * self.weight + positions
            seen = torch.arange(NUM_POSITIONS) <= lengths[:, None]
            sums = (cache.values[slots] * seen).sum(dim=1)
            return (sums[:, None] * torch.arange(1, VOCABULARY + 1)).float()

        graph = self.api.recording if self.api else None
        if graph is None:
            self.num_steps += 1
            return compute()
        assert tokens.is_contiguous()
        assert slots.is_contiguous()
        graph.recorded = compute
        graph.output = torch.full((len(tokens), VOCABULARY), torch.nan)
        return graph.output


def make_device(api: FakeCuda) -> CudaDevice:
    return CudaDevice(CPU, api)


def random_rows(num_rows: int, seed: int) -> list[Tensor]:
    """Tokens, positions, lengths and different slots of some rows."""
    generator = torch.Generator().manual_seed(seed)
    tokens, positions = torch.randint(1, 50, (2, num_rows), generator=generator)
    lengths = torch.randint(0, NUM_POSITIONS, (num_rows,), generator=generator)
    return [tokens, positions, lengths, torch.randperm(NUM_SLOTS, generator=generator)[:num_rows]]


@given(st.lists(st.integers(1, NUM_SLOTS), min_size=1, max_size=12), st.integers(0, 2**20))
@settings(max_examples=40, deadline=None)
def test_graphs_compute_what_plain_steps_compute(sizes: list[int], seed: int) -> None:
    """Any sequence of batch sizes: equal logits, equal caches, one recording per bucket."""
    api = FakeCuda()
    recorded, plain = ToyDecoder(api=api), ToyDecoder()
    ours, theirs = ToyCache(), ToyCache()
    device, reference = make_device(api), Device(CPU)
    kept: list[tuple[Tensor, Tensor]] = []
    for index, size in enumerate(sizes):
        rows = random_rows(size, seed + index)
        expected = reference.run_step(plain, *rows, theirs)
        kept.append((device.run_step(recorded, *rows, ours), expected))
        assert torch.equal(ours.values, theirs.values)
    for found, expected in kept:  # answers stay, though the graphs ran again
        assert torch.equal(found, expected)
    buckets = {
        next(bucket for bucket in BUCKETS if bucket >= part)
        for size in sizes
        for part in ([32, size - 32] if size > 32 else [size])
    }
    assert len(api.graphs) == len(buckets)
    assert recorded.num_steps == api.num_warm_ups == len(buckets), "replays do not call the decoder"
    assert sum(graph.num_replays for graph in api.graphs) == sum(
        2 if size > 32 else 1 for size in sizes
    )


def test_inputs_travel_in_one_pinned_transfer() -> None:
    api, cache = FakeCuda(), ToyCache()
    device, decoder = make_device(api), ToyDecoder(api=api)
    for _ in range(5):
        device.run_step(decoder, *random_rows(3, 1), cache)
    assert api.num_pinned == 5
    assert device.upload([1, 2]).tolist() == [1, 2]
    assert device.upload([0.5], torch.float32).dtype == torch.float32
    assert api.num_pinned == 7


def test_each_decoder_and_cache_has_graphs_of_its_own() -> None:
    api = FakeCuda()
    device = make_device(api)
    decoders, caches = [ToyDecoder(w, api) for w in (1.0, 2.0)], [ToyCache(), ToyCache()]
    rows = random_rows(2, 3)
    answers = [device.run_step(decoder, *rows, cache) for decoder in decoders for cache in caches]
    assert len(api.graphs) == 4
    assert torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2]), "one decoder never speaks with another's"


def test_graphs_go_with_their_decoder_or_cache() -> None:
    """Loaded again, maybe at the very same address, they are recorded again."""
    api = FakeCuda()
    device, cache = make_device(api), ToyCache()
    keeper = ToyDecoder(api=api)
    device.run_step(keeper, *random_rows(2, 3), cache)
    for weight in (2.0, 3.0, 4.0):
        decoder = ToyDecoder(weight, api)
        rows = random_rows(2, 3)
        found = device.run_step(decoder, *rows, cache)
        assert torch.equal(found, Device(CPU).run_step(ToyDecoder(weight), *rows, ToyCache()))
        assert device._graphs.num_graphs == 2
        api.graphs[-1].recorded = None  # the fake holds the decoder; a CUDA graph does not
        del decoder
        gc.collect()
        assert device._graphs.num_graphs == 1
    api.graphs[0].recorded = None
    del cache
    gc.collect()
    assert device._graphs.num_graphs == 0


def test_releasing_memory_forgets_graphs() -> None:
    api = FakeCuda()
    device, decoder, cache = make_device(api), ToyDecoder(api=api), ToyCache()
    device.run_step(decoder, *random_rows(2, 3), cache)
    device.release_memory()
    assert (device._graphs.num_graphs, api.num_emptied) == (0, 1)
    device.run_step(decoder, *random_rows(2, 3), cache)
    assert len(api.graphs) == 2


def test_the_number_of_graphs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "MAX_GRAPHS", 3)
    api = FakeCuda()
    device, cache = make_device(api), ToyCache()
    decoders = [ToyDecoder(float(index), api) for index in range(5)]
    for decoder in decoders:
        device.run_step(decoder, *random_rows(1, 1), cache)
    assert device._graphs.num_graphs == 3
    device.run_step(decoders[-1], *random_rows(1, 1), cache)
    assert len(api.graphs) == 5, "the newest are kept"


def test_where_recording_fails_steps_run_plainly(caplog: pytest.LogCaptureFixture) -> None:
    api = FakeCuda(RuntimeError("CUDA error: operation not permitted when stream is capturing"))
    device, cache = make_device(api), ToyCache()
    decoder = ToyDecoder(api=api)
    with caplog.at_level(logging.WARNING):
        for size in (3, 3, 5, 40):
            rows = random_rows(size, size)
            other = copy.deepcopy(cache)
            found = device.run_step(decoder, *rows, cache)
            expected = Device(CPU).run_step(ToyDecoder(), *rows, other)
            assert torch.equal(found, expected)
    assert [record.message for record in caplog.records] == [
        "toy decodes without CUDA graphs: "
        "CUDA error: operation not permitted when stream is capturing"
    ]
    api.failure = None
    device.run_step(ToyDecoder(api=api), *random_rows(3, 3), cache)
    assert len(api.graphs) == 1, "other decoders are recorded"


@pytest.mark.parametrize(
    "failure",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: device-side assert")],
)
def test_what_would_strike_again_is_raised(failure: Exception) -> None:
    api = FakeCuda(failure)
    device, decoder, cache = make_device(api), ToyDecoder(api=api), ToyCache()
    with pytest.raises(type(failure)):
        device.run_step(decoder, *random_rows(2, 1), cache)
    with pytest.raises(type(failure)):
        device.compile_renderer(lambda: 1)()
    api.failure = None
    device.run_step(decoder, *random_rows(2, 1), cache)
    assert len(api.graphs) == 1, "the decoder is not blamed for it"


def test_a_decoder_that_fails_is_not_taken_for_one_that_cannot_be_recorded() -> None:
    api = FakeCuda()
    device, decoder, cache = make_device(api), ToyDecoder(api=api), ToyCache()
    rows = random_rows(2, 1)
    outside = [*rows[:3], torch.tensor([0, NUM_SLOTS])]
    with pytest.raises(IndexError):
        device.run_step(decoder, *outside, cache)
    device.run_step(decoder, *rows, cache)
    assert len(api.graphs) == 1


def test_renderers_are_compiled_or_plain(caplog: pytest.LogCaptureFixture) -> None:
    api = FakeCuda()
    device = make_device(api)
    calls: list[int] = []

    def renderer(number: int) -> int:
        calls.append(number)
        return 10 // number

    compiled = device.compile_renderer(renderer)
    assert compiled(2) == 5
    with pytest.raises(ZeroDivisionError):
        compiled(0)
    api.failure = RuntimeError("no compiler")
    with caplog.at_level(logging.WARNING):
        assert [compiled(5), compiled(1)] == [2, 10]
    assert len(caplog.records) == 1
    assert "no compiler" in caplog.text
    assert Device(CPU).compile_renderer(renderer) is renderer


@pytest.mark.parametrize(
    ("error", "is_out_of_memory", "is_fatal"),
    [
        (MemoryError(), True, False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True, False),
        (RuntimeError("CUDA error: out of memory"), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), True, False),
        (RuntimeError("MPS backend out of memory"), True, False),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True, False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False, True),
        (RuntimeError("CUDA error: device-side assert triggered"), False, True),
        (RuntimeError("CUDA error: operation failed during capture"), False, False),
        (RuntimeError("CUDA error: invalid configuration argument"), False, False),
        (RuntimeError("shapes do not match"), False, False),
        (ValueError("out of memory"), False, False),
    ],
)  # fmt: skip
def test_errors_have_meanings(error: Exception, is_out_of_memory: bool, is_fatal: bool) -> None:
    device = make_device(FakeCuda())
    assert device.is_out_of_memory(error) == is_out_of_memory
    assert device.is_fatal(error) == is_fatal
    assert not Device(CPU).is_fatal(error)


def test_a_real_allocation_failure_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    assert Device(CPU).is_out_of_memory(caught.value)


def test_devices_open_by_name() -> None:
    device = open_device("cpu")
    assert (device.name, type(device)) == ("cpu", Device)
    assert 0 < device.free_memory <= device.total_memory
    device.release_memory()
    assert make_device(FakeCuda()).free_memory == 60 << 30
    assert make_device(FakeCuda()).total_memory == 80 << 30
    assert open_device("auto").name == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ConfigError, match="unknown device"):
        open_device("tpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_real_graphs_compute_what_the_cpu_computes() -> None:
    """A small network with a cache, over many sizes, with the cache dropped in between."""
    decoder, reference = MatrixDecoder("cuda"), MatrixDecoder("cpu")
    device, plain = open_device("cuda"), Device(CPU)
    assert isinstance(device, CudaDevice)
    for _ in range(2):
        cache, other = decoder.new_cache(), reference.new_cache()
        for seed, size in enumerate((1, 3, 8, 40, 3, 17)):
            rows = random_rows(size, seed)
            found = device.run_step(decoder, *rows, cache)
            expected = plain.run_step(reference, *rows, other)
            torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)
        assert device._graphs.num_graphs == 5
        del cache
        gc.collect()
    assert device._graphs.num_graphs == 0
    assert 0 < device.free_memory <= device.total_memory
    device.release_memory()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_real_renderers_compile() -> None:
    device = open_device("cuda")

    def renderer(x: Tensor) -> Tensor:
        return torch.tanh(x * 2).cumsum(dim=-1)

    compiled = device.compile_renderer(renderer)
    for length in (100, 177, 3000):
        x = torch.randn(2, length, device="cuda")
        torch.testing.assert_close(compiled(x), renderer(x), rtol=1e-4, atol=1e-4)


class MatrixDecoder(ToyDecoder):
    """Real kernels: an embedding, a cache of vectors, attention over it, a projection."""

    WIDTH = 32

    def __init__(self, device: str) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.table = torch.randn(64, self.WIDTH, generator=generator).to(device)
        self.out = torch.randn(self.WIDTH, VOCABULARY, generator=generator).to(device)
        self.positions = torch.arange(NUM_POSITIONS, device=device)

    def new_cache(self, num_slots: int = 0, num_positions: int = 0) -> Any:
        cache = ToyCache()
        cache.values = torch.zeros(NUM_SLOTS, NUM_POSITIONS, self.WIDTH, device=self.table.device)
        return cache

    def step(
        self, tokens: Tensor, positions: Tensor, lengths: Tensor, slots: Tensor, cache: ToyCache
    ) -> Tensor:
        x = self.table[tokens] + positions[:, None].float().sin()
        cache.values[slots, lengths] = x
        scores = torch.einsum("rw,rpw->rp", x, cache.values[slots]) / self.WIDTH
        scores = scores.masked_fill(self.positions > lengths[:, None], -torch.inf)
        return torch.einsum("rp,rpw->rw", scores.softmax(1), cache.values[slots]) @ self.out
