"""The whole OpenAPI description under fire: every route, good and bad input, real HTTP.

About 2,000 examples here; `make fuzz` sends 100,000 (KOUJI_FUZZ_EXAMPLES).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as how
from hypothesis.errors import Unsatisfiable
from live_server import Live

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

EXAMPLES = int(os.environ.get("KOUJI_FUZZ_EXAMPLES", "2100"))
_SECRETS = (b"Traceback", b"site-packages", b'File "', b"/src/kouji", str(Path.home()).encode())


@pytest.fixture(scope="module")
def seen() -> Iterator[Counter[int]]:
    """How often each status came back."""
    counter: Counter[int] = Counter()
    yield counter
    print("answers by status:", dict(sorted(counter.items())))


def test_no_input_breaks_the_server(live: Live, seen: Counter[int]) -> None:
    schema = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    each = -(-EXAMPLES // (2 * len(operations)))
    faults: list[str] = []
    for operation in operations:
        for mode in schemathesis.GenerationMode:
            try:
                _attack(operation, mode, each, live, seen)
            except (Exception, BaseExceptionGroup) as error:  # one report for all routes
                faults.append(f"{operation.label} ({mode.value}): {error}")
    assert not faults, "\n\n".join(faults)
    assert live.service.gate.num_inside == 0
    assert live.service.models.get().engine.is_healthy


def _attack(operation: Any, mode: Any, times: int, live: Live, seen: Counter[int]) -> None:
    cases = operation.as_strategy(generation_mode=mode)
    checks = schemathesis.checks

    @how(
        max_examples=times,
        deadline=None,
        database=None,
        derandomize="KOUJI_FUZZ_EXAMPLES" not in os.environ,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def one(case: Any) -> None:
        response = case.call(base_url=live.url, timeout=60)
        seen[response.status_code] += 1
        body = response.content
        assert response.status_code < 500 or response.status_code == 503, body[:500]
        assert not any(secret in body for secret in _SECRETS), body[:500]
        assert str(live.service.settings.home).encode() not in body, body[:500]
        case.validate_response(
            response,
            checks=[
                checks.CHECKS.get_one("status_code_conformance"),
                checks.CHECKS.get_one("content_type_conformance"),
                checks.CHECKS.get_one("response_schema_conformance"),
            ],
        )

    try:
        one()
    except Unsatisfiable:  # nothing about this operation can be wrong
        assert mode is schemathesis.GenerationMode.NEGATIVE
