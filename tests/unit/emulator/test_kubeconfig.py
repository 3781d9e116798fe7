import os
import pwd
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from podwire.emulator import kubeconfig
from podwire.emulator.kubeconfig import Origin
from podwire.emulator.kubeconfig_lock import locked
from podwire.errors import ConfigError, TimedOut, UsageError

HERE = Origin("host", "boot-1", "net:[1]", 1000)

MINE = """\
# my clusters
apiVersion: v1
clusters:
  # production: careful
  - cluster:
      server: https://prod   # vip é
    name: prod
  # the end of the clusters
contexts:
- context: {cluster: prod, user: prod}
  name: prod

# what I use
current-context: prod # mine
kind: Config
preferences: {}
users:
- name: prod
  user:
    token: |
      abc
      def
"""


def entry(name: str) -> dict[str, Any]:
    return kubeconfig.document(
        name, server="https://127.0.0.1:1", authority=b"CA", certificate=b"CERT", key=b"KEY"
    )


def merged(path: Path) -> None:
    kubeconfig.merge(path, "b", entry("b"), HERE)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def names(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    sections: dict[str, Any] = {}
    for section in ("clusters", "contexts", "users"):
        items: list[dict[str, Any]] = config.get(section) or []
        sections[section] = [item["name"] for item in items]
    return {**sections, "current": config.get("current-context")}


@pytest.mark.parametrize(
    "text",
    [
        MINE,
        MINE.replace("    token: |\n      abc\n      def\n", "    token: abc"),  # no last newline
        MINE.replace("current-context: prod # mine\n", "current-context: 'prod'\n"),
    ],
)
def test_every_byte_that_is_not_ours_stays(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    kubeconfig.merge(path, "blue", entry("blue"), HERE)
    both = path.read_text()
    assert names(path) == {
        "clusters": ["prod", "podwire-blue"],
        "contexts": ["prod", "podwire-blue"],
        "users": ["prod", "podwire-blue"],
        "current": "podwire-blue",
    }
    for comment in ("# my clusters", "# production: careful", "# vip é", "# what I use"):
        assert comment in both
    kubeconfig.merge(path, "blue", entry("blue"), HERE)
    assert path.read_text() == both, "merging twice must change nothing"
    assert kubeconfig.remove(path, "blue")
    assert path.read_text().rstrip("\n").replace("'", "") == text.rstrip("\n").replace("'", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment\n",
        "apiVersion: v1\nkind: Config\n",
        'clusters: []\ncontexts: null\nusers:\ncurrent-context: ""\n',
        '{"apiVersion": "v1", "clusters": [], "contexts": [{"name": "a", "context": {}}]}',
        "users: &u\n- {name: x, user: {}}\n",
        "clusters: [{name: f, cluster: {server: s}}]\ncontexts: []\nusers: []\n",
    ],
)
def test_no_entry_is_ever_lost(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    before: dict[str, Any] = yaml.safe_load(text) or {}
    kubeconfig.merge(path, "blue", entry("blue"), HERE)
    kubeconfig.merge(path, "red", entry("red"), HERE)
    assert names(path)["current"] == "podwire-red"
    assert kubeconfig.remove(path, "red")
    assert names(path)["current"] == "podwire-blue"
    assert kubeconfig.remove(path, "blue")
    after: dict[str, Any] = yaml.safe_load(path.read_text())
    for section in ("clusters", "contexts", "users"):
        assert (after.get(section) or []) == (before.get(section) or [])
    assert not after.get("current-context")


def test_a_context_that_the_user_chose_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(MINE)
    kubeconfig.merge(path, "blue", entry("blue"), HERE)
    path.write_text(path.read_text().replace("current-context: podwire-blue", "current-context: x"))
    kubeconfig.remove(path, "blue")
    assert names(path)["current"] == "x"


def test_a_context_of_that_name_that_is_not_ours_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "config"
    text = MINE.replace("name: prod", "name: podwire-blue")
    path.write_text(text + "# podwire.dev\n")
    assert not kubeconfig.remove(path, "blue")
    assert kubeconfig.prune(path, set(), HERE) == []
    assert path.read_text() == text + "# podwire.dev\n"


@pytest.mark.parametrize(
    ("case", "origin", "running", "pruned"),
    [
        ("it runs", HERE, {"blue"}, False),
        ("it is gone", HERE, {"red"}, True),
        ("another user's", Origin("host", "boot-1", "net:[1]", 1001), set[str](), False),
        ("another network namespace's", Origin("host", "boot-1", "net:[2]", 1000), set[str](), False),
        ("of another boot", Origin("host", "boot-2", "net:[9]", 1001), {"blue"}, True),
        ("another host's, home is shared", Origin("else", "boot-2", "net:[1]", 1000), set[str](), False),
    ],
)  # fmt: skip
def test_prune(
    tmp_path: Path, case: str, origin: Origin, running: set[str], *, pruned: bool
) -> None:
    path = tmp_path / "config"
    path.write_text(MINE)
    kubeconfig.merge(path, "blue", entry("blue"), HERE)
    assert kubeconfig.prune(path, running, origin) == (["blue"] if pruned else []), case
    assert (path.read_text() == MINE) is pruned


def test_the_file_is_private_and_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "folder" / "config"
    real.write_text(MINE)
    real.chmod(0o644)
    link.parent.mkdir()
    link.symlink_to(real)
    kubeconfig.merge(link, "blue", entry("blue"), HERE)
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert "podwire-blue" in real.read_text()
    assert names_in(link.parent) == ["config"]
    assert names_in(tmp_path) == ["folder", "real"]


def test_a_file_that_does_not_exist_is_made_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "home" / ".kube" / "config"
    assert not kubeconfig.remove(path, "blue")
    assert not path.parent.exists()
    kubeconfig.merge(path, "blue", entry("blue"), HERE)
    assert names(path)["current"] == "podwire-blue"


@pytest.mark.parametrize(
    "text",
    [
        b"a: b: c",
        b"[]",
        b"clusters: 3",
        b"contexts: [{}]",
        b"contexts: [{name: [a]}]",
        b"contexts: [{name: a, context: b}]",
        b"contexts: [{name: a, context: {extensions: 3}}]",
        b"\x93",
    ],
)
def test_what_is_no_kubeconfig_is_left_as_it_is(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "config"
    path.write_bytes(text)
    for attempt in (kubeconfig.check, merged):
        with pytest.raises(ConfigError, match="is no kubeconfig"):
            attempt(path)
    assert path.read_bytes() == text
    assert names_in(tmp_path) == ["config"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("folder", "it is no plain file"),
        ("link-to-folder", "it is no plain file"),
        ("device", "it is no plain file"),
        ("file/config", "Not a directory"),
        ("file/deep/config", "Not a directory"),
        ("read-only", "it is read-only"),
        ("closed/config", "Permission denied"),
        ("closed/deep/config", "Permission denied"),
        ("link-into-closed", "Permission denied"),
        ("loop", "Too many levels of symbolic links"),
    ],
)
def test_where_no_context_can_be_written(tmp_path: Path, name: str, why: str) -> None:
    if os.geteuid() == 0 and ("closed" in name or name == "read-only"):
        pytest.skip("root may write there")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link-to-folder").symlink_to("folder")
    (tmp_path / "device").symlink_to("/dev/null")
    (tmp_path / "file").touch()
    (tmp_path / "read-only").touch(0o400)
    (tmp_path / "closed").mkdir(0o500)
    (tmp_path / "link-into-closed").symlink_to("closed/config")
    (tmp_path / "loop").symlink_to("loop")
    before = names_in(tmp_path)
    path = tmp_path / name
    for attempt in (kubeconfig.check, merged):
        with pytest.raises(UsageError) as caught:
            attempt(path)
        assert str(caught.value) == (
            f"cannot write the kubeconfig {path}: {why}\n"
            "  make it writable, or keep out of it: podwire up --kubeconfig ANOTHER-FILE"
        )
    assert names_in(tmp_path) == before


@pytest.mark.parametrize("name", ["new", "deep/new", "link-to-new", "link-to-deep", "there"])
def test_where_a_context_can_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "link-to-new").symlink_to("somewhere")
    (tmp_path / "link-to-deep").symlink_to("some/where")
    (tmp_path / "there").touch()
    before = names_in(tmp_path)
    kubeconfig.check(tmp_path / name)
    assert names_in(tmp_path) == before
    kubeconfig.merge(tmp_path / name, "b", entry("b"), HERE)
    assert names(tmp_path / name)["current"] == "podwire-b"


def test_a_file_that_cannot_be_written_is_no_matter_where_nothing_is_to_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config"
    kubeconfig.merge(path, "other", entry("other"), HERE)

    def access(_path: Path, mode: int) -> bool:
        return not mode & os.W_OK  # also for root, who may write everywhere

    monkeypatch.setattr(os, "access", access)
    assert not kubeconfig.remove(path, "b")
    assert kubeconfig.prune(path, ["other"], HERE) == []
    with pytest.raises(UsageError, match="it is read-only"):
        kubeconfig.remove(path, "other")


def test_a_file_that_cannot_be_read_keeps_no_context_of_ours(tmp_path: Path) -> None:
    assert not kubeconfig.is_kept(tmp_path, "podwire-b")
    assert not kubeconfig.is_kept(tmp_path / "absent", "podwire-b")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_writes_into_somebodys_home_is_somebodys(tmp_path: Path) -> None:
    os.chown(tmp_path, 4242, 4243)
    path = tmp_path / ".kube" / "config"
    kubeconfig.merge(path, "b", entry("b"), HERE)
    kubeconfig.remove(path, "b")
    for made in (path, path.parent):
        assert (made.stat().st_uid, made.stat().st_gid) == (4242, 4243)
    os.chown(path, 4244, 4245)
    kubeconfig.merge(path, "b", entry("b"), HERE)
    assert (path.stat().st_uid, path.stat().st_gid) == (4244, 4245)


@pytest.mark.parametrize(
    ("environ", "paths"),
    [
        ({"HOME": "/h"}, ["/h/.kube/config"]),
        ({"HOME": "/h", "KUBECONFIG": ""}, ["/h/.kube/config"]),
        ({"HOME": "/h", "KUBECONFIG": ":"}, ["/h/.kube/config"]),
        ({"HOME": "/h", "KUBECONFIG": "/a::/b"}, ["/a", "/b"]),
        ({"KUBECONFIG": "/a"}, ["/a"]),
    ],
)
def test_which_files_kubectl_would_read(environ: dict[str, str], paths: list[str]) -> None:
    assert [str(path) for path in kubeconfig.all_paths(environ)] == paths


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}])
def test_a_home_that_nobody_names_is_that_of_the_user(environ: dict[str, str]) -> None:
    home = pwd.getpwuid(os.getuid()).pw_dir
    assert [str(path) for path in kubeconfig.all_paths(environ)] == [f"{home}/.kube/config"]


