"""The YAML as plain data, and the sizes that are read from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_cosyvoice import Version, tiny_config, write_tokenizer, yaml_text

from kouji.errors import ModelError
from kouji.models.cosyvoice.files.model_yaml import read_config
from kouji.models.cosyvoice.files.plain_yaml import MAX_BYTES, parse_yaml

VERSIONS: tuple[Version, ...] = ("cosyvoice3", "cosyvoice2")


def parsed(text: str) -> dict[str, Any]:
    return parse_yaml(text, "model.yaml")


class TestPlainData:
    """Nothing is constructed, references are resolved, and what has no end is refused."""

    def test_tags_leave_what_they_stand_before(self) -> None:
        text = """
            a: !new:os.system
                command: touch /tmp/never
            b: !apply:os.system [touch /tmp/never]
            c: !name:os.system
            d: !include:/etc/passwd
            e: !something 5
            f: !new:collections.Counter
                - 1
        """
        assert parsed(text) == {
            "a": {"command": "touch /tmp/never"},
            "b": ["touch /tmp/never"],
            "c": {},
            "d": {},
            "e": "5",
            "f": [1],
        }

    @pytest.mark.parametrize("tag", ["object/apply:os.system", "name:os.system", "object:a.B"])
    def test_code_in_the_yaml_of_python_is_refused(self, tag: str) -> None:
        with pytest.raises(ModelError, match="asks for code"):
            parsed(f"a: !!python/{tag} [echo]")

    @pytest.mark.parametrize(
        ("expression", "value"),
        [
            ("<a>", 6),
            (" <a> ", 6),
            ("<a> * <b>", 24),
            ("<a> + <b> * 2", 14),
            ("(<a> + <b>) * 2", 20),
            ("<a> - <minus>", 8),
            ("<a> / <b>", 1.5),
            ("<a> // <b>", 1),
            ("<a> % <b>", 2),
            ("-<a>", -6),
            ("<small> * 2", 2e-6),
            ("1e3 * <a>", 6000.0),
            ("<word>/file", "some/file"),
            ("<word>-<a>", "some-6"),
            ("<deep[x][1]>", 20),
            ("<deep[x][1]> * <deep[y]>", 120),
            ("<deep>", {"x": [10, 20], "y": 6}),
            ("<nothing>", None),
        ],
    )
    def test_references(self, expression: str, value: object) -> None:
        text = f"""
            result: !ref {expression}
            a: 6
            b: 4
            minus: -2
            small: 1e-06
            word: some
            nothing: null
            deep:
                x: [10, 20]
                y: !ref <a>
        """
        assert parsed(text)["result"] == value

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("a: !ref <b>", "refers to b"),
            ("a: !ref <b[c]>\nb: {d: 1}", "refers to c, there is d"),
            ("a: !ref <b[3]>\nb: [1]", "refers to 3"),
            ("a: !ref <a>", "circle: a -> a"),
            ("a: !ref <b>\nb: !ref <c> + 1\nc: !ref <b>", "circle: b -> c -> b"),
            ("a: {x: !ref '<a>'}", "circle: a -> a"),
            ("a: !ref 5", "names nothing"),
            ("a: 1\nb: !ref <a> /", "cannot be calculated"),
            ("a: 0\nb: !ref 1 / <a>", "cannot be calculated"),
            ("a: 9\nb: !ref <a> ** <a>", "cannot be calculated"),
            ("a: 1e15\nb: !ref <a> * <a>", "absurdly large"),
            ("a: [1]\nb: !ref <a> + 1", "joins text"),
            ("a: 1\na: 2", "twice"),
            ("- 1", "no mapping"),
            ("", "no mapping"),
            ("a: [", "model.yaml"),
            ("a: \x00", "model.yaml"),
            ("a: *b", "undefined alias"),
            ("a: &a [*a]", "without end"),
            ("? [1]\n: 2", "no plain word"),
            ("a: " + "[" * 60 + "]" * 60, "without end"),
            ("- " * 1_500 + "x", "without end"),
            ("a: 1 #" + " " * MAX_BYTES, "bytes"),
        ],
    )
    def test_faults_are_named(self, text: str, said: str) -> None:
        with pytest.raises(ModelError, match=said):
            parsed(text)

    def test_not_text_at_all(self) -> None:
        with pytest.raises(ModelError, match=r"model\.yaml"):
            parse_yaml(b"a: \xff\xfe\xfa", "model.yaml")

    def test_bombs_are_refused(self) -> None:
        """Aliases and references that double at each level."""
        aliases = "a0: &a0 [x, x]\n" + "".join(
            f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(20)
        )
        with pytest.raises(ModelError, match="repeated without end"):
            parsed(aliases)
        words = "a0: xxxxxxxx\n" + "".join(f"a{n + 1}: !ref <a{n}><a{n}>\n" for n in range(60))
        with pytest.raises(ModelError, match="absurdly long"):
            parsed(words)
        shared = "a0: [1]\n" + "".join(
            f"a{n + 1}: [!ref '<a{n}>', !ref '<a{n}>']\n" for n in range(30)
        )
        assert parsed(shared)["a1"] == [[1], [1]]

    def test_aliases_and_merging_of_honest_files(self) -> None:
        text = "base: &base {x: 1, y: 2}\nother: {<<: *base, y: 3}\nsame: *base"
        assert parsed(text)["other"] == {"x": 1, "y": 3}
        assert parsed(text)["same"] == {"x": 1, "y": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path / "CosyVoice-BlankEN", tiny_config().lm)
    return tmp_path


def written(folder: Path, version: Version, old: str = "", new: str = "") -> Path:
    """The YAML of a version, with one piece of it exchanged."""
    text = yaml_text(version)
    assert old in text
    (folder / f"{version}.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    return folder


class TestSizes:
    """From file to `CosyVoiceConfig`."""

    @pytest.mark.parametrize("version", VERSIONS)
    def test_the_tiny_files(self, folder: Path, version: Version) -> None:
        assert read_config(written(folder, version)) == tiny_config(version)

    def test_the_golden_file(self, shared_dir: Path) -> None:
        config = read_config(shared_dir / "goldens" / "cosyvoice3")
        facts = json.loads((shared_dir / "goldens/cosyvoice3/llm/config.json").read_text())
        assert config.lm.end_of_prompt == facts["endofprompt_id"]
        assert config.lm.text_rows == facts["qwen"]["vocab_size"]
        assert config.flow == tiny_config().flow
        assert config.hift == tiny_config().hift

    @pytest.mark.parametrize(
        ("version", "old", "new", "said"),
        [
            ("cosyvoice3", "sample_rate: 24000", "sample_rate: 22050", "sample_rate is 22050"),
            ("cosyvoice3", "solver: 'euler'", "solver: 'midpoint'", "solver is 'midpoint'"),
            ("cosyvoice3", "'cosine'", "'linear'", "t_scheduler is 'linear'"),
            ("cosyvoice3", "n_fft: 16", "n_fft: 32", r"hift\.istft_params\.n_fft is 32"),
            ("cosyvoice3", "n_fft: 1920", "n_fft: 1024", r"feat_extractor\.n_fft is 1024"),
            ("cosyvoice3", "hop_size: 480", "hop_size: 256", "hop_size is 256"),
            ("cosyvoice3", "num_mels: 80", "num_mels: 100", "num_mels is 100"),
            ("cosyvoice3", "[[1, 3, 5], [1, 3, 5], [1, 3, 5]]", "[[1, 3, 5]]", "3 of them"),
            ("cosyvoice3", "[[1, 3, 5], [1, 3, 5], [1, 3, 5]]", "[1, 3, 5]", "lists of whole"),
            ("cosyvoice3", "[8, 5, 3]", "[8, 5, 4]", "a product of 120"),
            ("cosyvoice3", "[16, 11, 7]", "[16, 11]", "upsample_kernel_sizes"),
            ("cosyvoice3", "[16, 11, 7]", "[4, 11, 7]", "shorter than its rate"),
            ("cosyvoice3", "[3, 7, 11]", "[3, 6, 11]", "odd"),
            ("cosyvoice3", "look_right: 4", "look_right: 3", "conv_pre_look_right is 3"),
            (
                "cosyvoice3",
                "pre_lookahead_len: 3",
                "pre_lookahead_len: 4",
                "pre_lookahead_len is 4",
            ),
            ("cosyvoice3", "vocab_size: 81", "vocab_size: 80", r"flow\.vocab_size is 80"),
            ("cosyvoice3", "depth: 2", "depth: two", r"estimator\.depth is 'two'"),
            ("cosyvoice3", "depth: 2", "depth: 0", r"estimator\.depth is 0"),
            ("cosyvoice3", "depth: 2", "depth: 1.5", r"estimator\.depth is 1\.5"),
            ("cosyvoice3", "            depth: 2\n", "", r"estimator\.depth is missing"),
            ("cosyvoice3", "dim: 64", "dim: 65", "multiple of 16"),
            ("cosyvoice3", "<chunk_size> * <token_mel_ratio>", "<chunk_size>", "multiple of 2"),
            (
                "cosyvoice3",
                "inference_cfg_rate: 0.7",
                "inference_cfg_rate: .nan",
                "cfg_rate is nan",
            ),
            ("cosyvoice3", "mix_ratio: [5, 15]", "mix_ratio: [5]", "mix_ratio"),
            ("cosyvoice3", "llm_output_size: 32", "llm_output_size: 64", "llm_output_size is 64"),
            ("cosyvoice3", "top_p: 0.8", "top_p: 1.8", "from 0 to 1"),
            ("cosyvoice3", "top_k: 25", "top_k: true", "top_k is True"),
            ("cosyvoice3", "version: cosyvoice3", "version: cosyvoice2", r"get_tokenizer\.version"),
            ("cosyvoice3", "fmax: null", "fmax: 50000", "fmax is 50000"),
            ("cosyvoice3", "fmax: null", "fmax: 11025", "fmax is 11025.*null, 8000 or 12000"),
            ("cosyvoice2", "use_cnn_module: False", "use_cnn_module: True", "use_cnn_module"),
            ("cosyvoice2", "'gelu'", "'snake'", "act_fn is 'snake'"),
            ("cosyvoice2", "channels: [32]", "channels: [32, 32]", "one level"),
            ("cosyvoice2", "attention_heads: 4", "attention_heads: 5", "a divisor of 32"),
            ("cosyvoice2", "chunk_size: !ref <chunk_size>", "chunk_size: 7", "chunk_size is 7"),
            ("cosyvoice2", "'rel_pos_espnet'", "'abs_pos'", "pos_enc_layer_type is 'abs_pos'"),
        ],
    )
    def test_what_our_networks_do_not_have_is_named(
        self, folder: Path, version: Version, old: str, new: str, said: str
    ) -> None:
        with pytest.raises(ModelError, match=said):
            read_config(written(folder, version, old, new))

    @pytest.mark.parametrize(
        ("name", "value", "said"),
        [
            ("model_type", "llama", "model_type is 'llama'"),
            ("hidden_act", "gelu", "hidden_act"),
            ("rope_scaling", {"type": "yarn"}, "rope_scaling"),
            ("num_key_value_heads", 3, "a divisor of 4"),
            ("num_attention_heads", 5, "a divisor of 32"),
            ("vocab_size", 600, "more than"),
            ("rms_norm_eps", None, "rms_norm_eps is missing"),
            ("hidden_size", 64, "llm_input_size is 32"),
        ],
    )
    def test_so_are_values_of_the_language_model(
        self, folder: Path, name: str, value: object, said: str
    ) -> None:
        path = written(folder, "cosyvoice3") / "CosyVoice-BlankEN" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
        with pytest.raises(ModelError, match=said):
            read_config(folder)

    def test_rotations_as_later_libraries_write_them(self, folder: Path) -> None:
        path = written(folder, "cosyvoice3") / "CosyVoice-BlankEN" / "config.json"
        values = json.loads(path.read_text())
        del values["rope_theta"]
        values["rope_parameters"] = {"rope_theta": 5e5, "rope_type": "default"}
        path.write_text(json.dumps(values))
        assert read_config(folder).lm.rope_theta == 5e5
        values["rope_parameters"]["rope_type"] = "yarn"
        path.write_text(json.dumps(values))
        with pytest.raises(ModelError, match="rope_type is 'yarn'"):
            read_config(folder)

    def test_the_first_recipe_of_version_2(self, folder: Path) -> None:
        """It had no chunk size of its own, and named the encoder's otherwise."""
        text = yaml_text("cosyvoice2").replace("chunk_size: 5\n", "", 1)
        text = text.replace(
            "static_chunk_size: !ref <chunk_size> * <token_mel_ratio>",
            "static_chunk_size: !ref <token_frame_rate> * <token_mel_ratio> # of the cache",
        ).replace("static_chunk_size: !ref <chunk_size>", "use_dynamic_chunk: True")
        (folder / "cosyvoice2.yaml").write_text(text.replace("chunks: -1", "chunks: 2"))
        assert read_config(folder).flow.chunk_tokens == 25

    def test_the_order_of_the_official_code(self, folder: Path) -> None:
        """Version 2's file goes before version 3's; the first generation is refused."""
        with pytest.raises(ModelError, match="no CosyVoice model"):
            read_config(folder)
        written(folder, "cosyvoice3")
        written(folder, "cosyvoice2")
        assert read_config(folder).version == "cosyvoice2"
        (folder / "cosyvoice.yaml").write_text("sample_rate: 22050")
        with pytest.raises(ModelError, match=r"300M.*kouji pull cosyvoice3"):
            read_config(folder)

    def test_a_yaml_of_the_other_version(self, folder: Path) -> None:
        (folder / "cosyvoice3.yaml").write_text(yaml_text("cosyvoice2"))
        with pytest.raises(ModelError, match=r"cosyvoice3\.yaml"):
            read_config(folder)

    def test_a_broken_config_of_the_language_model(self, folder: Path) -> None:
        path = written(folder, "cosyvoice3") / "CosyVoice-BlankEN" / "config.json"
        for content in ("{", "[1]", "[" * 50_000, " " * 100_000):
            path.write_text(content)
            with pytest.raises(ModelError, match=r"config\.json"):
                read_config(folder)
