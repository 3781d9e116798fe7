"""The pytest plugin: a cluster per test or per session, and packets in the report of a failure.

Loaded by every pytest run of an environment that has Podwire, so it imports nothing until a test
asks for a cluster. The user's kubeconfig is never touched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from podwire.emulator.trace.trace import Trace
    from podwire.testing.cluster import Cluster
    from podwire.testing.launch import Launched

# On what a cluster lives as long as: a test, or the session.
_CLUSTERS = pytest.StashKey["list[Cluster]"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the settings."""
    parser.getgroup("podwire").addoption(
        "--podwire-context",
        metavar="CONTEXT",
        help="use the cluster of this kubeconfig context (docker compose up: podwire-compose) "
        "and start none; each test that wants a fresh cluster gets a fresh namespace of it",
    )
    parser.addini("podwire_config", "what the clusters are made of: a file, as podwire up --config")
    parser.addini("podwire_nodes", "how many nodes, if there is no podwire_config", default="3")
    parser.addini("podwire_timeout", "seconds that a cluster may take to start", default="60")
    parser.addini(
        "podwire_reports", "folder for packets of failed tests", default="podwire-reports"
    )


@pytest.fixture
def podwire_cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Cluster, None, None]:
    """Give a cluster of its own to each test; it is gone afterwards."""
    context = request.config.getoption("--podwire-context")
    if context:
        with _attached(str(context)) as cluster, cluster.fresh_namespace():
            yield _known(request, cluster)
    else:
        yield from _cluster(request, tmp_path_factory)


@pytest.fixture(scope="session")
def podwire_session_cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Cluster, None, None]:
    """Give one cluster to all tests (of each xdist worker) that ask for it."""
    context = request.config.getoption("--podwire-context")
    if context:
        with _attached(str(context)) as cluster:
            yield _known(request, cluster)
    else:
        yield from _cluster(request, tmp_path_factory)


def _cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Cluster, None, None]:
    launched = _launched(request.config, tmp_path_factory.mktemp("podwire"))
    try:
        yield _known(request, launched.cluster)
    finally:
        launched.end()


def _known(request: pytest.FixtureRequest, cluster: Cluster) -> Cluster:
    """Return *cluster*, to be found by `_clusters`, also when it has ended."""
    request.node.stash.setdefault(_CLUSTERS, []).append(cluster)
    return cluster


@contextmanager
def _attached(context: str) -> Generator[Cluster, None, None]:
    from podwire.errors import PodwireError  # noqa: PLC0415 - see the docstring
    from podwire.testing.launch import attach  # noqa: PLC0415

    try:
        cluster = attach(context)
    except PodwireError as error:
        pytest.fail(str(error), pytrace=False)
    yield cluster


def _launched(config: pytest.Config, folder: Path) -> Launched:
    from podwire.errors import MachineError, PodwireError  # noqa: PLC0415 - see the docstring
    from podwire.testing.launch import launch  # noqa: PLC0415

    file = config.getini("podwire_config")
    try:
        return launch(
            _name(folder),
            folder,
            config=config.rootpath / file if file else None,
            nodes=0 if file else int(config.getini("podwire_nodes")),
            limit=float(config.getini("podwire_timeout")),
        )
    except MachineError as error:
        # On a developer's machine a lack is no failure of the tests; in CI nobody would see it.
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    except PodwireError as error:
        pytest.fail(str(error), pytrace=False)


def _name(folder: Path) -> str:
    """Return a name that no other test run on this machine has."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    number = re.sub(r"\D", "", folder.name) or "0"
    return f"pytest-{worker}-{os.getpid()}-{number}"[:40]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Forget what earlier tests recorded; what this one's fixtures record is kept."""
    _forget(item)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add hop tables to the report of a test that failed in any phase, and save its packets."""
    report = yield
    if report.failed:
        folder = _report_folder(item)
        for cluster in _clusters(item):
            lines = _save(cluster, folder)
            if lines:
                report.sections.append((f"podwire cluster {cluster.name}", "\n".join(lines)))
    if report.when == "teardown":
        _forget(item)  # pytest keeps the item, and packets are large
    return report


def _clusters(item: pytest.Item) -> list[Cluster]:
    none = list["Cluster"]()
    return item.stash.get(_CLUSTERS, none) + item.session.stash.get(_CLUSTERS, none)


def _forget(item: pytest.Item) -> None:
    item.stash[_CLUSTERS] = []
    for cluster in _clusters(item):
        cluster.recordings.clear()
        cluster.traces.clear()


def _report_folder(item: pytest.Item) -> Path:
    name = re.sub(r"[^-.\w\[\]]+", "_", item.nodeid)
    folder = str(item.config.getini("podwire_reports"))
    return item.config.rootpath / folder / name[:200]


def _save(cluster: Cluster, folder: Path) -> list[str]:
    """Write the packets of traces and captures; return the lines for the report."""
    lines = list[str]()
    for number, trace in enumerate(cluster.traces, 1):
        lines += [str(trace), _traced(folder / f"trace-{number}.pcapng", trace)]
    for number, packets in enumerate(cluster.recordings, 1):
        lines.append(_written(folder / f"capture-{number}.pcapng", packets.pcapng))
    return lines


def _traced(path: Path, trace: Trace) -> str:
    from podwire.errors import PodwireError  # noqa: PLC0415 - see the docstring

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return trace.write(path).written()
    except (OSError, PodwireError) as error:
        return f"cannot write {path}: {error}"


def _written(path: Path, data: bytes) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        return f"cannot write {path}: {error.strerror}"
    return f"packets: {path}"