def test_a_user_without_a_home_has_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    assert kubeconfig.all_paths({}) == []
    with pytest.raises(UsageError, match="no home"):
        kubeconfig.default_path({})


def test_which_file_kubectl_would_write(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    a, b, c = (str(tmp_path / name) for name in "abc")
    for variable, expected in ((a, a), (f"{a}:{b}:{c}", b), (f"{a}:{c}", c), (f":{a}:", a)):
        environ = {"KUBECONFIG": variable, "HOME": "/home/u"}
        assert str(kubeconfig.default_path(environ)) == expected
    assert str(kubeconfig.default_path({"HOME": "/home/u"})) == "/home/u/.kube/config"


# A process of its own, not a fork of a test run with threads.
_CHANGE = """
import sys
from pathlib import Path
from podwire.emulator import kubeconfig
path, name = Path(sys.argv[1]), sys.argv[2]
here = kubeconfig.Origin("host", "boot-1", "net:[1]", 1000)
entry = kubeconfig.document(name, server="s", authority=b"", certificate=b"", key=b"")
for _ in range(5):
    kubeconfig.merge(path, name, entry, here)
    assert kubeconfig.remove(path, name)
kubeconfig.merge(path, name, entry, here)
"""


def test_many_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(MINE)
    processes = [
        subprocess.Popen([sys.executable, "-P", "-c", _CHANGE, str(path), f"c{number}"])
        for number in range(6)
    ]
    assert [process.wait(60) for process in processes] == [0] * 6
    assert set(names(path)["contexts"]) == {"prod", *(f"podwire-c{n}" for n in range(6))}
    assert "# production: careful" in path.read_text()
    assert names_in(tmp_path) == ["config"]


def test_kubectls_lock_is_waited_for_and_a_stale_one_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "config"
    lock = tmp_path / "config.lock"
    lock.touch()
    with pytest.raises(TimedOut, match="rm "), locked(path, limit=0.05):
        pytest.fail("the lock was taken")
    assert lock.exists()
    old = time.time() - 60
    os.utime(lock, (old, old))
    with locked(path):
        assert lock.exists()
    assert not lock.exists()


def test_the_lock_goes_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "config"):
        raise ZeroDivisionError
    assert names_in(tmp_path) == []
