"""HuBERT: 16 kHz speech to the features that GPT-SoVITS' semantic tokens are drawn from.

The network is the `transformers` library's, opened from a directory in its layout
("chinese-hubert-base"). Samples enter raw: no mean or variance is taken out, as the models
were trained that way. Always float32: tokens are nearest neighbours and must not flip.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kouji.errors import UsageError
from kouji.models.gpt_sovits import pretrained
from kouji.models.optional import missing_library
from kouji.models.unfilled import without_initial_values

SAMPLE_RATE = 16000
_log = logging.getLogger(__name__)
# What files of other HuBERT classes hold besides the encoder, and what only training needs.
_HEADS = ("lm_head.", "classifier.", "projector.", "final_proj.", "label_embs_concat")
_TRAINING = ("masked_spec_embed",)


class Hubert:
    """The network on one device; safe to call from several threads.

    num_channels: of the features, 768 in the base size
    hop_samples:  samples per frame, 320
    """

    def __init__(self, network: Any) -> None:
        self.network = network
        config = network.config
        self.num_channels: int = config.hidden_size
        self._layers = tuple(zip(config.conv_kernel, config.conv_stride, strict=True))
        self.hop_samples = 1
        for _, stride in self._layers:
            self.hop_samples *= stride

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu") -> Hubert:
        """Open a directory with config.json and model.safetensors or pytorch_model.bin.

        raises: ModelError for what is missing or does not fit, UsageError without transformers
        """
        folder = Path(folder)
        values = pretrained.read_config(folder)
        try:
            from transformers.models.hubert.configuration_hubert import HubertConfig
            from transformers.models.hubert.modeling_hubert import HubertModel
        except ImportError as error:
            raise missing_library("transformers", "GPT-SoVITS", error) from error
        # Without masking there is no masked_spec_embed, which files may lack.
        without_masks = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "return_dict": True}
        config = pretrained.make_config(HubertConfig, {**values, **without_masks})
        with without_initial_values():
            network: Any = HubertModel(config)
        pretrained.fill(network, pretrained.read_folder_tensors(folder, _our_name), "HuBERT")
        _fold_weight_norm(network)
        _log.debug("HuBERT of %d layers from %s", config.num_hidden_layers, folder)
        return cls(network.to(device))

    @property
    def num_bytes(self) -> int:
        """Memory of the weights."""
        return sum(each.numel() * each.element_size() for each in self.network.parameters())

    def count_frames(self, num_samples: int) -> int:
        """Frames that `num_samples` samples give, at most one per `hop_samples`."""
        for kernel, stride in self._layers:
            num_samples = max(0, (num_samples - kernel) // stride + 1)
        return num_samples

    @torch.inference_mode()
    def features(self, samples: Tensor) -> Tensor:
        """The last hidden state.

        samples: (batch, samples) float32 at 16 kHz in [-1, 1], of equal length
        returns: (batch, channels, frames) float32 on the device of the network
        """
        if samples.dim() != 2 or self.count_frames(samples.shape[1]) == 0:
            raise UsageError(
                "HuBERT needs a batch of waveforms of at least one window",
                seen=tuple(samples.shape),
                allowed=f"(batch, samples), {self.window_samples} samples or more",
            )
        device = next(self.network.parameters()).device
        hidden: Tensor = self.network(samples.float().to(device)).last_hidden_state
        return hidden.transpose(1, 2)

    @property
    def window_samples(self) -> int:
        """Samples the first frame looks at, 400."""
        num_samples = 1
        for kernel, stride in reversed(self._layers):
            num_samples = (num_samples - 1) * stride + kernel
        return num_samples


def _our_name(name: str) -> str | None:
    name = pretrained.canonical(name.removeprefix("hubert."))
    return None if name.startswith((*_HEADS, *_TRAINING)) else name


def _fold_weight_norm(network: Any) -> None:
    """Keep g * v / |v| of the positional convolution, instead of making it on every call."""
    from torch.nn.utils import parametrize

    convolution = getattr(network.encoder.pos_conv_embed, "conv", None)
    if convolution is not None and parametrize.is_parametrized(convolution, "weight"):
        parametrize.remove_parametrizations(convolution, "weight")
        convolution.requires_grad_(False)
