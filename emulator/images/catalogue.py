"""Pure: what an image name runs, without a registry.

The real program where this machine has it, else a built-in stand-in that says so. A stand-in
listens on its image's usual port, not on what containerPort says: a wrong port stays wrong.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from podwire.kube.readiness import HOW_TO_ADD

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# SIGQUIT lets nginx finish what it serves; it is the STOPSIGNAL of the official image.
_SIGTERM, _SIGQUIT = 15, 3


@dataclass(frozen=True, slots=True)
class Image:
    """What runs for an image: *entrypoint* and *command* as in a Dockerfile.

    An entrypoint that begins with `builtin:` is a program of podwire's own. *files* are put into
    the container's root (path to content).
    """

    name: str
    says: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict[str, str])
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    directories: tuple[str, ...] = ()
    stop_signal: int = _SIGTERM
    directory: str = "/"
    # What HOME is; empty: whatever runs the container finds it out.
    home: str = "/tmp"
    # UID, name, or UID:GID; empty is root.
    user: str = ""
    # What whoever runs the container knows the image by; empty: by its name.
    identity: str = ""


class ImageError(Exception):
    """No such image here; *reason* is the CamelCase word for the container's status."""

    def __init__(self, message: str, *, reason: str = "ErrImagePull") -> None:
        super().__init__(message)
        self.reason = reason


NGINX_CONF = """\
user root;
worker_processes 1;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events { worker_connections 1024; }
http {
    types { text/html html htm; text/css css; application/javascript js; application/json json; }
    default_type text/plain;
    access_log /dev/stdout;
    client_body_temp_path /tmp/client_temp;
    proxy_temp_path /tmp/proxy_temp;
    fastcgi_temp_path /tmp/fastcgi_temp;
    uwsgi_temp_path /tmp/uwsgi_temp;
    scgi_temp_path /tmp/scgi_temp;
    sendfile on;
    keepalive_timeout 65;
    include /etc/nginx/conf.d/*.conf;
}
"""
NGINX_DEFAULT = """\
server {
    listen 80;
    server_name localhost;
    location / {
        root /usr/share/nginx/html;
        index index.html index.htm;
    }
}
"""
_NGINX = {"nginx": 80, "nginxinc/nginx-unprivileged": 8080, "registry.k8s.io/nginx": 80}
_COREDNS = ("registry.k8s.io/coredns/coredns", "coredns/coredns")
_SHELLS = (
    "podwire/shell", "busybox", "alpine", "debian", "ubuntu", "fedora", "bash", "buildpack-deps",
    "centos", "nicolaka/netshoot", "wbitt/network-multitool", "praqma/network-multitool",
    "registry.k8s.io/e2e-test-images/busybox", "registry.k8s.io/e2e-test-images/jessie-dnsutils",
    "tutum/dnsutils", "curlimages/curl", "curl/curl", "alpine/curl", "radial/busyboxplus",
)  # fmt: skip
_ECHOES = (
    "podwire/echo", "istio/tcp-echo-server", "venilnoronha/tcp-echo-server",
)  # fmt: skip
_WEBS = {
    "podwire/web": 80, "httpd": 80, "traefik/whoami": 80, "containous/whoami": 80, "caddy": 80,
    "hashicorp/http-echo": 5678, "paulbouwer/hello-kubernetes": 8080,
    "gcr.io/google-samples/hello-app": 8080,
    "us-docker.pkg.dev/google-samples/containers/gke/hello-app": 8080,
    "registry.k8s.io/echoserver": 8080, "gcr.io/google_containers/echoserver": 8080,
    "registry.k8s.io/e2e-test-images/echoserver": 8080, "registry.k8s.io/serve_hostname": 9376,
    "nginxdemos/hello": 80, "mendhak/http-https-echo": 8080, "ealen/echo-server": 80,
    "kennethreitz/httpbin": 80, "stefanprodan/podinfo": 9898, "ghcr.io/stefanprodan/podinfo": 9898,
}  # fmt: skip
# Programs that nothing can stand in for, with what the official image gives them.
_PROGRAMS = {
    "python": ("python3",), "node": ("node",), "memcached": ("memcached", "-u", "root"),
    "redis": ("redis-server", "--protected-mode", "no"),
    "haproxy": ("haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"),
}  # fmt: skip

_BAD = "invalid reference format"
# HOST[:PORT]/NAME/...:TAG@DIGEST (github.com/distribution/reference); what has a capital, a dot or
# a port before the first slash is a host.
_HOST = re.compile(r"(?:(?=[^/]*[A-Z.:]|localhost/)[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/)?")
_NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"{_HOST.pattern}{_NAME}(?:/{_NAME})*"
    r"(?::\w[\w.-]{0,127})?(?:@[A-Za-z][\w+.-]*:[0-9A-Fa-f]+)?",
    re.ASCII,
)
_DOCKER_HUB = ("", "docker.io/", "index.docker.io/")


def normalise(image: str) -> str:
    """Return the repository of an image reference: no tag, no digest, no Docker Hub prefix."""
    name = image.partition("@")[0]
    head, slash, tail = name.rpartition("/")
    name = head + slash + tail.partition(":")[0]
    return re.sub(
        r"^(docker\.io/library/|index\.docker\.io/library/|(index\.)?docker\.io/|library/)",
        "",
        name,
    )


