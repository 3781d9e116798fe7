"""Verbs against a real API server: exec, logs, capture, images, status, kubeconfig."""

import io
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from podwire.cli import main
from podwire.commands.capture import Writer, record
from podwire.emulator.trace import pcapng
from podwire.kube.apply import apply
from podwire.kube.capture import Capture
from podwire.kube.manifests import from_text

if TYPE_CHECKING:
    from tests.unit.commands.conftest import Api

POD = """
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: default}
spec:
  nodeName: node-1
  containers: [{name: c, image: busybox, command: [sleep, infinity]}]
"""


@pytest.fixture
def pod(api: "Api") -> "Api":
    """Return the API with a pod that runs, as far as the API knows."""
    with api.connection() as connection:
        apply(connection, from_text(POD))
        state = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
        status = {
            "phase": "Running",
            "podIP": "10.244.1.2",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {"name": "c", "ready": True, "state": state, "image": "busybox", "imageID": "",
                 "restartCount": 0, "started": True}
            ],
        }  # fmt: skip
        path = "/api/v1/namespaces/default/pods/client/status"
        connection.patch(path, {"status": status})
    return api


def test_what_is_applied_again_stays_and_what_changed_is_changed(api: "Api") -> None:
    service = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  clusterIP: 10.96.0.99
  ports: [{port: 80, nodePort: 30080}]
