from collections.abc import Sequence

import pytest

from podwire.emulator.runtimes.mounts import ROOT, Bind, HostRoot, root_file_system
from podwire.emulator.sandbox.messages import Mount

HOST = HostRoot(
    ("boot", "dev", "etc", "proc", "run", "srv", "sys", "tmp", "usr", "var"),
    {"bin": "usr/bin", "lib": "/usr/lib", "tmp2": "tmp"},
)
THERE = {
    "/etc", "/etc/hosts", "/etc/nginx", "/usr", "/usr/bin", "/usr/lib", "/usr/share", "/srv",
    "/dev/null", "/dev/pts",
}  # fmt: skip


def directory(path: str, *, read_only: bool = False) -> Bind:
    return Bind(path, f"/pod{path}", is_directory=True, read_only=read_only)


def file(path: str) -> Bind:
    return Bind(path, f"/pod{path}", is_directory=False)


def steps(
    *binds: Bind, directories: Sequence[str] = (), kept: dict[str, str] | None = None
) -> tuple[Mount, ...]:
    return root_file_system(HOST, binds, directories, kept or {}, THERE.__contains__)


def shown(*binds: Bind, directories: Sequence[str] = ()) -> list[str]:
    """Return what *binds* add to the mounts of every container, as `KIND PATH`."""
    plain = steps()
    return [
        f"{step.kind} {step.target.removeprefix(ROOT)}"
        for step in steps(*binds, directories=directories)
        if step not in plain
    ]


def test_every_container_has_the_hosts_files_read_only_and_places_of_its_own() -> None:
    made = steps()
    assert made[0] == Mount("private", "/")
    assert made[1] == Mount("tmpfs", ROOT, "mode=755")
    assert made[-1] == Mount("pivot", ROOT)
    order = [f"{step.kind} {step.target.removeprefix(ROOT)}" for step in made]
    sealed = order.index("read-only ")
    for name in ("boot", "etc", "srv", "usr"):
        assert order.index(f"bind /{name}") < sealed
    for fresh in (
        "tmpfs /tmp",
        "tmpfs /var",
        "tmpfs /run",
        "tmpfs /dev",
        "proc /proc",
        "sysfs /sys",
    ):
        assert order.index(fresh) > sealed
    for never in ("bind /tmp", "bind /var", "bind /run", "bind /dev", "bind /proc", "bind /sys"):
        assert never not in order
    assert Mount("link", f"{ROOT}/bin", "usr/bin") in made
    assert Mount("link", f"{ROOT}/lib", "/usr/lib") in made
    assert "directory /var/log" in order
    assert Mount("link", f"{ROOT}/var/run", "../run") in made
    assert "bind /dev/null" in order
    assert "bind /dev/tty" not in order


@pytest.mark.parametrize(
    ("binds", "added"),
    [
        # On what the host has.
        ([file("/etc/hosts")], ["bind /etc/hosts"]),
        ([directory("/srv", read_only=True)], ["bind /srv", "read-only /srv"]),
        # In a place of the container's own.
        ([directory("/var/data/x")], ["directory /var/data/x", "bind /var/data/x"]),
        ([file("/run/podwire/api.sock")], ["file /run/podwire/api.sock", "bind /run/podwire/api.sock"]),
        # At the top, where the host has nothing.
        (
            [directory("/data/x"), file("/data/y")],
            ["directory /data", "tmpfs /data", "directory /data/x", "bind /data/x", "file /data/y", "bind /data/y"],
        ),
        ([file("/one")], ["file /one", "bind /one"]),
        # Below a directory of the host, which has no such place: an overlay makes it.
        (
            [file("/etc/nginx/conf.d/a.conf")],
            ["overlay /etc/nginx", "file /etc/nginx/conf.d/a.conf", "bind /etc/nginx/conf.d/a.conf"],
        ),
        (
            [directory("/usr/share/html/x"), directory("/etc/new")],
            ["overlay /etc", "overlay /usr/share", "directory /etc/new", "bind /etc/new",
             "directory /usr/share/html/x", "bind /usr/share/html/x"],
        ),
        # Two below each other, the upper one first; whichever was asked for first.
        (
            [directory("/usr/share/a"), directory("/usr/x/y/z")],
            ["overlay /usr", "overlay /usr/share", "directory /usr/share/a", "bind /usr/share/a",
             "directory /usr/x/y/z", "bind /usr/x/y/z"],
        ),
        (
            [directory("/usr/x/y/z"), directory("/usr/share/a")],
            ["overlay /usr", "overlay /usr/share", "directory /usr/share/a", "bind /usr/share/a",
             "directory /usr/x/y/z", "bind /usr/x/y/z"],
        ),
        # A parent is mounted before its child.
        (
            [file("/srv/a/b"), directory("/srv")],
            ["overlay /srv", "bind /srv", "file /srv/a/b", "bind /srv/a/b"],
        ),
        # Through a link of the host's.
        ([file("/lib/x.so")], ["overlay /usr/lib", "file /usr/lib/x.so", "bind /usr/lib/x.so"]),
        ([file("/bin/mine")], ["overlay /usr/bin", "file /usr/bin/mine", "bind /usr/bin/mine"]),
        ([directory("/bin")], ["bind /usr/bin"]),
    ],
)  # fmt: skip
def test_mount_points(binds: list[Bind], added: list[str]) -> None:
    made = [step for step in shown(*binds) if "/scratch" not in step]
    assert made == added


def test_who_administers_networks_may_write_their_settings() -> None:
    other = root_file_system(HOST, (), (), {}, THERE.__contains__, network_settings=True)
    assert set(other) - set(steps()) == {Mount("proc", f"{ROOT}/proc", "sys/net")}


def test_overlays_share_one_scratch_place() -> None:
    made = [
        step for step in shown(directory("/etc/new"), directory("/srv/new")) if "/scratch" in step
    ]
    scratch = "/run/podwire/scratch"
    assert made == [
        f"directory {scratch}",
        f"tmpfs {scratch}",
        f"directory {scratch}/0/upper",
        f"directory {scratch}/0/work",
        f"directory {scratch}/1/upper",
        f"directory {scratch}/1/work",
    ]


def test_an_overlay_lies_on_the_hosts_directory() -> None:
    (overlay,) = [step for step in steps(directory("/etc/new")) if step.kind == "overlay"]
    assert overlay.target == f"{ROOT}/etc"
    assert overlay.source == (
        "lowerdir=/etc,upperdir=/run/podwire/scratch/0/upper,"
        "workdir=/run/podwire/scratch/0/work,userxattr"
    )


def test_directories_of_an_image_are_there_and_writable() -> None:
    assert shown(directories=["/var/cache/nginx", "/srv/www"])[-2:] == [
        "directory /srv/www",
        "directory /var/cache/nginx",
    ]


def test_what_is_kept_of_the_host_is_reachable_below_fresh_places() -> None:
    made = steps(kept={"/tmp/venv": "/run/podwire/keep/0"})
    there = made.index(Mount("bind", f"{ROOT}/tmp/venv", "/run/podwire/keep/0"))
    assert made.index(Mount("tmpfs", f"{ROOT}/tmp", "mode=1777")) < there
    assert made.index(Mount("directory", f"{ROOT}/tmp/venv")) < there
