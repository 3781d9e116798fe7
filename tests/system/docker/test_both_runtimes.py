"""What holds for pods that are namespaces holds for pods that are containers: the same tests."""

import faulthandler
import os
import sys

from tests.system.docker.conftest import Make
from tests.system.docker.engine import Engine
from tests.system.docker.image import ROOT, derive


def test_the_tests_of_both_runtimes_pass_on_containers(
    engine: Engine, image: str, make: Make
) -> None:
    derive(engine, image)
    project = make()
    # What they assert of traces is about the pods' own interfaces.
    project.profiles = ("capture",)
    project.up()
    # Its tests have a limit each, as all have; together they take longer than one may.
    faulthandler.cancel_dump_traceback_later()
    # In a pytest of its own, because the cluster's API server is on the engine's host.
    pytest = [sys.executable, "-Pm", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    context = f"podwire-{project.settings['PODWIRE_CLUSTER']}"
    done = engine.on_host(
        "env", f"KUBECONFIG={project.out / 'kubeconfig'}", f"PATH={os.environ['PATH']}",
        *pytest, "--podwire-context", context, "-m", "both_runtimes",
        "--rootdir", str(ROOT), str(ROOT / "tests" / "system"),
        limit=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr + project.logs()
    assert "skipped" not in done.stdout, done.stdout
