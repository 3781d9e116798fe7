"""Which container reaches which socket, and what it may do there."""

import pytest

from tests.system.docker.project import Project

ASK = """
import http.client, socket, sys
path, method, target = sys.argv[1:]
api = http.client.HTTPConnection("api")
api.sock = socket.socket(socket.AF_UNIX)
api.sock.connect(path)
api.request(method, target, headers={"X-Remote-User": "system:podwire"})
answer = api.getresponse()
print(answer.status, answer.read(300).decode(errors="replace"))
"""
API, READERS = "/run/podwire/api.sock", "/run/podwire-readers/api.sock"


def test_sockets_are_on_volumes_of_those_that_may_use_them(project: Project) -> None:
    found: dict[str, set[str]] = {}
    for one in project.containers():
        service = str(one["Config"]["Labels"]["com.docker.compose.service"])
        for mount in one["Mounts"]:
            if mount["Type"] == "volume":
                name = str(mount["Name"]).removeprefix(f"{project.name}_")
                found.setdefault(name, set()).add(service)
    # And `capture`, if its profile is wanted: it holds the other end.
    assert found["captures"] - {"capture"} == {"api"}
    assert found["readers"] == {"api", "coredns"}
    assert found["run"] == {"api", "node-a", "node-b"}
    assert found["pods"] == {"api"}


@pytest.mark.parametrize(
    ("service", "path", "request_", "status"),
    [
        ("coredns", READERS, "GET /api/v1/services", "200"),
        ("coredns", READERS, "GET /api/v1/secrets", "403"),
        ("coredns", READERS, "DELETE /api/v1/namespaces/default/services/web-svc", "403"),
        ("coredns", READERS, "GET /apis/podwire.dev/v1/hosts/node-a/exec?command=id", "403"),
        ("node-a", API, "GET /api/v1/secrets", "200"),
        ("api", API, "GET /api/v1/secrets", "200"),
    ],
)
def test_what_a_container_may_do_whatever_it_says_that_it_is(
    project: Project, service: str, path: str, request_: str, status: str
) -> None:
    answer = project.exec(service, "python", "-c", ASK, path, *request_.split())
    assert answer.split()[0] == status, answer
    assert status == "200" or "system:serviceaccount:kube-system:coredns" in answer


def test_only_root_may_connect_where_names_are_believed(project: Project) -> None:
    done = project.compose(
        "exec", "-T", "--user", "65532", "node-a",
        "python", "-c", ASK, API, "GET", "/api/v1/services",
    )  # fmt: skip
    assert done.returncode == 1
    assert "PermissionError" in done.stderr
