"""Fixtures: one engine and one image for the session, one compose project per module."""

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.needs import need
from tests.system.docker.engine import Engine
from tests.system.docker.engine import engine as an_engine
from tests.system.docker.image import build
from tests.system.docker.project import Project

HERE = Path(__file__).parent
Make = Callable[..., Project]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep these tests on one worker (with --dist loadgroup): one engine is enough."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.docker)
            item.add_marker(pytest.mark.xdist_group("docker"))


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


@pytest.fixture(scope="module")
def make(
    engine: Engine,
    image: str,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Make, None, None]:
    """Give a maker of projects that are not up yet; all of them are taken down at the end."""
    module = request.path.stem.removeprefix("test_").replace("_", "-")
    made: list[Project] = []

    def one(**changes: str) -> Project:
        number = len(made)
        name = f"pw-{module}-{number}"
        out = tmp_path_factory.mktemp(name)
        made.append(Project(engine, name, number, image, out, **changes))
        return made[-1]

    yield one
    for project in made:
        project.down()


@pytest.fixture(scope="module")
def project(make: Make) -> Project:
    """Give a cluster that serves; a test that breaks it mends it."""
    one = make()
    one.up()
    return one
