"""What was wrong from the start, or runs out later: a message that helps, and nothing left behind."""

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.needs import need
from tests.system import processes
from tests.system.command_line import User
from tests.system.conftest import WEB


def lasting(user: User) -> set[int]:
    """Return the processes of the user's cluster, without probes and plugins that come and go."""
    while True:
        before = {process.pid for process in processes.of_cluster(user.cluster)}
        time.sleep(0.3)
        if before == {process.pid for process in processes.of_cluster(user.cluster)}:
            return before


# --- what is there already -------------------------------------------------------------------------


def test_a_second_up_of_the_same_name_is_refused_and_harms_nothing(user: User) -> None:
    user.up()
    there = lasting(user)
    again = user.podwire("up")
    assert again.returncode == 1
    assert f"a cluster named '{user.cluster}' runs already" in again.stderr
    assert "podwire down" in again.stderr
    assert user.podwire("status").returncode == 0
    assert there == lasting(user)


def test_two_ups_of_the_same_name_at_once_make_one_cluster(user: User) -> None:
    with user.starting() as one, user.starting() as two:
        said = [up.communicate(timeout=60)[1] for up in (one, two)]
    assert sorted([one.returncode, two.returncode]) == [0, 1], said
    assert user.podwire("status").returncode == 0


def test_an_api_port_in_use_is_named(user: User, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = tmp_path / "cluster.yaml"
        config.write_text(
            "kind: Cluster\napiVersion: podwire.dev/v1alpha1\n"
            f"networking: {{apiServerPort: {port}}}\n"
        )
        done = user.podwire("up", "--config", str(config))
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "apiServerPort" in done.stderr
    assert not processes.leftovers(user.cluster)
    assert user.files() == set()


def test_clusters_by_name_do_not_see_each_other(user: User, tmp_path: Path) -> None:
    other = User(tmp_path / "other", f"{user.cluster}-b")
    (tmp_path / "web.yaml").write_text(WEB)
    try:
        user.up("-f", str(tmp_path / "web.yaml"))
        other.up()
        assert "web-" in got(user, "pods")
        assert got(other, "pods") == ""
        for one in (user, other):
            assert one.podwire("ls", "-o", "name").stdout.split() == [one.cluster]
        # The same addresses in both worlds, and no way from one to the other.
        address = got(user, "pods", "{.items[0].status.podIP}")
        curl = ("curl", "-s", "-o", "/dev/null", "--max-time", "1.5", f"http://{address}/")
        assert user.podwire("exec", "node/node-1", "--", *curl).returncode == 0
        assert other.podwire("exec", "node/node-1", "--", *curl).returncode in (7, 28)
        assert other.podwire("down").returncode == 0
        assert user.podwire("status").returncode == 0
    finally:
        other.podwire("down")


def got(user: User, what: str, path: str = "{.items[*].metadata.name}") -> str:
    """Return what kubectl gets with this user's kubeconfig."""
    need("kubectl")
    done = subprocess.run(
        ["kubectl", "get", what, "-o", f"jsonpath={path}", "--cache-dir", str(user.temporary)],
        env=user.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_nothing_of_the_host_changes(user: User, tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(WEB)
    before = processes.host_state()
    user.up("-f", str(tmp_path / "web.yaml"))
    assert processes.host_state() == before
    there = processes.of_cluster(user.cluster)
    assert user.podwire("down").returncode == 0
    processes.wait_for_end(there)
    assert processes.host_state() == before
    assert not processes.leftovers(user.cluster)
    processes.close(there)
    assert user.files() <= {".kube/config"}
    assert user.cluster not in user.contexts()


# --- files that make no sense ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("kind: Pod\n  name: a\n", "2:7", "mapping values are not allowed"),
        ("kind: Pod\nmetadata: {name: a\nspec: 1\n", "3:5", ""),
        ("apiVersion: v1\nkind: Pod\nkind: Pod\nmetadata: {name: a}\n", "3:1", "twice"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {labels: {a: b}}\n", "3:1", "name is missing"),
        ("- 1\n", "1:1", "a Kubernetes object is expected"),
    ],
    ids=["indentation", "bracket", "twice", "nameless", "no object"],
)
def test_a_broken_manifest_is_named_with_line_and_column(
    user: User, tmp_path: Path, text: str, place: str, words: str
) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    done = user.podwire("up", "-f", str(file))
    assert done.returncode == 64, done.stderr
    assert f"podwire: {file}:{place}: " in done.stderr
    assert words in done.stderr
    assert user.files() == set()


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("networks: {}\n", "3:1", "networks"),
        ("networking:\n  podSubnet: 10.244.0.0/33\n", "4:3", "podSubnet"),
        ("nodes:\n- role: worker\n  image: kindest/node\n", "5:3", "image"),
        ("networking: {kubeProxyMode: ebpf}\n", "3:14", "kubeProxyMode"),
        ("\tname: a\n", "3:1", ""),
    ],
    ids=["unknown", "subnet", "kind's own", "mode", "tab"],
)
def test_a_broken_configuration_is_named_with_line_and_column(
    user: User, tmp_path: Path, text: str, place: str, words: str
) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("kind: Cluster\napiVersion: podwire.dev/v1alpha1\n" + text)
    done = user.podwire("up", "--config", str(file))
    assert done.returncode == 64, done.stderr
    assert f"podwire: {file}:{place}: " in done.stderr
    assert words in done.stderr
    assert user.files() == set()


