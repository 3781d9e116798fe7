"""What holds for pods that are namespaces holds for pods that are containers: the same tests."""

import faulthandler
import os
import sys
from pathlib import Path

import pytest

from tests.system.docker.engine import Engine
from tests.system.docker.image import ROOT, derive
from tests.system.docker.project import Project

SYSTEM = ROOT / "tests" / "system"
FILES = sorted(
    path.name
    for path in SYSTEM.glob("test_*.py")
    if "@both_runtimes" in path.read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def with_images(engine: Engine, image: str) -> None:
    """Have the images that those tests name."""
    derive(engine, image)


# What they assert of traces is about the pods' own interfaces.
@pytest.mark.usefixtures("with_images")
@pytest.mark.parametrize("file", FILES)
def test_the_tests_of_both_runtimes_pass_on_containers(
    engine: Engine, capturing: Project, tmp_path: Path, file: str
) -> None:
    # Its tests have a limit each, as all have; together they take longer than one may.
    faulthandler.cancel_dump_traceback_later()
    # In a pytest of its own, because the cluster's API server is on the engine's host.
    command = [sys.executable, "-Pm", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    context = f"podwire-{capturing.settings['PODWIRE_CLUSTER']}"
    done = engine.on_host(
        "env", f"KUBECONFIG={capturing.out / 'kubeconfig'}", f"PATH={os.environ['PATH']}",
        *command, "--podwire-context", context, "-m", "both_runtimes", "--basetemp", str(tmp_path),
        "--rootdir", str(ROOT), str(SYSTEM / file),
        limit=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr + capturing.logs()
    assert "skipped" not in done.stdout, done.stdout