"""
    with api.connection() as connection:
        outcomes = [
            one.outcome
            for text in (service, service, service.replace("port: 80,", "port: 81,"))
            for one in apply(connection, from_text(text))
        ]
    assert outcomes == ["created", "unchanged", "configured"]


@pytest.mark.parametrize(
    ("command", "status", "output", "words"),
    [
        (["sh", "-c", "echo out; echo err >&2"], 0, "out\n", "err"),
        (["sh", "-c", "exit 7"], 7, "", ""),
        (["sh", "-c", "kill -9 $$"], 137, "", ""),
        (["no-such-program"], 127, "", "executable file not found"),
        (["sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x"], 0, "x" * 300000, ""),
    ],
)
def test_exec(
    pod: "Api", capfd: pytest.CaptureFixture[str],
    command: list[str], status: int, output: str, words: str,
) -> None:  # fmt: skip
    assert main(["exec", "client", *pod.options, "--", *command]) == status
    said = capfd.readouterr()
    assert said.out == output
    assert words in said.err


def test_exec_with_input(
    pod: "Api", capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as pipe:
        pipe.write(b"hello " * 1000)
    with os.fdopen(read_end) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert main(["exec", "-i", "client", *pod.options, "--", "wc", "-c"]) == 0
    assert capfd.readouterr().out.strip() == "6000"
    given = tmp_path / "given"
    given.write_text("from a file")
    with given.open() as stdin:  # epoll refuses files
        monkeypatch.setattr("sys.stdin", stdin)
        assert main(["exec", "-i", "client", *pod.options, "--", "cat"]) == 0
    assert capfd.readouterr().out == "from a file"


@pytest.mark.parametrize("annotated", ["", "side", "nobody"])
def test_exec_runs_in_the_default_container_as_kubectl_does(
    api: "Api", capfd: pytest.CaptureFixture[str], annotated: str
) -> None:
    note = f"annotations: {{kubectl.kubernetes.io/default-container: {annotated}}}"
    two = POD.replace("{name: client,", "{name: two, " + (f"{note}," if annotated else ""))
    two = two.replace("[{name: c,", "[{name: side, image: nginx}, {name: c,")
    with api.connection() as connection:
        apply(connection, from_text(two))
        status = {"phase": "Running", "podIP": "10.244.1.3"}
        connection.patch("/api/v1/namespaces/default/pods/two/status", {"status": status})
    assert main(["exec", "two", *api.options, "--", "echo", "here"]) == 0
    assert capfd.readouterr().out == "here\n"


@pytest.mark.parametrize(
    ("place", "status"), [("node/node-1", 0), ("external", 0), ("node/node-9", 1), ("nobody", 1)]
)
def test_exec_on_hosts_and_on_what_is_not_there(
    pod: "Api", capfd: pytest.CaptureFixture[str], place: str, status: int
) -> None:
    assert main(["exec", place, *pod.options, "--", "echo", "here"]) == status
    said = capfd.readouterr()
    assert said.out == ("" if status else "here\n")
    assert ("not found" in said.err) is bool(status)


def test_logs(pod: "Api", capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    words = ["logs", "client", "--tail", "5", "--timestamps", "--since", "2m"]
    assert main([*words, *pod.options]) == 0
    assert capfdbinary.readouterr().out == b"one\ntwo\n"
    (options,) = pod.agent.log_calls
    assert (options.tail_lines, options.timestamps, options.since_seconds) == (5, True, 120)


def some_packets() -> bytes:
    capture = pcapng.Capture(
        interfaces=(pcapng.Interface("default/client eth0"),),
        frames=(pcapng.Frame(0, 1, b"\0" * 60),),
        statistics=(pcapng.Statistics(0, 1, 0),),
    )
    return b"".join(pcapng.encode(capture))


def test_capture(
    pod: "Api", capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod.agent.packets, pod.agent.statistics = some_packets(), b""
    path = tmp_path / "out.pcapng"
    words = ["capture", "client", "-w", str(path), "--duration", "0.2"]
    assert main([*words, *pod.options]) == 0
    assert "1 interfaces, 1 with packets; 1 packets, 0 dropped" in capfd.readouterr().out
    assert path.read_bytes() == some_packets()
    monkeypatch.chdir(tmp_path)
    assert main(["capture", "--duration", "0.2", "-o", "json", *pod.options]) == 0
    assert json.loads(capfd.readouterr().out)["packets"] == 1
    assert [points for points, _, _ in pod.agent.captured] == [
        ("pod/default/client",), ("node/node-1", "pod/default/client")]  # fmt: skip


@pytest.fixture
def hangup() -> Iterator[None]:
    """Let a test choose what SIGHUP does; who runs the tests may have used nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangup")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_capture_that_is_told_to_end_leaves_a_whole_file(
    pod: "Api", capfd: pytest.CaptureFixture[str], tmp_path: Path, number: signal.Signals
) -> None:
    pod.agent.packets, pod.agent.statistics = some_packets(), b""
    before = signal.getsignal(number)

    def tell() -> None:
        while signal.getsignal(number) == before:
            pass
        os.kill(os.getpid(), number)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    path = tmp_path / "out.pcapng"
    assert main(["capture", "client", "-w", str(path), *pod.options]) == 0
    teller.join()
    assert path.read_bytes() == some_packets()
    assert "1 packets, 0 dropped" in capfd.readouterr().out
    assert signal.getsignal(number) == before


class HeardWhileItEnds(Writer):
    """A file that is being finished when another signal comes."""

    def finish(self) -> None:
        signal.raise_signal(signal.SIGTERM)
        super().finish()


class ToldToEnd(Capture):
    """A capture of one block, in whose course Ctrl-C comes."""

    def __init__(self, writer: Writer) -> None:
        self._write = writer.write

    def record(self, stop: int, duration: float | None = None) -> None:
        signal.raise_signal(signal.SIGINT)
        assert os.read(stop, 1)
        self._write(some_packets())


def test_another_signal_while_a_capture_ends_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "out.pcapng"
    with HeardWhileItEnds(str(path)) as writer:
        record(ToldToEnd(writer), writer, None, said="capturing")
    assert path.read_bytes() == some_packets()


