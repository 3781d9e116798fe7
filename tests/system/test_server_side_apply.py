"""Server-side apply with every version of kubectl that this machine has: who owns what."""

from tests.system.kubectl import Kubectl

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: %d
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: podwire/web}]
"""

MANAGERS = "jsonpath={range .metadata.managedFields[*]}{.manager} {.operation} {.subresource};{end}"


def test_the_controller_does_not_take_what_was_applied(each_kubectl: Kubectl) -> None:
    kubectl = each_kubectl
    apply = ("apply", "--server-side", "-f", "-")
    applied = "deployment.apps/web serverside-applied\n"
    assert kubectl.said(*apply, given=WEB % 1) == applied
    kubectl.said("rollout", "status", "deployment/web", "--timeout=20s")
    # The controller has written the status and an annotation; applied again, nothing changes.
    version = ("get", "deployment", "web", "-o", "jsonpath={.metadata.resourceVersion}")
    before = kubectl.said(*version)
    assert kubectl.said(*apply, given=WEB % 1) == applied
    assert kubectl.said(*version) == before
    owners = kubectl.said("get", "deployment", "web", "--show-managed-fields", "-o", MANAGERS)
    assert owners.split(";")[:-1] == ["kubectl Apply ", "podwire Update ", "podwire Update status"]
    kubectl.said("delete", "deployment", "web")


def test_a_conflict_is_named_and_may_be_forced(each_kubectl: Kubectl) -> None:
    kubectl = each_kubectl
    apply = ("apply", "--server-side", "-f", "-")
    kubectl.said(*apply, given=WEB % 0)
    kubectl.said("patch", "deployment", "web", "-p", '{"spec": {"replicas": 2}}')
    refused = kubectl.run(*apply, given=WEB % 1)
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        'error: Apply failed with 1 conflict: conflict with "kubectl-patch" using apps/v1: '
        ".spec.replicas\n"
    )
    diff = kubectl.run("diff", "--server-side", "--force-conflicts", "-f", "-", given=WEB % 1)
    assert (diff.returncode, "-  replicas: 2\n+  replicas: 1\n" in diff.stdout) == (1, True)
    kubectl.said(*apply, "--force-conflicts", given=WEB % 1)
    replicas = kubectl.said("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}")
    assert replicas == "1"
    kubectl.said("delete", "deployment", "web")


def test_from_one_way_of_applying_to_the_other_and_back(each_kubectl: Kubectl) -> None:
    kubectl = each_kubectl
    kubectl.said("apply", "-f", "-", given=WEB % 0)
    moved = kubectl.run("apply", "--server-side", "-f", "-", given=WEB % 1)
    assert (moved.stdout, moved.stderr) == ("deployment.apps/web serverside-applied\n", "")
    owners = kubectl.said("get", "deployment", "web", "--show-managed-fields", "-o", MANAGERS)
    assert owners.split(";")[:2] == ["kubectl-last-applied Apply ", "kubectl Apply "]
    assert "kubectl-client-side-apply" not in owners
    assert "replicas: 1" in kubectl.said("apply", "view-last-applied", "deployment", "web")
    back = kubectl.said("apply", "-f", "-", given=WEB % 0)
    assert back == "deployment.apps/web configured\n"
    kubectl.said("delete", "deployment", "web")
