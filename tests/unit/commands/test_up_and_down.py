"""up and down with a fake anchor: what they merge, apply, wait for, and leave behind."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from podwire.cli import main
from podwire.emulator import anchor
from podwire.emulator.anchor import LastWords
from podwire.emulator.config import ClusterConfig
from podwire.emulator.doctor import Facts
from podwire.errors import AlreadyRunning, NotRunning, TimedOut

if TYPE_CHECKING:
    from tests.unit.commands.conftest import Api

CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: i}]}\n"


@dataclass
class FakeAnchor:
    """Clusters that are names; their API is the one that the test serves."""

    access: Mapping[str, str]
    clusters: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    said: list[str] = field(default_factory=list[str])
    hanging: frozenset[str] = frozenset()
    ended: LastWords | None = None

    def start(
        self,
        config: ClusterConfig,
        kubeconfig: Path | None,
        report: Callable[[str], None],
        *,
        meanwhile: Callable[[], object],
        limit: float,
    ) -> "FakeRunning":
        meanwhile()
        if limit == 0:
            raise TimedOut("the cluster did not start within 0 s")
        if config.name in self.clusters:
            raise AlreadyRunning(f"a cluster named {config.name!r} runs already")
        report("API server answers")
        nodes = [node.name for node in config.nodes]
        self.clusters[config.name] = {
            "name": config.name, "kubeconfig": str(kubeconfig), "nodes": nodes, "pid": 1,
            "server": self.access["server"], "started": 0.0}  # fmt: skip
        return FakeRunning(self, config.name)

    def running(self) -> list[str]:
        return sorted(self.clusters)

    def request(self, name: str, message: Mapping[str, Any]) -> dict[str, Any]:
        if name not in self.clusters:
            raise NotRunning(f"no cluster named {name!r} runs")
        if name in self.hanging:
            raise TimedOut(f"cluster {name!r} did not answer")
        self.said.append(f"{message['op']} {name}")
        return self.clusters.pop(name) if message["op"] == "stop" else self.clusters[name]


@dataclass
class FakeRunning:
    """A cluster that ends unless it is kept."""

    anchor: FakeAnchor
    name: str
    pid: int = 1
    ends: list[int] = field(default_factory=list[int])

    @property
    def access(self) -> Mapping[str, str]:
        return self.anchor.access

    def fileno(self) -> int:
        """Return a descriptor that is ready when the cluster has ended."""
        read_end, write_end = os.pipe()
        self.ends.extend((read_end, write_end))
        if self.anchor.ended is not None:
            os.write(write_end, b"!")
        return read_end

    def last_words(self) -> LastWords | None:
        return self.anchor.ended

    def keep(self) -> None:
        self.anchor.said.append(f"keep {self.name}")

    def abandon(self) -> None:
        self.anchor.said.append(f"abandon {self.name}")
        for end in self.ends:
            os.close(end)
        del self.anchor.clusters[self.name]


@pytest.fixture
def fake(api: "Api", monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeAnchor:
    certificates = api.certificates
    access = {
        "server": api.server,
        "ca": certificates.authority.decode(),
        "certificate": certificates.admin.certificate.decode(),
        "key": certificates.admin.key.decode(),
    }
    made = FakeAnchor(access)
    for name in ("start", "running", "request"):
        monkeypatch.setattr(anchor, name, getattr(made, name))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "mine"))
    (tmp_path / "mine").write_text("current-context: prod\ncontexts: [{name: prod, context: {}}]\n")
    return made


def current(path: Path) -> str:
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    return str(config.get("current-context"))


def test_up_and_down(fake: FakeAnchor, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "m.yaml"
    manifest.write_text(CONFIG_MAP)
    assert main(["up", "-f", str(manifest)]) == 0
    said = capfd.readouterr()
    assert 'cluster "podwire" is up in ' in said.out
    assert "0 nodes, 0 pods, 1 services   kubeconfig: " in said.out
    assert [line.split("  ")[-1] for line in said.err.splitlines()] == [
        "API server answers",
        f"context podwire-podwire is current in {tmp_path / 'mine'}",
        "applied ConfigMap c",
        "everything is ready",
    ]
    assert current(tmp_path / "mine") == "podwire-podwire"
    assert fake.said == ["keep podwire"]
    assert main(["ls"]) == 0
    assert capfd.readouterr().out.splitlines()[1].split()[:2] == ["podwire", "3"]
    assert main(["status"]) == 0, "the current context is found without options"
    assert main(["down"]) == 0
    assert current(tmp_path / "mine") == "prod"
    assert fake.clusters == {}
    assert main(["down"]) == 0, "twice is fine"


@pytest.mark.parametrize(
    ("manifest", "options", "status", "words"),
    [
        (POD, ["--timeout", "0.1"], 124, "pod p: phase Pending"),
        ("kind: Nonsense\napiVersion: v1\nmetadata: {name: n}\n", [], 1, "no kind 'Nonsense'"),
        (
            "kind: Service\napiVersion: v1\nmetadata: {name: n}\nspec: {ports: [{port: 70000}]}\n",
            [],
            1,
            "m.yaml:1:1: Service 'n' refused: ",
        ),
    ],
)
def test_a_manifest_that_fails_takes_the_cluster_with_it(
    fake: FakeAnchor, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    manifest: str, options: list[str], status: int, words: str,
) -> None:  # fmt: skip
    (tmp_path / "m.yaml").write_text(manifest)
    before = (tmp_path / "mine").read_text()
    assert main(["up", "-f", str(tmp_path / "m.yaml"), *options]) == status
    assert words in capfd.readouterr().err
    assert fake.said == ["abandon podwire"]
    assert current(tmp_path / "mine") == "prod"
    assert yaml.safe_load(before)["contexts"] == yaml.safe_load(
        (tmp_path / "mine").read_text())["contexts"]  # fmt: skip
    assert main(["up", "--keep", "-f", str(tmp_path / "m.yaml"), *options]) == status
    assert fake.said == ["abandon podwire", "keep podwire"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-f", "none.yaml"], "there is no file none.yaml"),
        (["--nodes", "0"], "--nodes: 0 is not a number from 1 to"),
        (["--name", "Blue"], "'Blue' cannot name a cluster"),
        (["--config", "none"], "cannot read none"),
        (["--timeout", "soon"], "--timeout: 'soon' is no number"),
        (["--attached", "-f", "-"], "--attached needs standard input for itself"),
        (["-f", "broken.yaml"], "broken.yaml:3:3: broken YAML"),
        (["--context", "podwire-blue"], "up makes a context"),
        (["--kubeconfig", "broken.yaml"], "broken.yaml is no kubeconfig"),
        (["--kubeconfig", "."], "it is no plain file"),
        (["--kubeconfig", "broken.yaml/config"], "Not a directory"),
    ],
)
def test_what_is_wrong_in_the_arguments_starts_nothing(
    fake: FakeAnchor, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, words: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.yaml").write_text("a:\n  - b\n  c: d\n")
    assert main(["up", *words]) == 64
    assert message in capfd.readouterr().err
    assert fake.clusters == {}


def test_two_of_one_name(fake: FakeAnchor, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--name", "blue"]) == 0
    assert main(["up", "--name", "blue"]) == 1
    assert "runs already" in capfd.readouterr().err
    assert fake.clusters.keys() == {"blue"}, "the first one stays"


def test_ctrl_c_at_any_step_leaves_nothing(
    fake: FakeAnchor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.yaml").write_text(CONFIG_MAP)
    steps = 0

    def interrupted(_steps: object, _what: str) -> None:
        nonlocal steps
        steps += 1
        if steps == last:
            raise KeyboardInterrupt

    monkeypatch.setattr("podwire.commands.up.Steps.done", interrupted)
    # The first step is said inside anchor.start, which cleans up after itself.
    for last in (2, 3, 4):  # noqa: B007 - the function above reads it
        steps = 0
        assert main(["up", "-f", str(tmp_path / "m.yaml")]) == 130
        assert fake.clusters == {}
        assert current(tmp_path / "mine") == "prod"


def test_attached_ends_with_its_input(
    fake: FakeAnchor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path(os.devnull).open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert main(["up", "--attached", "-o", "json"]) == 0
    assert fake.said == ["abandon podwire"]
    assert current(tmp_path / "mine") == "prod"


@pytest.mark.parametrize(
    ("ended", "status", "words"),
    [
        (LastWords(asked=True, log="ouch\n"), 0, ""),
        (LastWords(asked=False, log="ouch\n"), 70, "ended by itself; its last words:\nouch\n"),
        (LastWords(asked=False, log=""), 70, "ended by itself; its last words:\nnothing\n"),
    ],
)
def test_attached_tells_the_last_words_of_a_cluster_that_ends_by_itself(
    fake: FakeAnchor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str], ended: LastWords, status: int, words: str,
) -> None:  # fmt: skip
    fake.ended = ended
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as stdin, os.fdopen(write_end):
        monkeypatch.setattr("sys.stdin", stdin)
        assert main(["up", "--attached"]) == status
    assert words in capfd.readouterr().err
    assert current(tmp_path / "mine") == "prod"


@pytest.mark.parametrize("options", [[], ["--keep"]])
@pytest.mark.parametrize(
    ("ended", "status", "words"),
    [
        (LastWords(asked=True, log=""), 1, "was ended while it started: podwire down"),
        (LastWords(asked=False, log="boom\n"), 70, "ended by itself; its last words:\nboom"),
    ],
)
def test_a_cluster_that_ends_while_it_is_filled(
    fake: FakeAnchor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str], options: list[str], ended: LastWords, status: int,
    words: str,
) -> None:  # fmt: skip
    def nobody_answers(*_: object, **__: object) -> None:
        raise NotRunning("nothing answers")

    fake.ended = ended
    monkeypatch.setattr("podwire.commands.filling.fill", nobody_answers)
    assert main(["up", *options]) == status
    assert words in capfd.readouterr().err
    assert fake.said == ["abandon podwire"]
    assert current(tmp_path / "mine") == "prod"


def test_the_limit_of_up_holds_for_the_start_too(
    fake: FakeAnchor, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", "--timeout", "0"]) == 124
    assert "did not start within 0 s" in capfd.readouterr().err
    assert fake.clusters == {}


def test_a_cluster_that_hangs_hides_no_other(
    fake: FakeAnchor, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "c"):
        assert main(["up", "--name", name]) == 0
    fake.hanging = frozenset({"b"})
    capfd.readouterr()
    assert main(["ls", "-o", "name"]) == 124
    said = capfd.readouterr()
    assert said.out.split() == ["a", "c"]
    assert "cluster 'b' did not answer" in said.err
    assert main(["ls", "--name", "c", "-o", "name"]) == 0, "only that one is asked"
    assert main(["ls", "--context", "podwire-a", "-o", "name"]) == 0
    assert capfd.readouterr().out.split() == ["c", "a"]
    assert main(["down", "--all"]) == 124
    assert fake.running() == ["b"]


def test_a_machine_that_lacks_something_stops_up_at_once(
    fake: FakeAnchor, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = Facts(trial={"namespaces": "Operation not permitted"}, max_user_namespaces=0)

    def gathered(_mode: str) -> Facts:
        return facts

    monkeypatch.setattr("podwire.emulator.machine_facts.gather_fast", gathered)
    assert main(["up"]) == 69
    assert "sudo sysctl -w user.max_user_namespaces=10000" in capfd.readouterr().err
    assert fake.clusters == {}


def test_down_all_and_by_name(fake: FakeAnchor, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    assert main(["up", "--name", "a", "--kubeconfig", str(elsewhere)]) == 0
    assert main(["up", "--name", "b"]) == 0
    assert main(["up", "--name", "c"]) == 0
    assert main(["status", "--name", "a"]) == 0, "its context is found where it went"
    assert main(["down", "--name", "a"]) == 0
    assert not current(elsewhere)
    assert fake.running() == ["b", "c"]
    assert main(["down", "--all"]) == 0
    assert fake.running() == []
    assert main(["down", "--all", "--name", "b"]) == 64


def test_a_context_that_cannot_be_taken_away_keeps_no_cluster_alive(
    fake: FakeAnchor, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", "--name", "a"]) == 0
    assert main(["up", "--name", "b"]) == 0
    mine = tmp_path / "mine"
    mine.write_text(mine.read_text() + "broken: [\n")
    assert main(["down", "--all"]) == 64
    assert fake.running() == []
    said = capfd.readouterr()
    assert 'cluster "b" is down' in said.out
    assert "mine is no kubeconfig" in said.err


def test_a_broken_kubeconfig_is_named_when_it_may_hold_the_context(
    fake: FakeAnchor, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["up"]) == 0
    (tmp_path / "mine").write_text("broken: [\n")
    assert main(["status"]) == 64
    assert f"{tmp_path / 'mine'}: while parsing" in capfd.readouterr().err


def test_a_context_whose_cluster_was_killed_is_pruned_by_the_next_command(
    fake: FakeAnchor, tmp_path: Path
) -> None:
    assert main(["up"]) == 0
    fake.clusters.clear()
    assert main(["ls"]) == 0
    assert current(tmp_path / "mine") == "prod"