@pytest.mark.usefixtures("hangup")
def test_a_capture_after_nohup_outlives_its_terminal(
    pod: "Api", capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pod.agent.packets, pod.agent.statistics = some_packets(), b""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    heard = list[object]()

    def tell() -> None:
        while "capturing at client" not in capfd.readouterr().err:
            time.sleep(0.01)
        heard.append(signal.getsignal(signal.SIGHUP))
        os.kill(os.getpid(), signal.SIGTERM)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    assert main(["capture", "client", "-w", str(tmp_path / "x"), *pod.options]) == 0
    teller.join()
    assert [*heard, signal.getsignal(signal.SIGHUP)] == [signal.SIG_IGN, signal.SIG_IGN]


def test_capture_says_which_places_there_are(
    pod: "Api", capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["capture", "--list", *pod.options]) == 0
    assert "node/node-1          eth0, cni0" in capfd.readouterr().out
    path = tmp_path / "x"
    assert main(["capture", "nobody", "-w", str(path), *pod.options]) == 1
    assert 'pods "nobody" not found' in capfd.readouterr().err
    assert not path.exists()


def test_capture_says_how_pods_can_be_captured_where_they_are_not_always(
    pod: "Api", capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pod.connection() as connection:
        connection.create(
            "/api/v1/namespaces/kube-system/configmaps",
            {"metadata": {"name": "podwire-network"}, "data": {"hint": "switch it on"}},
        )
    path = tmp_path / "x"
    assert main(["capture", "nobody", "-w", str(path), *pod.options]) == 1
    assert capfd.readouterr().err.endswith("\n  switch it on\n")


def test_a_full_disk_is_named_and_a_device_stays(
    pod: "Api", capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "full"
    path.symlink_to("/dev/full")
    assert main(["capture", "client", "-w", str(path), "--duration", "1", *pod.options]) == 1
    assert f"cannot write {path}: No space left on device\n  make room" in capfd.readouterr().err
    assert path.is_symlink()


def test_a_capture_that_breaks_off_is_an_error(
    pod: "Api", capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pod.agent.packets, pod.agent.statistics = some_packets()[:-60], b""
    path = tmp_path / "out.pcapng"
    assert main(["capture", "client", "-w", str(path), "--duration", "0.2", *pod.options]) == 1
    assert "the capture broke off" in capfd.readouterr().err
    assert not path.exists()


def test_images(pod: "Api", capfd: pytest.CaptureFixture[str]) -> None:
    name = "example.com/shop:1"
    assert main(["images", "add", name, *pod.options, "--", "python3", "-m", "x"]) == 0
    assert main(["images", "-o", "json", *pod.options]) == 0
    said = capfd.readouterr().out.partition("\n")[2]
    rows = {row["image"]: row["runs"] for row in json.loads(said)}
    assert rows[name] == "added: python3 -m x"
    assert "nginx" in rows
    assert main(["images", "rm", name, *pod.options]) == 0
    assert main(["images", "rm", name, *pod.options]) == 1
    assert "was not added" in capfd.readouterr().err


def test_status_names_what_is_not_ready(pod: "Api", capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["status", *pod.options]) == 0
    capfd.readouterr()
    with pod.connection() as connection:
        apply(connection, from_text(POD.replace("name: client", "name: late")))
    assert main(["status", "-o", "json", *pod.options]) == 1
    summary: dict[str, Any] = json.loads(capfd.readouterr().out)
    assert [item["pod"] for item in summary["notReady"]] == ["default/late"]


def test_kubeconfig_is_one_that_works(pod: "Api", capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["kubeconfig", *pod.options]) == 0
    document = yaml.safe_load(capfd.readouterr().out)
    assert document == yaml.safe_load(pod.kubeconfig.read_text())


def test_a_server_that_is_gone_is_named(
    tmp_path: Path, api: "Api", capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gone"
    path.write_text(api.kubeconfig.read_text().replace(api.server, "https://127.0.0.1:1"))
    assert main(["status", "--kubeconfig", str(path), "--context", "podwire-test"]) == 1
    assert "nothing answers at https://127.0.0.1:1" in capfd.readouterr().err


def test_shell_needs_a_terminal(
    pod: "Api", capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False, buffer=io.BytesIO()))
    assert main(["shell", "client", *pod.options]) == 64
    assert "a shell needs a terminal" in capfd.readouterr().err