def resolve(
    image: str,
    additions: Mapping[str, Sequence[str]],
    find: Callable[[str], str | None],
) -> Image:
    """Return what *image* runs; *find* looks a program up on this machine.

    *additions* are the user's: name to command. Raises ImageError for a name that nobody knows.
    """
    name = normalise(image)
    has_tag = ":" in image.rpartition("/")[2]
    for known in (image, name, *(() if has_tag else (f"{name}:latest",))):
        if known in additions:
            command = tuple(additions[known])
            return Image(image, f"command {command[0]} (added)", entrypoint=command)
    problem = _problem(image)
    if problem:
        raise ImageError(
            f'Failed to apply default image tag "{image}": '
            f'couldn\'t parse image name "{image}": {problem}',
            reason="InvalidImageName",
        )
    found = _known(image, name, find)
    if found is None:
        raise ImageError(f'no image "{image}" here, and podwire pulls none; {how_to_add(image)}')
    return found


def how_to_add(image: str) -> str:
    """Return what makes an unknown name known, to end a message with."""
    name = normalise(image)
    return (
        f"say what it runs: podwire images add {name} -- COMMAND..."
        f" (or at the start: {HOW_TO_ADD} {name}='COMMAND...')"
    )


def names() -> list[tuple[str, str]]:
    """Return every image name of the catalogue and what it runs, where the machine has it."""
    rows = [
        (name, image.says)
        for name in _all_names()
        if (image := _known(name, name, lambda program: program)) is not None
    ]
    return sorted(rows)


def _problem(image: str) -> str:
    """Return what is wrong with a name in the words of the kubelet; empty: nothing."""
    if _REFERENCE.fullmatch(image):
        return ""
    if _REFERENCE.fullmatch(image.lower()):
        found = _HOST.match(image)
        host = found[0] if found else ""
        repository = image.removeprefix(host).partition(":")[0]
        prefix = "library/" if host in _DOCKER_HUB and "/" not in repository else ""
        return f"{_BAD}: repository name ({prefix}{repository}) must be lowercase"
    return _BAD


def _all_names() -> list[str]:
    return [*_NGINX, *_COREDNS, *_SHELLS, *_ECHOES, *_WEBS, *_PROGRAMS, "registry.k8s.io/pause",
            "registry.k8s.io/kube-proxy", "registry.k8s.io/e2e-test-images/agnhost"]  # fmt: skip


def _known(image: str, name: str, find: Callable[[str], str | None]) -> Image | None:
    if name in _NGINX:
        return _nginx(image, _NGINX[name], find)
    if name in _SHELLS:
        shell = "bash" if name in ("bash", "debian", "ubuntu") and find("bash") else "sh"
        return Image(image, f"this machine's {shell} and programs", command=(shell,))
    if name in _WEBS:
        return _web(image, _WEBS[name])
    if name in _PROGRAMS:
        return _program(image, _PROGRAMS[name], find)
    if name in _ECHOES:
        return Image(
            image,
            "built-in echo server, TCP and UDP port 7",
            entrypoint=("builtin:echo", "--port", "7"),
        )
    if name == "registry.k8s.io/e2e-test-images/agnhost":
        return Image(image, "built-in stand-in for agnhost pause and netexec",
                     entrypoint=("builtin:agnhost",), command=("pause",))  # fmt: skip
    if name == "registry.k8s.io/pause":
        return Image(image, "built-in pause", entrypoint=("builtin:pause",))
    if name in _COREDNS:
        return Image(image, "built-in cluster DNS (dnslib)", entrypoint=("builtin:dns",))
    if name == "registry.k8s.io/kube-proxy":
        return Image(image, "built-in service proxy (asyncio)", entrypoint=("builtin:proxy",))
    return None


def _nginx(image: str, port: int, find: Callable[[str], str | None]) -> Image:
    program = find("nginx")
    if program is None:
        stand_in = _web(image, port)
        return Image(
            image,
            f"built-in web server on port {port} (this machine has no nginx)",
            entrypoint=stand_in.entrypoint,
        )
    return Image(
        image,
        f"this machine's {program}",
        # As the official image: its entrypoint only runs what it is given.
        command=("nginx", "-g", "daemon off;"),
        files={
            "/etc/nginx/nginx.conf": NGINX_CONF,
            "/etc/nginx/conf.d/default.conf": NGINX_DEFAULT.replace("80", str(port)),
        },
        directories=("/var/log/nginx", "/var/lib/nginx", "/var/cache/nginx"),
        stop_signal=_SIGQUIT,
    )


def _program(image: str, command: tuple[str, ...], find: Callable[[str], str | None]) -> Image:
    program = find(command[0])
    if program is None:
        raise ImageError(
            f'"{image}" runs this machine\'s {command[0]}, and it has none: install that, or '
            f"{how_to_add(image)}"
        )
    return Image(image, f"this machine's {program}", command=command)


def _web(image: str, port: int) -> Image:
    return Image(
        image,
        f"built-in web server on port {port}",
        # Not as the command: a pod's args replace that, and the port stays what it is.
        entrypoint=("builtin:web", "--port", str(port)),
    )
