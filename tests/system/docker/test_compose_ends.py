"""`docker compose down`: what goes with the cluster, what stays, and what is no business of ours."""

import pytest

from tests.system.docker.conftest import Make
from tests.system.docker.project import Project

HOLDS_FILES = """
apiVersion: v1
kind: Pod
metadata: {{name: left}}
spec:
  volumes: [{{name: scratch, emptyDir: {{}}}}]
  containers:
  - name: left
    image: {image}
    command: [sh, -c, "touch /scratch/held; sleep infinity"]
    volumeMounts: [{{name: scratch, mountPath: /scratch}}]
"""
# With what it needs: api, nodes, coredns, web.
CORE = ("client",)
OURS, MADE = "com.docker.compose.project", "podwire.dev/made-by"


@pytest.fixture
def holding(make: Make) -> Project:
    """Give a cluster of its own, with a pod that kubectl made and that has written a file."""
    one = make()
    one.up(*CORE)
    manifest = one.out / "left.yaml"
    manifest.write_text(HOLDS_FILES.format(image=one.settings["PODWIRE_IMAGE"]), encoding="utf-8")
    one.kubectl_must("apply", "-f", str(manifest))
    one.kubectl_must("wait", "pod/left", "--for=condition=Ready", "--timeout=60s")
    one.until(lambda: files(one), lambda found: "held" in found, "the pod has written")
    return one


def files(project: Project) -> str:
    """Return what the volume of the pods' files holds."""
    volume = f"{project.name}_pods:/pods:ro"
    image = str(project.settings["PODWIRE_IMAGE"])
    return project.engine.docker(
        "run", "--rm", "--user", "0", "--network", "none", "--volume", volume, image,
        "python", "-c", "import os; print(*(d + '/' + n for d, *ns in os.walk('/pods') for n in sum(ns, [])))",
    ).strip()  # fmt: skip


def left(project: Project, *what: str, label: str = OURS) -> list[str]:
    """Return what the engine has of the project: of `docker WHAT`."""
    return project.engine.docker(*what, "--filter", f"label={label}={project.name}").split()


def test_down_leaves_empty_volumes_and_what_is_not_ours(holding: Project) -> None:
    strange = f"{holding.name}-somebody-elses"
    image = str(holding.settings["PODWIRE_IMAGE"])
    holding.engine.docker(
        "run", "--detach", "--init", "--name", strange, "--network", "none", image, "sleep", "300"
    )
    try:
        assert left(holding, "ps", "-aq", label=MADE)
        holding.down("--remove-orphans")
        assert left(holding, "ps", "-aq") == []
        assert left(holding, "ps", "-aq", label=MADE) == []
        assert left(holding, "network", "ls", "-q") == []
        names = {f"{holding.name}_{name}" for name in holding.must("config", "--volumes").split()}
        assert set(left(holding, "volume", "ls", "-q")) == names
        assert files(holding) == ""
        assert holding.inspect(strange)["State"]["Running"]
    finally:
        holding.engine.docker("rm", "--force", strange)
    holding.up(*CORE)
    assert holding.kubectl("get", "pod", "left").returncode == 1
    holding.down("--volumes")
    for what in (("ps", "-aq"), ("network", "ls", "-q"), ("volume", "ls", "-q")):
        assert left(holding, *what) == []


def test_what_stays_because_api_was_killed_goes_when_the_cluster_is_up_again(
    holding: Project,
) -> None:
    holding.must("kill", "api")
    # Compose knows only its own containers; a network of the others' it cannot remove.
    holding.compose("--profile", "*", "down", "--timeout", "5")
    assert left(holding, "ps", "-aq") == []
    assert left(holding, "ps", "-aq", label=MADE)
    holding.up(*CORE)
    assert left(holding, "ps", "-aq", label=MADE) == []
    assert files(holding) == ""
    assert holding.curl("http://web-svc")
