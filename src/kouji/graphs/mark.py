"""The watermark as part of a graph: what an exported vocoder says is marked by the graph itself.

`kouji.audio.watermark.embed` written as convolutions and matrix products, for whole clips. The
number is fixed when the graph is made: it says which export spoke.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kouji.audio.watermark import AFTERGLOW_FALL, AFTERGLOW_HOPS, EmbedState
from kouji.graphs.fourier import analysis_filters, synthesis_filters


class Mark(nn.Module):
    """Adds the mark to clips."""

    def __init__(self, sample_rate: int, payload: int) -> None:
        """Prepare for one sampling rate and one number, 0 to 2**32 - 1."""
        super().__init__()
        state = EmbedState(sample_rate, payload)
        shaper = state.shaper
        self.hop = shaper.hop
        to_bands, from_bands = map(torch.from_numpy, (shaper.to_bands, shaper.from_bands))
        heard = to_bands.any(dim=1).nonzero()[:, 0]  # bins that say how loud the speech is
        marked = from_bands.any(dim=0).nonzero()[:, 0]  # bins the mark lies in
        num_bins = self.hop + 1
        window, root = map(torch.from_numpy, (shaper.window, shaper.root))
        pattern = torch.from_numpy(state.pattern)[:, marked]
        constants = {
            "analysis": analysis_filters(window, 2 * self.hop)[
                torch.cat([heard, heard + num_bins])
            ],
            "to_bands": to_bands[heard],
            "from_bands": from_bands[:, marked],
            "pattern": torch.cat([pattern.real, pattern.imag], dim=1),  # (hops, 2 * bins)
            "synthesis": synthesis_filters(root)[torch.cat([marked, marked + num_bins])],
        }
        for name, value in constants.items():
            self.register_buffer(name, value.contiguous())

    def forward(self, samples: Tensor) -> Tensor:
        """Mark whole clips that begin together.

        samples: (batch, samples) float32; returns the same shape
        """
        hop, num_samples = self.hop, samples.shape[1]
        # A frame is the two hops before its own. The silence behind is more than it takes, so
        # that `torch.export` sees without any rounding that the mark is long enough.
        behind = samples.new_zeros(samples.shape[0], num_samples // 4)
        past = nn.functional.pad(torch.cat([samples, behind], dim=1)[:, None], (2 * hop, 0))
        spectrum = nn.functional.conv1d(past, self.get_buffer("analysis"), stride=hop)
        real, imaginary = spectrum.transpose(1, 2).chunk(2, dim=-1)  # (batch, hops, bins)
        level = self._level((real.square() + imaginary.square()) @ self.get_buffer("to_bands"))
        pattern = self.get_buffer("pattern")
        which = torch.arange(level.shape[1], device=level.device) % pattern.shape[0]
        shaped = torch.cat([level, level], dim=-1) * pattern[which]
        mark = nn.functional.conv_transpose1d(
            shaped.transpose(1, 2), self.get_buffer("synthesis"), stride=hop
        )
        return samples + mark[:, 0, :num_samples]

    def _level(self, bands: Tensor) -> Tensor:
        """(batch, hops, bins): how loud the mark may be, with the afterglow of louder hops."""
        glowing = bands
        for age in range(1, AFTERGLOW_HOPS + 1):
            earlier = nn.functional.pad(bands, (0, 0, age, 0))[:, : bands.shape[1]]
            glowing = torch.maximum(glowing, earlier * AFTERGLOW_FALL**age)
        return glowing.sqrt() @ self.get_buffer("from_bands")
