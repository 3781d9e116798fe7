from collections.abc import Mapping

import pytest

from podwire.emulator.images.catalogue import ImageError, names, normalise, resolve


def nothing(_program: str) -> str | None:
    return None


def everything(program: str) -> str | None:
    return f"/usr/sbin/{program}"


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("nginx", "nginx"),
        ("nginx:1.27-alpine", "nginx"),
        ("nginx@sha256:0123", "nginx"),
        ("nginx:1.27@sha256:0123", "nginx"),
        ("library/nginx", "nginx"),
        ("docker.io/nginx", "nginx"),
        ("docker.io/library/nginx:1", "nginx"),
        ("index.docker.io/library/nginx", "nginx"),
        ("index.docker.io/hashicorp/http-echo:1.0", "hashicorp/http-echo"),
        ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause"),
        ("localhost:5000/nginx:1", "localhost:5000/nginx"),
        ("localhost:5000/nginx", "localhost:5000/nginx"),
    ],
)
def test_names_without_tag_digest_and_docker_hub(image: str, name: str) -> None:
    assert normalise(image) == name


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        ("nginx:", "invalid reference format"),
        ("nginx::1", "invalid reference format"),
        ("nginx:1 ", "invalid reference format"),
        ("nginx@latest", "invalid reference format"),
        ("web//nginx", "invalid reference format"),
        (":80", "invalid reference format"),
        ("Nginx", "invalid reference format: repository name (library/Nginx) must be lowercase"),
        ("me/Web:1", "invalid reference format: repository name (me/Web) must be lowercase"),
        (
            "docker.io/Web",
            "invalid reference format: repository name (library/Web) must be lowercase",
        ),
        (
            "quay.io/Me/Web:1",
            "invalid reference format: repository name (Me/Web) must be lowercase",
        ),
        ("localhost:5000/Web", "invalid reference format: repository name (Web) must be lowercase"),
        # What has a capital is taken for a host.
        ("Me/Web:1", "invalid reference format: repository name (Web) must be lowercase"),
        ("Me/web:1", ""),
        ("Example.com/web", ""),
        ("localhost:5000/my_web/a--b.c:V1.2-rc_3", ""),
    ],
)
def test_names_that_are_none(image: str, problem: str) -> None:
    with pytest.raises(ImageError) as refused:
        resolve(image, {}, nothing)
    if problem:
        assert refused.value.reason == "InvalidImageName"
        assert str(refused.value).endswith(f'parse image name "{image}": {problem}')
    else:
        assert refused.value.reason == "ErrImagePull"


def test_an_image_that_was_added_may_have_any_name() -> None:
    assert runs("My App", {"My App": ["true"]}).startswith("true")


def runs(image: str, added: Mapping[str, list[str]] | None = None, *, has: bool = False) -> str:
    found = resolve(image, added or {}, everything if has else nothing)
    return " ".join((*found.entrypoint, "|", *found.command)).strip(" |") + f" ({found.says})"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (
            "nginx:1.27",
            "builtin:web --port 80 (built-in web server on port 80 (this machine has no nginx))",
        ),
        (
            "nginxinc/nginx-unprivileged",
            "builtin:web --port 8080 (built-in web server on port 8080 (this machine has no nginx))",
        ),
        ("busybox:1.36", "sh (this machine's sh and programs)"),
        ("debian:12", "sh (this machine's sh and programs)"),
        ("httpd", "builtin:web --port 80 (built-in web server on port 80)"),
        ("hashicorp/http-echo", "builtin:web --port 5678 (built-in web server on port 5678)"),
        ("podwire/echo", "builtin:echo --port 7 (built-in echo server, TCP and UDP port 7)"),
        ("registry.k8s.io/pause:3.9", "builtin:pause (built-in pause)"),
        ("registry.k8s.io/coredns/coredns:v1.11.3", "builtin:dns (built-in cluster DNS (dnslib))"),
        ("registry.k8s.io/kube-proxy:v1.32.0", "builtin:proxy (built-in service proxy (asyncio))"),
        (
            "registry.k8s.io/e2e-test-images/agnhost:2.45",
            "builtin:agnhost | pause (built-in stand-in for agnhost pause and netexec)",
        ),
    ],
)
def test_what_runs_on_a_bare_machine(image: str, expected: str) -> None:
    assert runs(image) == expected


def test_the_machines_own_programs_are_preferred() -> None:
    assert runs("ubuntu", has=True) == "bash (this machine's bash and programs)"
    assert runs("alpine", has=True) == "sh (this machine's sh and programs)"
    nginx = resolve("nginx", {}, everything)
    assert nginx.says == "this machine's /usr/sbin/nginx"
    assert (nginx.entrypoint, nginx.command) == ((), ("nginx", "-g", "daemon off;"))
    assert "listen 80;" in nginx.files["/etc/nginx/conf.d/default.conf"]
    assert "user root;" in nginx.files["/etc/nginx/nginx.conf"]
    assert nginx.stop_signal == 3
    other = resolve("nginxinc/nginx-unprivileged", {}, everything)
    assert "listen 8080;" in other.files["/etc/nginx/conf.d/default.conf"]


def test_a_stand_in_keeps_its_port_whatever_arguments_replace_its_command() -> None:
    for image in ("nginx", "hashicorp/http-echo", "podwire/echo"):
        assert resolve(image, {}, nothing).command == ()


def test_images_that_the_user_added_come_first() -> None:
    assert runs("shop/cart:2", {"shop/cart": ["cart", "--port", "80"]}) == (
        "cart --port 80 (command cart (added))"
    )
    assert runs("shop/cart", {"shop/cart:latest": ["cart"]}) == "cart (command cart (added))"
    assert runs("shop/cart:latest", {"shop/cart": ["cart"]}) == "cart (command cart (added))"
    assert runs("nginx", {"nginx": ["mine"]}) == "mine (command mine (added))"
    assert runs("nginx:special", {"nginx:special": ["that"]}) == "that (command that (added))"


def test_an_unknown_image_says_how_to_add_it() -> None:
    with pytest.raises(ImageError) as raised:
        resolve("shop/cart:2", {}, everything)
    assert str(raised.value) == (
        'no image "shop/cart:2" here, and podwire pulls none; say what it runs: '
        "podwire images add shop/cart -- COMMAND... "
        "(or at the start: podwire up --image shop/cart='COMMAND...')"
    )


def test_a_program_that_nothing_stands_in_for() -> None:
    assert runs("python:3.12-slim", has=True) == "python3 (this machine's /usr/sbin/python3)"
    assert runs("redis", has=True).startswith("redis-server --protected-mode no (")
    with pytest.raises(ImageError, match="runs this machine's redis-server, and it has none: in"):
        resolve("redis:7", {}, nothing)
    assert runs("redis:7", {"redis": ["my-redis"]}).startswith("my-redis")


def test_every_listed_name_can_be_used() -> None:
    listed = dict(names())
    assert len(listed) == len(names())
    for name in listed:
        assert resolve(name, {}, everything).says
    assert "nginx" in listed["nginx"]
