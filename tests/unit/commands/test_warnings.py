"""What the API server warns of reaches whoever applied."""

from typing import TYPE_CHECKING

from podwire.kube.apply import apply
from podwire.kube.manifests import from_text

if TYPE_CHECKING:
    from tests.unit.commands.conftest import Api

POD = """
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: default}
spec:
  securityContext: {%s}
  containers: [{name: c, image: busybox}]
"""


def test_a_field_without_effect_is_warned_of_once(api: "Api") -> None:
    with api.connection() as connection:
        apply(connection, from_text(POD % "runAsUser: 1000"))
        apply(connection, from_text(POD % "runAsUser: 1000"))
        (text,) = connection.warnings
    assert text.startswith("spec.securityContext.runAsUser: ")


def test_a_plain_pod_is_not_warned_of(api: "Api") -> None:
    with api.connection() as connection:
        apply(connection, from_text(POD % ""))
        assert not connection.warnings
