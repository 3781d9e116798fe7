"""The other way round: kubectl makes, removes and reaches real containers."""

import json
from typing import Any, cast

import pytest

from tests.system.docker.project import Project

Json = dict[str, Any]
RETRY = ("curl", "-sS", "--fail", "--retry", "100", "--retry-all-errors", "--retry-delay", "1")


def made(project: Project, pod: str) -> list[Json]:
    """Return the containers of pods of that name or prefix, without those that hold the network."""
    label = ("--filter", f"label=podwire.dev/made-by={project.name}")
    names = project.engine.docker("ps", "--all", "--quiet", *label).split()
    # Some may be gone by now: `inspect` fails for those, and prints the others.
    inspected = project.engine.run("docker", "inspect", *names).stdout if names else "[]"
    found: list[Json] = json.loads(inspected)
    return [
        one
        for one in found
        if one["Config"]["Labels"]["podwire.dev/made-container"] != "POD"
        and one["Config"]["Labels"]["podwire.dev/made-pod"].startswith(f"default/{pod}")
    ]


def image(project: Project) -> str:
    """Return the image under test, which the engine has."""
    return str(project.settings["PODWIRE_IMAGE"])


def serve(project: Project, name: str, replicas: int) -> None:
    """Make a Deployment of web servers and wait for it."""
    project.kubectl_must(
        "create", "deployment", name, f"--image={image(project)}", f"--replicas={replicas}", "--port=80",
        "--", "python", "-m", "podwire.emulator.images", "web", "--port", "80",
    )  # fmt: skip
    project.kubectl_must("rollout", "status", f"deployment/{name}", "--timeout=60s")


def answers(project: Project, service: str, wanted: int) -> list[str]:
    """Return what each endpoint says, as soon as it listens.

    Without a readiness probe a pod is ready before that; and as PID 1 a program that is told to end
    before it can listen to that does not hear it, and gets its whole grace period.
    """
    addresses = project.endpoints_become(service, wanted)
    return [project.exec("client", *RETRY, f"http://{address}") for address in addresses]


def test_a_deployment_is_containers_that_a_service_reaches(project: Project) -> None:
    serve(project, "shown", 2)
    project.kubectl_must("expose", "deployment", "shown", "--port=80")
    assert all("Hostname: shown-" in said for said in answers(project, "shown", 2))
    assert "Hostname: shown-" in project.curl("http://shown")[0]
    project.kubectl_must("scale", "deployment/shown", "--replicas=3")
    project.kubectl_must("rollout", "status", "deployment/shown", "--timeout=60s")
    project.endpoints_become("shown", 3)
    assert len(made(project, "shown-")) == 3
    victim = project.get("pods", "-l", "app=shown")["items"][0]["metadata"]["name"]
    project.kubectl_must("delete", "pod", victim, "--timeout=60s")
    project.kubectl_must("rollout", "status", "deployment/shown", "--timeout=60s")
    assert len(made(project, "shown-")) == 3
    answers(project, "shown", 3)
    project.kubectl_must("delete", "service/shown", "deployment/shown", "--timeout=60s")
    project.until(
        lambda: made(project, "shown-"), lambda found: not found, "the containers are gone"
    )


def test_what_kubectl_makes_has_no_capability_and_not_the_engines_socket(project: Project) -> None:
    project.kubectl_must(
        "run", "bare", f"--image={image(project)}", "--command", "--", "sleep", "60"
    )
    project.kubectl_must("wait", "pod/bare", "--for=condition=Ready", "--timeout=60s")
    (container,) = made(project, "bare")
    assert container["HostConfig"]["CapDrop"] == ["ALL"]
    assert not container["HostConfig"]["CapAdd"]
    assert "docker.sock" not in json.dumps(container["HostConfig"])
    status = project.kubectl_must("exec", "bare", "--", "cat", "/proc/1/status")
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert f"{name}:\t0000000000000000" in status
    project.kubectl_must("delete", "pod", "bare", "--now", "--timeout=60s")


