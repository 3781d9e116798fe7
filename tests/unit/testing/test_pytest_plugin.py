"""The plugin in a pytest of its own, with a launch that starts nothing."""

import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
from pathlib import Path
import pytest
import podwire.testing.launch
from podwire.errors import MachineError, PodwireError
from podwire.kube.config import Access
from podwire.testing.cluster import Cluster, Packets

LOG = Path(__file__).with_name("log")

class Launched:
    def __init__(self, cluster):
        self.cluster = cluster
    def end(self):
        LOG.open("a").write(f"end {self.cluster.name}\\n")

def launch(name, folder, *, config, nodes, limit):
    LOG.open("a").write(f"launch {name} {config and config.name} {nodes} {limit:g}\\n")
    if limit == 69:
        raise MachineError("no namespaces here")
    if limit == 1:
        raise PodwireError("cannot start")
    return Launched(Cluster(name, Access("http://127.0.0.1:1"), folder / "kubeconfig"))

podwire.testing.launch.launch = launch
"""

FAILS = """
from podwire.testing.cluster import Packets

def test_it(podwire_cluster):
    packets = Packets()
    packets.pcapng = b"PACKETS"
    podwire_cluster.recordings.append(packets)
    assert False
"""


def run(pytester: pytest.Pytester, test: str, *options: str, ini: str = "") -> pytest.RunResult:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_shop=test)
    pytester.makeini(f"[pytest]\nasyncio_default_fixture_loop_scope = function\n{ini}")
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", *options)


def test_one_cluster_per_test_and_one_per_session(pytester: pytest.Pytester) -> None:
    test = """
def test_a(podwire_cluster): pass
def test_b(podwire_cluster): pass
def test_c(podwire_session_cluster): pass
def test_d(podwire_session_cluster): pass
"""
    run(pytester, test).assert_outcomes(passed=4)
    words = [line.split()[0] for line in (pytester.path / "log").read_text().splitlines()]
    assert words == ["launch", "end", "launch", "end", "launch", "end"]
    names = {line.split()[1] for line in (pytester.path / "log").read_text().splitlines()}
    assert len(names) == 3
    assert all(len(name) <= 40 for name in names)


def test_a_failure_saves_its_packets_and_ends_its_cluster(pytester: pytest.Pytester) -> None:
    result = run(pytester, FAILS)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*podwire cluster pytest-*", "packets: *capture-1.pcapng"])
    folder = pytester.path / "podwire-reports" / "test_shop.py_test_it"
    assert (folder / "capture-1.pcapng").read_bytes() == b"PACKETS"
    assert "end" in (pytester.path / "log").read_text()


RECORDS = """
import pytest
from podwire.testing.cluster import Packets

def record(cluster, what):
    packets = Packets()
    packets.pcapng = what
    cluster.recordings.append(packets)

"""


@pytest.mark.parametrize("fixture", ["podwire_cluster", "podwire_session_cluster"])
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("phase", ["setup", "call", "teardown"])
def test_packets_are_saved_whichever_phase_fails(
    pytester: pytest.Pytester,
    phase: str,
    fixture: str,
    dynamic: bool,  # noqa: FBT001 - a column of the table
) -> None:
    argument, get = ("request", f"request.getfixturevalue({fixture!r})")
    if not dynamic:
        argument = get = fixture
    test = f"""
@pytest.fixture
def shop({argument}):
    cluster = {get}
    record(cluster, b"SETUP")
    assert {phase == "setup"} is False
    yield cluster
    record(cluster, b"TEARDOWN")
    assert {phase == "teardown"} is False

def test_before(shop):
    record(shop, b"BEFORE")

def test_it(shop):
    record(shop, b"CALL")
    assert {phase == "call"} is False
"""
    result = run(pytester, RECORDS + test, "-k", "before or it")
    result.stdout.fnmatch_lines(["*podwire cluster pytest-*", "packets: *capture-1.pcapng"])
    folder = pytester.path / "podwire-reports" / "test_shop.py_test_it"
    found = [path.read_bytes() for path in sorted(folder.iterdir())]
    wanted = [b"SETUP", b"CALL", b"TEARDOWN"]
    assert found == wanted[: ("setup", "call", "teardown").index(phase) + 1]


def test_a_test_that_passes_saves_nothing(pytester: pytest.Pytester) -> None:
    run(pytester, FAILS.replace("assert False", "pass")).assert_outcomes(passed=1)
    assert not (pytester.path / "podwire-reports").exists()


@pytest.mark.parametrize(("ci", "outcome"), [("", {"skipped": 1}), ("true", {"errors": 1})])
def test_a_lack_skips_with_its_reason_but_fails_in_ci(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, outcome: dict[str, int]
) -> None:
    monkeypatch.setenv("CI", ci)
    result = run(pytester, "def test_a(podwire_cluster): pass", ini="podwire_timeout = 69")
    result.assert_outcomes(**outcome)


def test_a_cluster_that_cannot_start_is_an_error_of_the_test(pytester: pytest.Pytester) -> None:
    result = run(pytester, "def test_a(podwire_cluster): pass", ini="podwire_timeout = 1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*cannot start*"])


def test_settings(pytester: pytest.Pytester) -> None:
    run(pytester, "def test_a(podwire_cluster): pass", ini="podwire_config = cluster.yaml")
    assert (pytester.path / "log").read_text().splitlines()[0].endswith(" cluster.yaml 0 60")


def test_the_plugin_loads_nothing_until_it_is_used(pytester: pytest.Pytester) -> None:
    test = """
import sys
def test_a():
    assert not {"podwire.testing.cluster", "podwire.kube.plain"} & set(sys.modules)
"""
    pytester.makepyfile(test_a=test)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_a_context_that_does_not_exist_fails_and_nothing_is_started(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(pytester.path / "kubeconfig"))
    result = run(pytester, FAILS, "--podwire-context", "podwire-compose")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["there is no context 'podwire-compose' in *"])
    assert not (pytester.path / "log").exists()
