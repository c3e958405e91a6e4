"""Which tensors are expected: against all golden weights and the official counts."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny_cosyvoice import Version, tiny_config

from kouji.models.cosyvoice.config import (
    CosyVoiceConfig,
    FlowConfig,
    HiftConfig,
    LMConfig,
    UNetConfig,
)
from kouji.models.cosyvoice.files.keys import LM_HEAD, Kind, expected_shapes

OFFICIAL_3 = CosyVoiceConfig()
OFFICIAL_2 = CosyVoiceConfig(
    "cosyvoice2",
    8_000.0,
    LMConfig("cosyvoice2"),
    FlowConfig("cosyvoice2", lookahead_channels=512, estimator=UNetConfig()),
    HiftConfig("cosyvoice2"),
)


@pytest.mark.parametrize(
    ("config", "kind", "num_keys", "num_numbers"),
    [
        (OFFICIAL_3, "llm", 293, 506_148_480),
        (OFFICIAL_2, "llm", 295, 641_938_468 - 151_936 * 896),
        (OFFICIAL_3, "flow", 330, 332_257_088 + 32),
        (OFFICIAL_2, "flow", 1121, 112_549_360),
        (OFFICIAL_3, "hift", 328, 20_779_887),
        (OFFICIAL_2, "hift", 328, 20_821_295),
    ],
)
def test_the_official_totals(
    config: CosyVoiceConfig, kind: Kind, num_keys: int, num_numbers: int
) -> None:
    """Keys and distinct numbers of the official files, as the networks themselves have them."""
    shapes = expected_shapes(config, kind)
    assert len(shapes) == num_keys
    shared = shapes.pop(LM_HEAD, ())
    assert sum(map(prod, shapes.values())) == num_numbers
    assert shared in ((), (151_936, 896))


@pytest.mark.parametrize("version", ["cosyvoice3", "cosyvoice2"])
@pytest.mark.parametrize("kind", ["llm", "flow", "hift"])
def test_the_golden_weights(shared_dir: Path, version: Version, kind: Kind) -> None:
    """Names and shapes of every golden set; the tiny directory has its sizes but for the text."""
    expected = expected_shapes(tiny_config(version), kind)
    path = shared_dir / "goldens" / version / kind / "weights.safetensors"
    seen = {name: tuple(tensor.shape) for name, tensor in load_file(path).items()}
    rows = {name for name in seen if "embed_tokens" in name or name == LM_HEAD}
    assert seen.keys() == expected.keys()
    assert {name: shape for name, shape in seen.items() if name not in rows} == {
        name: shape for name, shape in expected.items() if name not in rows
    }
