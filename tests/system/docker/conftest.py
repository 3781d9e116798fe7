"""Fixtures: one engine and one image for the run, one cluster for each worker; more where a test ends one."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.needs import need
from tests.system.docker.engine import Engine
from tests.system.docker.project import Project
from tests.system.docker.sharing import common, shared_engine, shared_image, worker

HERE = Path(__file__).parent
Make = Callable[..., Project]

# Subnets and ports follow from a project's number: no other worker has one of these.
_FREE = list(range(8 * worker(), 8 * worker() + 8))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark these tests, and no others."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.docker)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Generator[Engine, None, None]:
    """Give an engine that answers."""
    need("docker", "kubectl")
    with shared_engine(common(tmp_path_factory.getbasetemp())) as one:
        yield one


@pytest.fixture(scope="session")
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the image of this checkout."""
    return shared_image(engine, common(tmp_path_factory.getbasetemp()))


@contextmanager
def _making(
    engine: Engine, image: str, temporary: pytest.TempPathFactory
) -> Generator[Make, None, None]:
    made: list[Project] = []

    def one(**changes: str) -> Project:
        number = _FREE.pop(0)
        out = temporary.mktemp(f"pw-{number}")
        made.append(Project(engine, f"pw-{number}", number, image, out, **changes))
        return made[-1]

    try:
        yield one
    finally:
        for project in made:
            project.down()
            _FREE.append(project.number)


@pytest.fixture
def make(
    engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Make, None, None]:
    """Give a maker of projects that are not up yet; they are taken down after the test."""
    with _making(engine, image, tmp_path_factory) as one:
        yield one


@pytest.fixture(scope="module")
def make_for_the_module(
    engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Make, None, None]:
    """Give a maker of projects that are not up yet; they are taken down after the module."""
    with _making(engine, image, tmp_path_factory) as one:
        yield one


@pytest.fixture(scope="session")
def project(
    engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Project, None, None]:
    """Give the cluster that the tests share; a test that breaks it asks for `mended`."""
    with _making(engine, image, tmp_path_factory) as make_one:
        one = make_one()
        one.own()
        one.up()
        yield one


@pytest.fixture
def mended(project: Project) -> Iterator[Project]:
    """Give the cluster, and bring it back to what the file says."""
    yield project
    project.mend()
    project.endpoints_become("web-svc", 2)


@pytest.fixture(scope="module")
def capturing(project: Project) -> Iterator[Project]:
    """Give the cluster with the profile `capture`."""
    project.profiles = ("capture",)
    project.must("up", "-d", "--no-deps", "capture")
    project.settle()
    yield project
    project.must("rm", "--force", "--stop", "capture")
    project.profiles = ()
