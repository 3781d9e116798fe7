"""TLS and client certificates, and the end of the server while clients are connected."""

import asyncio
import datetime
import random
import re
import socket
import ssl
import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Store
from podwire.kube.clock import SystemClock
from podwire.testing.agent import FakeAgent

SECONDS = 10
DNS = "system:serviceaccount:kube-system:coredns"
REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test-ca")])
        self.path = folder / "ca.crt"
        certificate = self._sign(self._name, self._key, ca=True)
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def chain(self, name: str, *groups: str) -> tuple[Path, Path]:
        """Return paths of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        subject += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        certificate = self._sign(x509.Name(subject), key, ca=False)
        paths = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return paths

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def new_server() -> ApiServer:
    server = ApiServer(Store(), FakeAgent(), SystemClock(), random.Random(1))
    server.fill(6443)
    return server


def listener() -> socket.socket:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    bound.listen()
    return bound


def server_context(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.chain("server"))
    context.load_verify_locations(authority.path)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def client_context(authority: Authority, *who: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.path))
    if who:
        context.load_cert_chain(*authority.chain(*who))
    return context


@pytest.mark.parametrize(
    ("who", "listing", "user"),
    [
        (("kubernetes-admin", "system:masters"), 200, ["kubernetes-admin", "system:masters", "system:authenticated"]),
        (("system:node:node-1", "system:nodes"), 403, ["system:node:node-1", "system:nodes", "system:authenticated"]),
        (("eve",), 403, ["eve", "system:authenticated"]),
        ((), 403, None),
    ],
)  # fmt: skip
async def test_certificates(
    authority: Authority, who: tuple[str, ...], listing: int, user: list[str] | None
) -> None:
    bound = listener()
    url = f"https://127.0.0.1:{bound.getsockname()[1]}"
    context = client_context(authority, *who)
    # A header is no proof on a socket that everybody reaches.
    headers = {"X-Remote-User": "system:admin"}
    async with new_server().serve([(bound, server_context(authority))]):
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(url, connector=connector, headers=headers) as client:
            async with client.get("/readyz") as answer:
                assert answer.status == 200
            async with client.get("/api/v1/pods") as answer:
                assert answer.status == listing
            async with client.post(REVIEWS, json={}) as answer:
                document: dict[str, Any] = await answer.json()
            found = document.get("status")
            if user is None:
                assert document["reason"] == "Forbidden"
                assert 'User "system:anonymous" cannot create' in document["message"]
            else:
                assert isinstance(found, dict)
                info = document["status"]["userInfo"]
                assert [info["username"], *info["groups"]] == user
                (shown,) = info["extra"]["authentication.kubernetes.io/credential-id"]
                assert re.fullmatch("X509SHA256=[0-9a-f]{64}", shown)


SECRET = "/api/v1/namespaces/default/secrets/s"
POD = "/api/v1/namespaces/default/pods/p"


@pytest.mark.parametrize(
    ("line", "code", "cannot"),
    [
        ("GET /api/v1/services", 200, ""),
        ("GET /api/v1/namespaces", 200, ""),
        ("GET /api/v1/pods", 200, ""),
        ("GET /api/v1/namespaces/default/services/kubernetes", 200, ""),
        ("GET /apis/discovery.k8s.io/v1/endpointslices", 200, ""),
        ("GET /apis/discovery.k8s.io/v1/endpointslices?watch=1&timeoutSeconds=1", 200, ""),
        ("GET /api/v1/secrets", 403, "list secrets"),
        ("GET /api/v1/secrets?watch=1&timeoutSeconds=1", 403, "watch secrets"),
        (f"GET {SECRET}", 403, "get secrets"),
        ("GET /api/v1/configmaps", 403, "list configmaps"),
        ("POST /api/v1/namespaces/default/services", 403, "create services"),
        ("PATCH /api/v1/namespaces/default/services/kubernetes", 403, "patch services"),
        ("DELETE /api/v1/namespaces/default/services/kubernetes", 403, "delete services"),
        ("DELETE /api/v1/namespaces/default/pods", 403, "deletecollection pods"),
        (f"GET {POD}/log", 403, "get pods/log"),
        (f"GET {POD}/exec?command=id", 403, "get pods/exec"),
        (f"POST {POD}/exec?command=id", 403, "create pods/exec"),
        ("GET /apis/podwire.dev/v1/hosts", 403, "get hosts"),
        ("GET /apis/podwire.dev/v1/hosts/node-a/exec?command=id", 403, "create hosts/exec"),
        ("GET /apis/podwire.dev/v1/capture", 403, "create hosts/capture"),
    ],
)  # fmt: skip
async def test_on_the_socket_of_the_dns_server_its_role_is_all_there_is(
    tmp_path: Path, line: str, code: int, cannot: str
) -> None:
    method, _, path = line.partition(" ")
    api, dns = tmp_path / "api.sock", tmp_path / "dns.sock"
    # Whatever it says of itself.
    headers = {"X-Remote-User": "system:podwire"}
    async with new_server().serve(unix_path=api, dns_path=dns), asyncio.timeout(SECONDS):
        found: dict[Path, tuple[int, str]] = {}
        for socket_ in (dns, api):
            connector = aiohttp.UnixConnector(str(socket_))
            async with (
                aiohttp.ClientSession("http://api", connector=connector, headers=headers) as client,
                client.request(method, path, json={}) as answer,
            ):
                found[socket_] = (answer.status, await answer.text())
    status, text = found[dns]
    assert status == code, text
    if cannot:
        verb, what = cannot.split()
        assert f'User \\"{DNS}\\" cannot {verb} resource \\"{what}\\"' in text
        assert '"reason":"Forbidden"' in text
        # The twin: others may, as far as there is something.
        assert found[api][0] != 403


@pytest.mark.parametrize(
    ("verb", "group", "resource", "subresource", "may"),
    [
        ("list", "", "services", "", True),
        ("watch", "discovery.k8s.io", "endpointslices", "", True),
        ("get", "", "pods", "log", False),
        ("list", "", "secrets", "", False),
        ("create", "", "services", "", False),
        ("*", "*", "*", "", False),
    ],
)
async def test_what_the_dns_server_is_told_of_its_rights_is_so(
    tmp_path: Path,
    verb: str,
    group: str,
    resource: str,
    subresource: str,
    may: bool,  # noqa: FBT001
) -> None:
    attributes = {"verb": verb, "group": group, "resource": resource, "subresource": subresource}
    body = {"spec": {"resourceAttributes": attributes}}
    async with new_server().serve(dns_path=tmp_path / "dns.sock"):
        connector = aiohttp.UnixConnector(str(tmp_path / "dns.sock"))
        async with aiohttp.ClientSession("http://api", connector=connector) as client:
            path = "/apis/authorization.k8s.io/v1/selfsubject"
            async with client.post(f"{path}accessreviews", json=body) as answer:
                assert (await answer.json())["status"]["allowed"] is may
            async with client.post(
                f"{path}rulesreviews", json={"spec": {"namespace": "default"}}
            ) as answer:
                status = (await answer.json())["status"]
    # Besides what everybody may ask of themselves.
    own = [rule for rule in status["resourceRules"] if "selfsubject" not in rule["resources"][0]]
    assert {verb for rule in own for verb in rule["verbs"]} == {"get", "list", "watch"}


async def test_who_may_open_the_sockets_and_that_both_are_gone_at_the_end(tmp_path: Path) -> None:
    api, dns = tmp_path / "api.sock", tmp_path / "dns.sock"
    async with new_server().serve(unix_path=api, dns_path=dns):
        # The DNS server is nobody in particular.
        modes = [path.stat().st_mode & 0o777 for path in (api, dns)]
    assert modes == [0o600, 0o666]
    assert not [*tmp_path.iterdir()]  # noqa: ASYNC240


async def test_the_end_of_the_server_ends_watches_in_good_order(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    headers = {"X-Remote-User": "system:admin"}
    async with asyncio.timeout(SECONDS):
        connector = aiohttp.UnixConnector(str(path))
        async with aiohttp.ClientSession(
            "http://api", connector=connector, headers=headers
        ) as client:
            async with new_server().serve(unix_path=path):
                answer = await client.get("/api/v1/pods?watch=1")
            assert await answer.read() == b""


async def test_the_control_loop_may_be_uvloop(tmp_path: Path) -> None:
    script = (
        "import asyncio, random, sys, uvloop\n"
        "from pathlib import Path\n"
        "from podwire.emulator.apiserver.server import ApiServer\n"
        "from podwire.emulator.apiserver.store import Store\n"
        "from podwire.kube.clock import SystemClock\n"
        "from podwire.testing.agent import FakeAgent\n"
        "async def main():\n"
        "    server = ApiServer(Store(), FakeAgent(), SystemClock(), random.Random())\n"
        "    async with server.serve(unix_path=Path(sys.argv[1])):\n"
        "        reader, writer = await asyncio.open_unix_connection(sys.argv[1])\n"
        "        writer.write(b'GET /readyz HTTP/1.0\\r\\n\\r\\n')\n"
        "        print((await reader.read()).decode().splitlines()[-1])\n"
        "        writer.close()\n"
        "uvloop.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-c",
        script,
        str(tmp_path / "api.sock"),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(SECONDS):
        output, _ = await process.communicate()
    assert output == b"ok\n"
