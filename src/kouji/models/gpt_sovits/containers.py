"""What a GPT-SoVITS file is: which network, which version, fine-tuned or official.

Told by content: names and shapes of the tensors decide, the tag in the place of the archive's
`PK` and the config only where shapes say nothing. The official code goes by hash, tag and file
size instead; `upstream_version` repeats its order for reports. Nothing in a file is executed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from kouji.errors import ModelError
from kouji.models.archives.pickles import printable
from kouji.models.archives.torch_files import TorchFile, load_torch_file
from kouji.models.gpt_sovits.config import V1_PHONES, V2_PHONES, VERSIONS

PRO_CHANNELS, PLUS_CHANNELS = 512, 768  # of the generators of v2Pro (as v2) and v2ProPlus

KIND_NAMES = {
    "t2s": "T2S (GPT) weights",
    "sovits": "SoVITS weights",
    "discriminator": "a SoVITS discriminator, needed only to train",
    "eres2net": "the speaker network ERes2NetV2",
    "vocoder": "a vocoder of v3 or v4",
    "hubert": "HuBERT weights",
    "bert": "BERT weights",
    "resume": "a training state, only to resume training",
}


class Tag(NamedTuple):
    """What two characters in the place of `PK` mean."""

    version: str
    is_lora: bool = False


TAGS = {
    "00": Tag("v1"),
    "01": Tag("v2"),
    "02": Tag("v3"),
    "03": Tag("v3", is_lora=True),
    "04": Tag("v4", is_lora=True),
    "05": Tag("v2Pro"),
    "06": Tag("v2ProPlus"),
}

# MD5 of the first 8192 bytes of the published generators, and what the official code takes the
# file for. It calls s2G488k v2; its table of 322 phones then makes it v1.
HEAD_BYTES = 8192
KNOWN_HEADS = {
    "dc3c97e17592963677a4a1681f30c653": ("s2G488k.pth", "v2"),
    "43797be674a37c1c83ee81081941ed0f": ("s2Gv3.pth", "v3"),
    "6642b37f3dbb1f76882b69937c95a5f3": ("s2G2333k.pth", "v2"),
    "4f26b9476d0c5033e04162c486074374": ("s2Gv4.pth", "v4"),
    "c7e9fce2223f3db685cdfa1e6368728a": ("s2Gv2Pro.pth", "v2Pro"),
    "66b313e39455b57ab1b0bc0b239c9d0a": ("s2Gv2ProPlus.pth", "v2ProPlus"),
}
_V1_BYTES, _V2_BYTES = 82_978 * 1024, 700 * 1024 * 1024  # upstream's guess by file size


@dataclass(frozen=True)
class RawCheckpoint:
    """One opened file, its tensors still on the disk.

    kind:    a key of `KIND_NAMES`
    version: v1, v2, v2Pro, v2ProPlus, v3 or v4; of a T2S v1 or v2 (v2 serves all later ones);
             empty where a kind has no versions
    is_lora: only the difference to a base model
    config:  the training configuration, plain
    weight:  tensors by upstream's names, views of the mapped file
    info:    what training wrote about itself, such as "8epoch_496iteration"
    tag:     the two characters in the place of `PK`, if any
    """

    kind: str
    version: str
    is_lora: bool
    config: Mapping[str, Any]
    weight: Mapping[str, Tensor] = field(repr=False)
    info: str
    path: Path
    tag: str | None = None

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the file, in hexadecimal digits; read when first asked for."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def title(self) -> str:
        """What the file is, for people."""
        name = KIND_NAMES[self.kind]
        version = f" {self.version}" if self.version else ""
        return name + version + (" (LoRA)" if self.is_lora else "")

    @property
    def symbols(self) -> str:
        """Version of the phone table it was trained with: v1, or v2 for all later ones."""
        return "v1" if self.version == "v1" else "v2"

    @property
    def num_numbers(self) -> int:
        """Numbers in all tensors."""
        return sum(tensor.numel() for tensor in self.weight.values())


def read_checkpoint(path: str | Path, kind: str | None = None) -> RawCheckpoint:
    """Open a file and tell what it is.

    kind:   what the caller needs; another kind is an error that says what was given
    raises: ModelError for what is no checkpoint, hostile, or of another kind
    """
    path = Path(path)
    opened = load_torch_file(path)
    checkpoint = _identify(path, opened)
    if kind is not None:
        require_kind(checkpoint, kind)
    return checkpoint


def require_kind(checkpoint: RawCheckpoint, kind: str) -> None:
    """Raise ModelError unless the checkpoint is of this kind, with advice on what it is."""
    if checkpoint.kind == kind:
        return
    if checkpoint.kind == "resume":
        cure = "give the exported file, in GPT_weights* or SoVITS_weights*, not the one in logs"
    elif {checkpoint.kind, kind} == {"t2s", "sovits"}:
        cure = "the two files are swapped: T2S files end in .ckpt, SoVITS files in .pth"
    else:
        cure = "check the path"
    raise ModelError(
        "a file of another kind was given",
        seen=f"{checkpoint.path}: {checkpoint.title}",
        allowed=KIND_NAMES[kind],
        cure=cure,
    )


def require_speakable(checkpoint: RawCheckpoint) -> None:
    """Raise ModelError for versions this release does not speak: v3, v4 and their LoRA files."""
    if checkpoint.version in (*VERSIONS, ""):
        return
    raise ModelError(
        f"GPT-SoVITS {checkpoint.version} is recognised but not spoken yet",
        seen=f"{checkpoint.path}: {checkpoint.title}",
        allowed=", ".join(VERSIONS) + "; v3 and v4 come later",
        cure="use weights of another version of this voice",
    )


def require_pair(t2s: str, sovits: str, seen: str) -> None:
    """Raise ModelError unless T2S and SoVITS weights were trained with the same phone table.

    t2s, sovits: versions of their tables, see `RawCheckpoint.symbols`
    seen:        the two files, for the message
    """
    if t2s != sovits:
        raise ModelError(
            "T2S and SoVITS weights do not belong together",
            seen=f"{seen}: T2S of {t2s}, SoVITS of {sovits}",
            allowed="both of v1, or both of v2 and later",
            cure="give both --t2s and --sovits of one version, or a --model of that version",
        )


class UpstreamVerdict(NamedTuple):
    """What the official code takes a SoVITS file for.

    symbols: version of the phone table
    model:   version of the network
    reason:  which of its rules decided: hash, tag or size
    """

    symbols: str
    model: str
    reason: str


def upstream_version(checkpoint: RawCheckpoint) -> UpstreamVerdict:
    """Repeat the official order: hash of the head, tag, file size; then rows of the phone table."""
    with checkpoint.path.open("rb") as file:
        head = hashlib.md5(file.read(HEAD_BYTES), usedforsecurity=False).hexdigest()
    num_bytes = checkpoint.path.stat().st_size
    if head in KNOWN_HEADS:
        model, reason = KNOWN_HEADS[head][1], f"hash of {KNOWN_HEADS[head][0]}"
    elif checkpoint.tag in TAGS:
        model, reason = TAGS[checkpoint.tag].version, f"tag {checkpoint.tag}"
    else:
        model = "v1" if num_bytes < _V1_BYTES else "v2" if num_bytes < _V2_BYTES else "v3"
        reason = f"size of {num_bytes} bytes"
    table = checkpoint.weight.get("enc_p.text_embedding.weight")
    symbols = "v1" if table is not None and table.shape[0] == V1_PHONES else "v2"
    # The table has the last word on v1 and v2, which the size can only guess.
    return UpstreamVerdict(symbols, symbols if model in ("v1", "v2") else model, reason)


def _identify(path: Path, opened: TorchFile) -> RawCheckpoint:
    content = opened.content
    if not isinstance(content, dict):
        raise _unknown(path, f"holds {type(content).__name__}")
    resumed = _training_state(content)
    if resumed is not None:
        weight, info = resumed
        return RawCheckpoint("resume", "", False, {}, weight, info, path, opened.tag)
    is_container = "weight" in content
    weight = content["weight"] if is_container else content.get("generator", content)
    if not isinstance(weight, dict) or not all(isinstance(t, Tensor) for t in weight.values()):
        raise _unknown(path, f"its entries are {_some(content)}")
    config = content.get("config", {}) if is_container else {}
    kind = _kind(weight)
    if kind is None or (kind in ("t2s", "sovits") and not is_container):
        raise _unknown(path, f"its tensors are {_some(weight)}")
    if not isinstance(config, dict) or (kind in ("t2s", "sovits") and not config):
        raise ModelError(
            "this checkpoint has lost its config",
            seen=path,
            allowed="weight, config and info, as GPT-SoVITS exports them",
            cure="export it again",
        )
    info = printable(str(content.get("info", ""))) if is_container else ""
    version, is_lora = "", False
    if kind == "t2s":
        version = _t2s_version(weight)
    elif kind == "sovits":
        is_lora = "lora_rank" in content or any(".lora_A." in name for name in weight)
        version = _sovits_version(path, weight, config, opened.tag, is_lora)
    return RawCheckpoint(kind, version, is_lora, config, weight, info, path, opened.tag)


def _training_state(content: Mapping[str, Any]) -> tuple[dict[str, Tensor], str] | None:
    """Weights and description of a file that only resumes training; None for any other."""
    for entry, marks in (
        ("state_dict", ("optimizer_states", "pytorch-lightning_version", "epoch")),
        ("model", ("optimizer", "iteration")),
    ):
        weight = content.get(entry)
        if isinstance(weight, dict) and any(mark in content for mark in marks):
            tensors = {name: value for name, value in weight.items() if isinstance(value, Tensor)}
            network = KIND_NAMES.get(_kind(tensors) or "", "an unknown network")
            return tensors, f"training state of {network.partition(',')[0]}"
    return None


def _kind(weight: Mapping[str, Any]) -> str | None:
    """Which network has tensors of these names."""
    firsts = {str(name).partition(".")[0] for name in weight}
    if "discriminators" in firsts:
        return "discriminator"
    if "model.ar_text_embedding.word_embeddings.weight" in weight:
        return "t2s"
    if firsts & {"enc_p", "cfm", "ref_enc"}:
        return "sovits"
    if any(str(name).startswith("layer1.0.convs.") for name in weight):
        return "eres2net"
    if {"conv_pre", "ups", "resblocks"} <= firsts:
        return "vocoder"
    if firsts & {"feature_extractor", "hubert"}:
        return "hubert"
    return "bert" if firsts & {"bert", "embeddings"} else None


def _t2s_version(weight: Mapping[str, Tensor]) -> str:
    table = weight["model.ar_text_embedding.word_embeddings.weight"]
    return "v1" if table.shape[0] < V2_PHONES else "v2"


def _sovits_version(
    path: Path, weight: Mapping[str, Tensor], config: Mapping[str, Any], tag: str | None,
    is_lora: bool,
) -> str:  # fmt: skip
    tagged = TAGS[tag].version if tag in TAGS else None
    named = _named_version(config)
    if is_lora or any(name.startswith("cfm.") for name in weight):
        later = [version for version in (tagged, named, _head_version(path)) if version]
        return next((version for version in later if version in ("v3", "v4")), "v3")
    return tell_version(weight, (tagged, named))


def tell_version(weight: Mapping[str, Tensor], named: Collection[str | None] = ()) -> str:
    """v1, v2, v2Pro or v2ProPlus by what the tensors of a SoVITS show.

    named: versions that tag and config name; asked only where no shape tells
    """
    if "sv_emb.weight" in weight:
        first = weight.get("dec.conv_pre.weight")
        channels = 0 if first is None else first.shape[0]
        if channels in (PRO_CHANNELS, PLUS_CHANNELS):
            return "v2Pro" if channels == PRO_CHANNELS else "v2ProPlus"
        return "v2ProPlus" if "v2ProPlus" in named else "v2Pro"  # unusual widths, as in tests
    table = weight.get("enc_p.text_embedding.weight")
    return "v1" if table is not None and table.shape[0] == V1_PHONES else "v2"


def _named_version(config: Mapping[str, Any]) -> str | None:
    """The version the config names, in its section `model` or beside it."""
    model = config.get("model")
    inner = model.get("version") if isinstance(model, dict) else None
    named = inner or config.get("version")
    return named if isinstance(named, str) else None


def _head_version(path: Path) -> str | None:
    with path.open("rb") as file:
        head = hashlib.md5(file.read(HEAD_BYTES), usedforsecurity=False).hexdigest()
    return KNOWN_HEADS[head][1] if head in KNOWN_HEADS else None


def _unknown(path: Path, seen: str) -> ModelError:
    return ModelError(
        "this is no checkpoint of GPT-SoVITS",
        seen=f"{path}: {seen}",
        allowed="exported T2S (.ckpt) and SoVITS (.pth) weights, ERes2NetV2",
        cure="check the path; kouji load-check says what a folder holds",
    )


def _some(content: Mapping[Any, Any]) -> str:
    names = [printable(str(name), 40) for name in list(content)[:4]]
    return ", ".join(names) + (", ..." if len(content) > 4 else "") if names else "none"
