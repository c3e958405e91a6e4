"""`kouji pull` against a hub on this machine that serves, breaks off, lies, redirects, refuses."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from local_hub import COMMIT, FILES, Hub, listing, running_hub, sha256, use
from tiny_cosyvoice import make_tiny_cosyvoice

from kouji.config import Settings, load_settings
from kouji.errors import ModelError, UsageError
from kouji.hub import pull
from kouji.hub.catalogue import HUBS, load_catalogue
from kouji.hub.download import Downloader, Expected
from kouji.hub.sources import Source, choose_source


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub that listens on this machine."""
    with running_hub() as state:
        yield state


@pytest.fixture
def small_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, listing())


@pytest.fixture
def settings(tmp_path: Path, hub: Hub) -> Settings:
    return Settings(home=tmp_path / "home", hub_endpoint=hub.endpoint)


class Counter:
    """A watcher that counts."""

    def __init__(self) -> None:
        self.total, self.now, self.names = 0, 0, []

    def begin(self, num_bytes: int) -> None:
        self.total = num_bytes

    def file(self, path: str) -> None:
        self.names.append(path)

    def advance(self, num_bytes: int) -> None:
        self.now += num_bytes


def fetch(name: str, settings: Settings, watcher: Counter | None = None) -> pull.Pulled:
    """Pull without waiting between tries."""
    return pull.pull(name, settings, watcher, sleep=lambda _: None)


def require_whole(folder: Path, names: list[str] | None = None) -> None:
    """Every file is there with its content, and nothing else is."""
    wanted = {name: FILES[name] for name in names or FILES}
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    record = json.loads(found.pop(pull.LOCK_FILE))
    assert found == wanted
    assert {name: facts["sha256"] for name, facts in record["files"].items()} == {
        name: sha256(data) for name, data in wanted.items()
    }


