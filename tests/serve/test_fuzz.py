"""The whole OpenAPI description under fire: every route, good and bad input, real HTTP.

About 2,000 examples here; `make fuzz` sends 100,000 (KOUJI_FUZZ_EXAMPLES); KOUJI_FUZZ_SEED draws
others. Nothing is raised while
examples are made: a server has a memory, so an example sent twice may well be answered otherwise.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as how
from hypothesis.errors import Unsatisfiable
from live_server import Live

from kouji.serve.caller import SCOPES
from kouji.serve.keys import KeyRing

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

EXAMPLES = int(os.environ.get("KOUJI_FUZZ_EXAMPLES", "2100"))
FIRST_SEED = int(os.environ.get("KOUJI_FUZZ_SEED", "0"))
_KEYED = EXAMPLES // 7  # of them with a key that may do everything
_MAX_ROUNDS = 50
_SHOWN_FAULTS = 2  # of an operation; more say the same
_SECRETS = (b"Traceback", b"site-packages", b'File "', b"/src/kouji", str(Path.home()).encode())
_CHECKS = (
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


@dataclass
class Attack:
    """Examples sent to one server, and what was wrong with its answers."""

    live: Live
    headers: dict[str, str]
    statuses: Counter[int] = field(default_factory=Counter)
    faults: dict[str, list[str]] = field(default_factory=dict)

    def run(self, examples: int) -> None:
        """Send at least so many, spread over all operations that have more to try."""
        schema = schemathesis.openapi.from_url(f"{self.live.url}/openapi.json")
        targets = [
            (found.ok(), mode)
            for found in schema.get_all_operations()
            for mode in schemathesis.GenerationMode
        ]
        with requests.Session() as session:
            for turn in range(_MAX_ROUNDS):
                missing = examples - self.statuses.total()
                if missing <= 0 or not targets:
                    break
                times = -(-missing // len(targets))
                targets = [
                    (operation, mode)
                    for operation, mode in targets
                    if self._send(operation, mode, times, turn, session) > times // 2
                ]

    def _send(self, operation: Any, mode: Any, times: int, turn: int, session: Any) -> int:
        """Up to so many examples for one operation; how many there were."""
        before = self.statuses.total()

        @how(
            max_examples=times,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @seed(FIRST_SEED + turn)
        @given(case=operation.as_strategy(generation_mode=mode))
        def one(case: Any) -> None:
            if fault := self._ask(case, session):
                of_operation = self.faults.setdefault(f"{operation.label} ({mode.value})", [])
                of_operation.append(f"{fault}\n    {case.as_curl_command()[:1500]}")

        try:
            one()
        except Unsatisfiable:  # nothing about this operation can be wrong
            assert mode is schemathesis.GenerationMode.NEGATIVE
        return self.statuses.total() - before

    def _ask(self, case: Any, session: requests.Session) -> str | None:
        """Send an example; what is wrong with its answer."""
        try:
            response = case.call(
                base_url=self.live.url, session=session, headers=self.headers, timeout=60
            )
        except requests.RequestException as error:  # no answer, or none that is HTTP
            return f"{type(error).__name__}: {error}"
        self.statuses[response.status_code] += 1
        status, body = response.status_code, response.content
        secrets = (*_SECRETS, str(self.live.service.settings.home).encode())
        if (status >= 500 and status != 503) or any(secret in body for secret in secrets):
            return f"{status}: {body[:500]!r}"
        try:
            named = [schemathesis.checks.CHECKS.get_one(name) for name in _CHECKS]
            case.validate_response(response, checks=named)
        except (AssertionError, ExceptionGroup) as error:
            return f"{status}: {error}: {body[:300]!r}"
        return None

    def report(self) -> str:
        """What was wrong, the first of each operation."""
        return "\n\n".join(
            f"{label}, {len(found)} times:\n" + "\n".join(found[:_SHOWN_FAULTS])
            for label, found in self.faults.items()
        )


# The server draws random numbers too, in a thread beside the one that makes examples.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.parametrize(("has_key", "examples"), [(False, EXAMPLES - _KEYED), (True, _KEYED)])
def test_no_input_breaks_the_server(live: Live, has_key: bool, examples: int) -> None:
    headers = {}
    if has_key:
        _, key = KeyRing(live.service.settings.home).add("fuzz", SCOPES)
        headers = {"Authorization": f"Bearer {key}"}
    attack = Attack(live, headers)
    attack.run(examples)
    print("answers by status:", dict(sorted(attack.statuses.items())))
    assert not attack.faults, attack.report()
    assert attack.statuses.total() >= examples
    assert attack.statuses[200] > 0
    assert live.service.gate.num_inside == 0
    engine = live.service.models.get().engine
    assert engine.is_healthy
    engine.check_integrity()