def test_run_attached_prints_and_goes(project: Project) -> None:
    done = project.kubectl(
        "run", "once", f"--image={image(project)}", "--restart=Never", "--rm", "--attach", "--command",
        "--", "sh", "-c", "sleep 1; curl -sS --fail http://web-svc",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Hostname:" in done.stdout
    assert project.kubectl("get", "pod", "once").returncode == 1


def test_nothing_is_lost_of_what_ends_before_anybody_can_attach(project: Project) -> None:
    options = (f"--image={image(project)}", "--restart=Never", "--rm", "--attach", "--quiet")
    done = project.kubectl("run", "brief", *options, "--command", "--", "echo", "hello")
    assert (done.returncode, done.stdout.partition("\n")[0]) == (0, "hello"), done.stderr


def test_nobody_debugs_in_a_pod_that_compose_made(project: Project) -> None:
    done = project.kubectl("debug", "web-1", f"--image={image(project)}", "--profile=general")
    assert done.returncode == 1
    assert "static pods do not support ephemeral containers" in done.stderr


@pytest.mark.parametrize("pod", ["client", "web-1"])
def test_exec_and_logs_reach_pods_that_compose_made(project: Project, pod: str) -> None:
    assert project.kubectl_must("exec", pod, "--", "echo", "here") == "here\n"
    done = project.kubectl("exec", pod, "--", "sh", "-c", "exit 7")
    assert done.returncode == 7
    project.kubectl_must("logs", pod)


def test_logs_are_those_of_the_container(project: Project) -> None:
    assert "built-in web server on port 80" in project.kubectl_must("logs", "web-1")
    assert "built-in web server on port 8080" in project.kubectl_must("logs", "duo", "-c", "web")


def test_input_goes_to_a_command_in_a_pod(project: Project) -> None:
    config = str(project.out / "kubeconfig")
    script = f"echo typed | kubectl --kubeconfig {config} exec -i client -- cat"
    done = project.engine.on_host("sh", "-c", script)
    assert (done.stdout, done.returncode) == ("typed\n", 0), done.stderr


def test_a_missing_image_is_said_in_the_engines_words(project: Project) -> None:
    project.kubectl_must("run", "nobody", "--image=podwire.invalid/no-such-image:1")

    def waiting() -> Json:
        none: list[Json] = [{}]
        statuses: list[Json] = project.get("pod", "nobody")["status"].get("containerStatuses", none)
        state: Json = statuses[0].get("state", {})
        return cast(Json, state.get("waiting", {}))

    said = project.until(
        waiting,
        lambda found: found.get("reason") in ("ErrImagePull", "ImagePullBackOff"),
        "the pod waits for its image",
    )
    assert "podwire.invalid" in said["message"]
    assert "Failed" in project.kubectl_must(
        "get", "events", "--field-selector", "involvedObject.name=nobody"
    )
    project.kubectl_must("delete", "pod", "nobody", "--now", "--timeout=60s")


def test_api_restarts_and_what_kubectl_made_runs_on(mended: Project) -> None:
    serve(mended, "kept", 2)
    mended.kubectl_must("create", "rolebinding", "sees", "--clusterrole=view",
                        "--serviceaccount=default:default")  # fmt: skip
    pods = mended.get("pods", "-l", "app=kept")["items"]
    for pod in pods:
        mended.exec("client", *RETRY, f"http://{pod['status']['podIP']}")
    name = str(pods[0]["metadata"]["name"])
    script = (
        "cd /var/run/secrets/kubernetes.io/serviceaccount; "
        'curl -sS --fail --cacert ca.crt -H "Authorization: Bearer $(cat token)" '
        f"https://kubernetes.default.svc/api/v1/namespaces/$(cat namespace)/pods/{name}"
    )

    def asked() -> str:
        return mended.kubectl("exec", name, "--", "sh", "-c", script).stdout

    mended.until(
        asked, lambda said: f'"name":"{name}"' in said, "its token lets it look at its pod"
    )
    before = {one["Id"]: one["State"]["StartedAt"] for one in made(mended, "kept-")}
    uids = {pod["metadata"]["uid"] for pod in pods}
    mended.must("restart", "api")
    mended.settle()
    mended.kubectl_must("rollout", "status", "deployment/kept", "--timeout=60s")
    assert {one["Id"]: one["State"]["StartedAt"] for one in made(mended, "kept-")} == before
    assert {one["metadata"]["uid"] for one in mended.get("pods", "-l", "app=kept")["items"]} == uids
    mended.until(asked, lambda said: f'"name":"{name}"' in said, "it still does")
    # The new kubelets are in charge of them.
    mended.kubectl_must("delete", "deployment/kept", "rolebinding/sees", "--timeout=60s")
    mended.until(lambda: made(mended, "kept-"), lambda found: not found, "they are gone")