# --- a machine that lacks something ----------------------------------------------------------------

# A mount namespace in which what follows is true, for this user and without being root.
IN_OWN_MOUNTS = ("unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "sh", "-c")


def test_without_a_packet_filter_up_ends_with_69_and_the_command_that_helps(
    user: User, tmp_path: Path
) -> None:
    need("unshare", "mount")
    links = tmp_path / "bin"
    links.mkdir()
    for folder in reversed(os.environ["PATH"].split(":")):
        for program in Path(folder).iterdir() if Path(folder).is_dir() else ():
            if not program.name.startswith(("nft", "iptables", "xtables")):
                (links / program.name).unlink(missing_ok=True)
                (links / program.name).symlink_to(program.resolve())
    hide = "mount -t tmpfs none /usr/sbin && { [ -L /sbin ] || mount -t tmpfs none /sbin; }"
    script = f'{hide} && PATH={links} && exec "$@"'
    done = user.podwire("up", wrapper=(*IN_OWN_MOUNTS, script, "sh"))
    assert done.returncode == 69, done.stderr
    assert "neither nft nor iptables" in done.stderr
    assert "nftables" in done.stderr
    assert user.files() == set()


def on_a_full_disk(user: User, disk: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a verb that writes below *disk*, which has room for one page; its files are listed last."""
    need("unshare", "mount")
    disk.mkdir(exist_ok=True)
    script = f'mount -t tmpfs -o size=4k none {disk} && "$@"; status=$?; ls -A {disk}; exit $status'
    return user.podwire(*words, wrapper=(*IN_OWN_MOUNTS, script, "sh"))


def test_a_full_disk_leaves_a_message_and_no_half_of_a_file(user: User, tmp_path: Path) -> None:
    user.up()
    file = tmp_path / "disk" / "all.pcapng"
    with user.starting_exec(
        "external", "sh", "-c", "while echo; do curl -s localhost; done"
    ) as traffic:
        captured = on_a_full_disk(user, file.parent, "capture", "external", "-w", str(file))
        traffic.kill()
    assert captured.returncode == 1, captured.stderr
    assert f"cannot write {file}: No space left on device" in captured.stderr
    assert file.name not in captured.stdout.split()

    # A trace has its verdict all the same. Its own packets are more than a page.
    often = "for i in 1 2 3 4 5 6 7 8 9; do curl -s http://192.168.1.10:1; done"
    asked = ("-w", str(file), "external", "--", "sh", "-c", often)
    traced = on_a_full_disk(user, file.parent, "trace", *asked)
    assert "verdict" in traced.stdout
    assert f"cannot write the capture {file}: No space left on device" in traced.stderr
    assert file.name not in traced.stdout.split()
    assert user.podwire("status").returncode == 0


def test_a_device_as_a_captures_file_is_not_removed(user: User, tmp_path: Path) -> None:
    user.up()
    link = tmp_path / "full"
    link.symlink_to("/dev/full")
    done = user.podwire("capture", "external", "-w", str(link), "--duration", "5")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert link.is_symlink()


def test_a_manifest_that_the_server_refuses_ends_the_cluster_and_names_the_place(
    user: User, tmp_path: Path
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(WEB + "---\n" + WEB.replace("name: web}", "name: Web_1}", 1))
    done = user.podwire("up", "-f", str(file))
    assert done.returncode == 1, done.stderr
    line = WEB.count("\n") + 3
    assert f"{file}:{line}:1: Deployment 'Web_1' refused:" in done.stderr
    assert not processes.leftovers(user.cluster)
    assert user.cluster not in user.contexts()


# --- what pods must not find -----------------------------------------------------------------------


def test_pods_do_not_see_the_keys_of_clusters_in_the_users_home(user: User, tmp_path: Path) -> None:
    (tmp_path / "spy.yaml").write_text(
        f"""
apiVersion: v1
kind: Pod
metadata: {{name: spy}}
spec:
  volumes: [{{name: home, hostPath: {{path: "{user.home}"}}}}]
  containers:
  - name: spy
    image: busybox
    command: [sleep, infinity]
    volumeMounts: [{{name: home, mountPath: /home-of-the-user, readOnly: true}}]
"""
    )
    user.up("-f", str(tmp_path / "spy.yaml"))
    assert user.kubeconfig.exists()
    seen = user.podwire(
        "exec", "spy", "--", "ls", "-A", "/home-of-the-user", "/home-of-the-user/.kube"
    )
    assert seen.returncode == 0, seen.stderr
    assert "tmp" in seen.stdout, "it is the user's home"
    assert "config" not in seen.stdout
