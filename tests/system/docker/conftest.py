"""Fixtures: one engine, one image and one cluster for the session; more clusters where a test ends one."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.needs import need
from tests.system.docker.engine import Engine
from tests.system.docker.engine import engine as an_engine
from tests.system.docker.image import build
from tests.system.docker.project import Project

HERE = Path(__file__).parent
Make = Callable[..., Project]

# Subnets and ports follow from a project's number.
_NUMBERS = count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark these tests, and no others."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.docker)


@pytest.fixture(scope="session")
def engine() -> Generator[Engine, None, None]:
    """Give an engine that answers."""
    need("docker", "kubectl")
    with an_engine() as one:
        yield one


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """Give the image of this checkout."""
    return build(engine)


@contextmanager
def _making(
    engine: Engine, image: str, temporary: pytest.TempPathFactory
) -> Generator[Make, None, None]:
    made: list[Project] = []

    def one(**changes: str) -> Project:
        number = next(_NUMBERS)
        out = temporary.mktemp(f"pw-{number}")
        made.append(Project(engine, f"pw-{number}", number, image, out, **changes))
        return made[-1]

    try:
        yield one
    finally:
        for project in made:
            project.down()


@pytest.fixture
def make(
    engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Make, None, None]:
    """Give a maker of projects that are not up yet; they are taken down after the test."""
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
