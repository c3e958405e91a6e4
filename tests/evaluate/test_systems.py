"""Programs measured beside ours: one that fails is an error with its name, not a crash."""

from __future__ import annotations

import sys

import pytest

from kouji.errors import DataError
from kouji.evaluate.sets import EvaluationItem
from kouji.evaluate.systems import Program


@pytest.mark.parametrize("command", [[sys.executable, "-c", "exit(3)"], ["no-such-program"]])
def test_a_failing_program_is_named(command: list[str]) -> None:
    item = EvaluationItem(id="one", language="en", text="Hello.", reference="r.wav")
    with pytest.raises(DataError, match="reader failed"):
        Program("reader", {"en": command}).render(item)
    assert Program("reader", {"zh": command}).render(item) is None
