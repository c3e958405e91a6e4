"""Two machines of two processes: network namespaces where one may make them, else two agents."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import killed_run
import pytest
from toy_recipe import ToyRecipe, logged, toy_settings

from kouji.train.distributed import _free_port
from kouji.train.loop import run

ADDRESSES = ("10.233.77.1", "10.233.77.2")


def call(*command: str) -> str | None:
    """Run a command of `ip`; what it complains about, or None."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stderr.strip() or f"exit code {done.returncode}") if done.returncode else None


@contextmanager
def two_namespaces() -> Iterator[list[str] | str]:
    """Two namespaces joined by a veth pair, or why there are none; gone afterwards."""
    if shutil.which("ip") is None:
        yield "there is no `ip`"
        return
    tag = uuid.uuid4().hex[:6]
    spaces, cables = [f"kj{tag}{n}" for n in "ab"], [f"kv{tag}{n}" for n in "ab"]
    fault = None
    try:
        steps = [["ip", "netns", "add", space] for space in spaces]
        steps.append(["ip", "link", "add", cables[0], "type", "veth", "peer", "name", cables[1]])
        for space, cable, address in zip(spaces, cables, ADDRESSES, strict=True):
            inside = ["ip", "-n", space]
            steps += [
                ["ip", "link", "set", cable, "netns", space, "name", "veth0"],
                [*inside, "addr", "add", f"{address}/24", "dev", "veth0"],
                [*inside, "link", "set", "veth0", "up"],
                [*inside, "link", "set", "lo", "up"],
            ]
        for step in steps:
            fault = call(*step)
            if fault:
                break
        yield f"{' '.join(step)}: {fault}" if fault else spaces
    finally:
        call("ip", "link", "del", cables[0])
        for space in spaces:
            call("ip", "netns", "del", space)


def agents(folder: Path, spaces: list[str] | None) -> list[subprocess.Popen[str]]:
    """One torchrun on each machine, as docs/training.md says."""
    address = ADDRESSES[0] if spaces else "127.0.0.1"
    with _free_port() as free:
        port = 29400 if spaces else free  # a namespace has all its ports to itself
    started = []
    for number in range(2):
        prefix = ["ip", "netns", "exec", spaces[number]] if spaces else []
        command = [
            *prefix, sys.executable, "-m", "torch.distributed.run", "--nnodes", "2",
            "--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-id", "kouji-test",
            "--rdzv-endpoint", f"{address}:{port}",
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if spaces:
            # The host's name says nothing of an address in a namespace.
            is_host = "true" if number == 0 else "false"
            command += ["--local-addr", ADDRESSES[number], "--rdzv-conf", f"is_host={is_host}"]
            environment["GLOO_SOCKET_IFNAME"] = "veth0"
        started.append(
            subprocess.Popen(
                [*command, killed_run.__file__, str(folder), "--strategy", "ddp"],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
            )
        )  # fmt: skip
    return started


def assert_four_processes_are_one(folder: Path, spaces: list[str] | None) -> None:
    machines = agents(folder / "four", spaces)
    try:
        told = [machine.communicate(timeout=300)[0] for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
    assert [machine.returncode for machine in machines] == [0, 0], told
    run(ToyRecipe(count=33), toy_settings(folder / "one", steps=16, batch_seconds=9.0))
    losses = logged(folder / "four" / "run")
    assert len(losses) == 16
    assert losses == pytest.approx(logged(folder / "one"), abs=1e-4)


def test_two_machines_in_network_namespaces(tmp_path: Path) -> None:
    with two_namespaces() as spaces:
        if isinstance(spaces, str):
            pytest.skip(f"no network namespaces here: {spaces}")
        assert_four_processes_are_one(tmp_path, spaces)


@pytest.mark.slow
def test_two_agents_on_one_machine(tmp_path: Path) -> None:
    assert_four_processes_are_one(tmp_path, None)