@pytest.mark.usefixtures("small_catalogue")
class TestPull:
    """A whole model."""

    def test_a_model_arrives_whole_and_recorded(self, hub: Hub, settings: Settings) -> None:
        watcher = Counter()
        assert pull.state_of(settings.home, "big") == "absent"
        done = fetch("big", settings, watcher)
        assert done.folder == settings.home / "models" / "big"
        assert done.fetched == tuple(FILES)
        require_whole(done.folder)
        assert watcher.total == watcher.now == sum(map(len, FILES.values()))
        assert pull.state_of(settings.home, "big") == "complete"
        assert pull.installed(settings.home) == [done.folder]
        record = json.loads((done.folder / pull.LOCK_FILE).read_text())
        assert (record["revision"], record["repo"]) == (COMMIT, "some/voices")
        assert {facts["proof"] for facts in record["files"].values()} == {"catalogue"}
        assert hub.asked[0][1] == f"/some/voices/resolve/{COMMIT}/s1=v3.ckpt"

    def test_a_second_pull_only_checks(self, hub: Hub, settings: Settings) -> None:
        fetch("big", settings)
        hub.asked.clear()
        assert fetch("big", settings).fetched == ()
        assert not hub.asked

    def test_damaged_and_lost_files_are_fetched_again(self, hub: Hub, settings: Settings) -> None:
        folder = fetch("big", settings).folder
        (folder / "s1=v3.ckpt").write_bytes(b"damaged")
        (folder / "v2Pro/s2G.pth").unlink()
        assert fetch("big", settings).fetched == ("s1=v3.ckpt", "v2Pro/s2G.pth")
        require_whole(folder)

    def test_redirects_are_followed(self, hub: Hub, settings: Settings) -> None:
        hub.redirects = True
        require_whole(fetch("big", settings).folder)

    def test_shared_files_are_fetched_once(self, hub: Hub, settings: Settings) -> None:
        fetch("big", settings)
        hub.asked.clear()
        done = fetch("small", settings)
        assert done.fetched == ()
        assert not hub.asked
        require_whole(done.folder, list(FILES)[1:])

    def test_nothing_half_done_bears_the_name_of_a_model(
        self, hub: Hub, settings: Settings
    ) -> None:
        del hub.files["hubert/config.json"]
        with pytest.raises(
            ModelError, match=r"does not have this file.*hubert/config\.json.*--hub"
        ):
            fetch("big", settings)
        assert not (settings.home / "models" / "big").exists()
        assert pull.state_of(settings.home, "big") == "begun"
        hub.files["hubert/config.json"] = FILES["hubert/config.json"]
        hub.asked.clear()
        assert fetch("big", settings).fetched == ("hubert/config.json",)
        assert len(hub.ranges()) == 1
        assert not (settings.home / "models" / ".pulling-big").exists()

    def test_a_broken_connection_is_continued(self, hub: Hub, settings: Settings) -> None:
        hub.breaks = [100_000, 300_000]
        watcher = Counter()
        require_whole(fetch("big", settings, watcher).folder)
        assert hub.ranges()[:3] == [None, "bytes=100000-", "bytes=400000-"]
        assert watcher.now == watcher.total

    def test_an_interrupted_pull_goes_on_in_the_next(self, hub: Hub, settings: Settings) -> None:
        hub.breaks = [500_000] + [0] * 10
        with pytest.raises(ModelError, match=r"broke too often.*continues"):
            fetch("big", settings)
        hub.breaks.clear()
        hub.asked.clear()
        watcher = Counter()
        require_whole(fetch("big", settings, watcher).folder)
        assert hub.ranges()[0] == "bytes=500000-"
        assert watcher.now == watcher.total

    def test_a_server_without_ranges_starts_again(self, hub: Hub, settings: Settings) -> None:
        hub.breaks, hub.knows_ranges = [100_000], False
        watcher = Counter()
        require_whole(fetch("big", settings, watcher).folder)
        assert watcher.now == watcher.total

    def test_another_version_on_the_server_starts_again(self, hub: Hub, settings: Settings) -> None:
        hub.breaks = [100_000] + [0] * 10
        with pytest.raises(ModelError):
            fetch("big", settings)
        part = settings.home / "models/.pulling-big/s1=v3.ckpt.part"
        part.write_bytes(b"\xff" * 100_000)
        hub.breaks, hub.mark = [], '"v2"'
        require_whole(fetch("big", settings).folder)

    def test_a_part_that_does_not_fit_is_thrown_away(self, hub: Hub, settings: Settings) -> None:
        folder = settings.home / "models/.pulling-big"
        folder.mkdir(parents=True)
        (folder / "s1=v3.ckpt.part").write_bytes(b"\xff" * 1000)
        (folder / "v2Pro").mkdir()
        (folder / "v2Pro/s2G.pth.part").write_bytes(b"\xff" * 10**6)
        watcher = Counter()
        require_whole(fetch("big", settings, watcher).folder)
        assert watcher.now == watcher.total

    def test_wrong_content_is_thrown_away(self, hub: Hub, settings: Settings) -> None:
        data = bytearray(FILES["v2Pro/s2G.pth"])
        data[7] ^= 1
        hub.files["v2Pro/s2G.pth"] = bytes(data)
        with pytest.raises(
            ModelError, match=r"s2G\.pth: sha256 .*allowed: " + sha256(FILES["v2Pro/s2G.pth"])
        ):
            fetch("big", settings)
        left = [path.name for path in (settings.home / "models").rglob("*s2G*")]
        assert not left

    @pytest.mark.parametrize("change", [b"", b"more"])
    def test_wrong_length_is_noticed(self, hub: Hub, settings: Settings, change: bytes) -> None:
        data = FILES["v2Pro/s2G.pth"]
        hub.files["v2Pro/s2G.pth"] = data + change if change else data[:-5]
        with pytest.raises(ModelError):
            fetch("big", settings)
        assert not list((settings.home / "models").rglob("s2G.pth"))

    @pytest.mark.parametrize("code", [401, 403])
    def test_gated_files_are_named(self, hub: Hub, settings: Settings, code: int) -> None:
        hub.refuses = code
        with pytest.raises(ModelError, match=f"without a login.*{code} for some/voices"):
            fetch("big", settings)

    def test_other_refusals_are_named(self, hub: Hub, settings: Settings) -> None:
        hub.refuses = 451
        with pytest.raises(ModelError, match=r"refuses this file.*451"):
            fetch("big", settings)

    def test_a_busy_server_is_waited_for(self, hub: Hub, settings: Settings) -> None:
        hub.statuses = [503, 429, 500]
        waits: list[float] = []
        done = pull.pull("big", settings, sleep=waits.append)
        require_whole(done.folder)
        assert waits == [7.0, 7.0, 7.0]

    def test_waits_grow_and_end(self, hub: Hub, settings: Settings) -> None:
        hub.breaks = [0] * 20
        waits: list[float] = []
        with pytest.raises(ModelError, match="broke too often"):
            pull.pull("big", settings, sleep=waits.append)
        assert waits == [1, 2, 4, 8, 16]

    def test_a_dead_hub_is_named(self, tmp_path: Path) -> None:
        settings = Settings(home=tmp_path, hub_endpoint="http://127.0.0.1:9")
        with pytest.raises(ModelError, match=r"127\.0\.0\.1:9.*mirror"):
            fetch("big", settings)

    def test_chunked_answers_are_read(self, hub: Hub, settings: Settings) -> None:
        hub.is_chunked, hub.mark, hub.breaks = True, 'W/"weak"', [100_000]
        require_whole(fetch("big", settings).folder)

    def test_offline_is_obeyed(self, hub: Hub, settings: Settings) -> None:
        offline = replace(settings, offline=True)
        with pytest.raises(UsageError, match=r"offline.*s1=v3\.ckpt.*KOUJI_OFFLINE"):
            fetch("big", offline)
        assert not hub.asked
        fetch("big", settings)
        hub.asked.clear()
        assert fetch("big", offline).fetched == ()
        assert not hub.asked

    def test_a_full_disk_is_told_before(
        self, hub: Hub, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(pull.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**6))
        with pytest.raises(ModelError, match=r"no room.*1 MB free.*allowed: 6\d MB"):
            fetch("big", settings)
        assert not hub.asked

    def test_two_pulls_at_once_fetch_each_file_once(self, hub: Hub, settings: Settings) -> None:
        hub.wait = threading.Event()
        done: list[pull.Pulled] = []
        threads = [
            threading.Thread(target=lambda: done.append(fetch("big", settings))) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        hub.wait.set()
        for thread in threads:
            thread.join()
        assert sorted(len(each.fetched) for each in done) == [0, 0, len(FILES)]
        assert len(hub.ranges()) == len(FILES)
        require_whole(done[0].folder)

    def test_a_damaged_record_is_named(self, settings: Settings) -> None:
        folder = fetch("big", settings).folder
        for text in ("{", "[]", '{"revision": 1}'):
            (folder / pull.LOCK_FILE).write_text(text)
            with pytest.raises(ModelError, match=r"record.*kouji\.lock\.json.*pull again"):
                fetch("big", settings)

    def test_modelscope_serves_the_same(self, hub: Hub, settings: Settings) -> None:
        done = fetch("big", replace(settings, hub="modelscope"))
        require_whole(done.folder)
        assert any(
            path == "/models/other/voices/resolve/master/s1=v3.ckpt" for _, path, _ in hub.asked
        )

    def test_unknown_names_list_the_known(self, settings: Settings) -> None:
        with pytest.raises(UsageError, match="allowed: big, small"):
            fetch("huge", settings)


@pytest.mark.parametrize("name", HUBS)
def test_what_the_catalogue_does_not_know_is_bound_to_the_first_pull(
    hub: Hub, settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """No hash, no size and a branch: the hub's word counts once, then the record."""
    files = {path: {"size": None, "sha256": None} for path in FILES}
    repo = {"repo": "some/voices", "revision": "main"}
    use(monkeypatch, listing(files=files, huggingface=repo))
    settings = replace(settings, hub=name)
    folder = fetch("big", settings).folder
    record = json.loads((folder / pull.LOCK_FILE).read_text())
    proofs = {path: facts["proof"] for path, facts in record["files"].items()}
    assert proofs["s1=v3.ckpt"] == "hub"
    if name == "huggingface":
        assert proofs["hubert/config.json"] == "first use"
        assert record["revision"] == COMMIT
    hub.files["hubert/config.json"] = b"another!"
    hub.asked.clear()
    (folder / "hubert/config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json: sha256"):
        fetch("big", settings)
    if name == "huggingface":
        assert all(f"/resolve/{COMMIT}/" in path for _, path, _ in hub.asked)
    hub.files["hubert/config.json"] = FILES["hubert/config.json"]
    require_whole(fetch("big", settings).folder)


def test_the_hub_may_not_serve_what_it_announced_otherwise(
    hub: Hub, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The hash a hub announces is checked against what it serves."""
    source = choose_source(
        "huggingface", hub.endpoint, load_catalogue()["gpt-sovits-v2"].places, ""
    )
    with httpx.Client() as client:
        facts = source.facts(client, "v2Pro/s2G.pth")
        assert (facts.sha256, facts.commit) == (sha256(FILES["v2Pro/s2G.pth"]), COMMIT)
        hub.files["v2Pro/s2G.pth"] = bytes(len(FILES["v2Pro/s2G.pth"]))
        downloader = Downloader(client, source, sleep=lambda _: None)
        with pytest.raises(ModelError, match="not what it must be"):
            downloader.fetch("v2Pro/s2G.pth", tmp_path / "x", Expected(facts.size, facts.sha256))


def test_wrong_ranges_do_not_join(tmp_path: Path) -> None:
    """A server that answers with another range than was asked, or an unknown one."""
    answers = iter(["bytes 3-9/10", "lines 1-2/3", "bytes 4-9/10"])

    def serve(request: httpx.Request) -> httpx.Response:
        if "Range" not in request.headers:
            return httpx.Response(200, content=b"0123456789", headers={"ETag": '"a"'})
        return httpx.Response(206, content=b"456789", headers={"Content-Range": next(answers)})

    part = tmp_path / "x.part"
    part.write_bytes(b"0123")
    (tmp_path / "x.etag").write_text('"a"')
    place = load_catalogue()["gpt-sovits-v2"].places["huggingface"]
    source = Source("huggingface", "http://hub", place)
    with httpx.Client(transport=httpx.MockTransport(serve)) as client:
        downloader = Downloader(client, source, sleep=lambda _: None)
        downloader.fetch("x", tmp_path / "x", Expected(None, sha256(b"0123456789")))
    assert (tmp_path / "x").read_bytes() == b"0123456789"


def test_a_secure_hub_may_not_redirect_to_an_open_one(tmp_path: Path) -> None:
    def serve(request: httpx.Request) -> httpx.Response:
        if request.url.scheme == "https":
            return httpx.Response(302, headers={"Location": "http://elsewhere/x"})
        return httpx.Response(200, content=b"x")

    place = load_catalogue()["gpt-sovits-v2"].places["huggingface"]
    source = Source("huggingface", "https://hub", place)
    with (
        httpx.Client(transport=httpx.MockTransport(serve)) as client,
        pytest.raises(ModelError, match="unencrypted"),
    ):
        Downloader(client, source).fetch("x", tmp_path / "x", Expected(None, None))


@pytest.mark.parametrize(
    ("hub_name", "endpoint", "message"),
    [
        ("elsewhere", "", "allowed: huggingface, modelscope"),
        ("huggingface", "ftp://x", "no address"),
        ("huggingface", "hf-mirror.com", "HF_ENDPOINT"),
    ],
)
def test_wrong_hubs_are_named(hub_name: str, endpoint: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choose_source(hub_name, endpoint, load_catalogue()["gpt-sovits-v2"].places, "m")


def test_the_packaged_catalogue_is_complete() -> None:
    models = load_catalogue()
    assert set(models) == {
        *(f"gpt-sovits-{v}" for v in ("v1", "v2", "v2pro", "v2proplus")),
        *("cosyvoice3", "cosyvoice3-rl", "cosyvoice2"),
    }
    for model in models.values():
        assert set(model.places) == set(HUBS)
        for file in model.files:
            assert file.sha256 is None or len(file.sha256) == 64
            assert ".." not in file.path
            assert not file.path.startswith("/")


def test_a_pulled_folder_is_what_gpt_sovits_looks_for() -> None:
    """Names in the catalogue are those by which the official files are chosen."""
    from kouji.models.gpt_sovits.directory import OFFICIAL_SOVITS, OFFICIAL_T2S

    for model in load_catalogue().values():
        if not model.name.startswith("gpt-sovits"):
            continue
        paths = [file.path for file in model.files]
        assert len(model.places["huggingface"].revision) == 40
        for needed in ("hubert-base/config.json", "hubert-base/pytorch_model.bin",
                       "ext-large/config.json", "ext-large/tokenizer.json",
                       "ext-large/pytorch_model.bin"):  # fmt: skip
            assert any(path.endswith(needed) for path in paths)
        assert any(path.startswith("sv/") for path in paths) == ("pro" in model.name)
        names = {path.rpartition("/")[2] for path in paths}
        assert len(names & set(OFFICIAL_T2S)) == 1
        assert len(names & OFFICIAL_SOVITS) == 1


@pytest.mark.parametrize("name", ["cosyvoice3", "cosyvoice3-rl", "cosyvoice2"])
def test_a_pulled_folder_is_what_cosyvoice_looks_for(tmp_path: Path, name: str) -> None:
    """The files of the catalogue, and no others, are a whole model."""
    from kouji.models.cosyvoice.files.directory import find_parts

    version = "cosyvoice2" if name == "cosyvoice2" else "cosyvoice3"
    source = make_tiny_cosyvoice(tmp_path / "source", version)
    shutil.copy(source / "llm.pt", source / "llm.rl.pt")
    for file in load_catalogue()[name].files:
        target = tmp_path / name / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / file.path, target)
    parts = find_parts(tmp_path / name)
    assert parts.version == version
    assert parts.llm.name == ("llm.rl.pt" if name.endswith("-rl") else "llm.pt")
    assert parts.extras == ()


@pytest.mark.usefixtures("small_catalogue")
def test_files_vouched_for_by_the_hub_are_shared_too(
    hub: Hub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the catalogue has no hashes, the hub's own says that a file is at hand."""
    document = listing()
    for files in document["repositories"].values():
        for facts in files["files"].values():
            facts.update(size=None, sha256=None)
    use(monkeypatch, document)
    fetch("big", settings)
    hub.asked.clear()
    done = fetch("small", settings)
    assert "v2Pro/s2G.pth" not in done.fetched
    record = json.loads((done.folder / pull.LOCK_FILE).read_text())
    assert record["files"]["v2Pro/s2G.pth"]["proof"] == "hub"
    require_whole(done.folder, list(FILES)[1:])


def test_settings_hear_the_names_of_hugging_face(tmp_path: Path) -> None:
    environ = {"KOUJI_HOME": str(tmp_path), "HF_ENDPOINT": "https://hf-mirror.com"}
    assert load_settings(environ).hub_endpoint == "https://hf-mirror.com"
    assert load_settings(environ | {"KOUJI_HUB_ENDPOINT": "https://a"}).hub_endpoint == "https://a"
    assert load_settings(environ | {"KOUJI_HUB": "modelscope"}).hub_endpoint == ""
    assert load_settings(environ | {"HF_HUB_OFFLINE": "1"}).offline
    assert not load_settings(environ | {"HF_HUB_OFFLINE": "no idea"}).offline
    assert not load_settings(environ | {"HF_HUB_OFFLINE": "1", "KOUJI_OFFLINE": "0"}).offline
    (tmp_path / "config.toml").write_text('hub = "modelscope"\noffline = true\n')
    assert load_settings(environ).hub_endpoint == ""
    assert load_settings(environ).offline
