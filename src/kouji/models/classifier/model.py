"""The classifier as one module: samples in, logits out. Chooses the network; knows no files."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from kouji.models.classifier.config import ClassifierConfig
from kouji.models.classifier.convnext import ConvNext
from kouji.models.classifier.features import LogMel
from kouji.models.classifier.resnet import ResNet18
from kouji.models.classifier.tdnn import Tdnn
from kouji.models.classifier.two_conv import TwoConv

_NETWORKS: dict[str, Callable[[ClassifierConfig], nn.Module]] = {
    "two-conv": TwoConv,
    "resnet18": ResNet18,
    "convnext": ConvNext,
    "tdnn": Tdnn,
}


class SoundModel(nn.Module):
    """Log-mel and network of one config. Its state dict holds the network only.

    The network may be cast to half precision; features and logits stay float32.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.features = LogMel(config)
        self.network = make_network(config)

    def forward(self, sound: Tensor) -> Tensor:
        """Hear windows: returns (batch, classes) float32 logits.

        sound: (batch, samples); or the (batch, 1, mels, frames) of `features`, for training, which
               changes them in between and has to enter here to find sharded weights gathered
        """
        return self.classify_mel(sound if sound.dim() == 4 else self.features(sound))

    def classify_mel(self, mel: Tensor) -> Tensor:
        """mel: (batch, 1, mels, frames) of `features`; returns (batch, classes) float32 logits."""
        dtype = next(self.network.parameters()).dtype
        logits: Tensor = self.network(mel.to(dtype))
        return logits.float()


def make_network(config: ClassifierConfig) -> nn.Module:
    """The network alone: (batch, 1, mels, frames) to (batch, classes), any number of frames.

    Each has a last layer named `head`, the only one whose shape depends on the labels.
    """
    return _NETWORKS[config.architecture](config)
