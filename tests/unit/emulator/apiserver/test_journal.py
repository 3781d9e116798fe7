"""What a new process finds of the last one's objects: after an end, after a kill, after a full disk."""

import json
import os
import signal
import sys
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from podwire.emulator.apiserver.journal import Journal, opened, read
from podwire.emulator.apiserver.store import Store, TooOld
from podwire.errors import MachineError
from podwire.kube.names import Key

PODS = "pods"
CLIENT, WEB = Key("default", "client"), Key("default", "web")


def pod(**fields: object) -> dict[str, object]:
    return {"metadata": {}, **fields}


def journal_of(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal"


def names(store: Store, collection: str = PODS) -> list[str]:
    return [str(stored.key) for stored in store.all(collection)]


def reopened(path: Path) -> Store:
    store, journal = opened(path)
    journal.close()
    return store


def test_objects_come_back_as_they_were(tmp_path: Path) -> None:
    store, _ = opened(journal_of(tmp_path))
    store.put(PODS, WEB, pod(spec={"nodeName": "node-a"}))
    store.put(PODS, CLIENT, pod())
    store.put(PODS, WEB, pod(spec={"nodeName": "node-b"}))
    store.put("services", WEB, pod())
    store.remove("services", WEB)
    again = reopened(journal_of(tmp_path))
    assert names(again) == ["default/client", "default/web"]
    assert names(again, "services") == []
    found = again.get(PODS, WEB)
    assert found is not None
    assert found.object == {"metadata": {"resourceVersion": "4"}, "spec": {"nodeName": "node-b"}}
    assert found.revision == 4


@pytest.mark.parametrize("last", ["put", "remove", "event", "lease"])
def test_no_revision_is_given_twice(tmp_path: Path, last: str) -> None:
    store, _ = opened(journal_of(tmp_path))
    store.put(PODS, WEB, pod())
    match last:
        case "put":
            store.put(PODS, CLIENT, pod())
        case "remove":
            store.remove(PODS, WEB)
        case "event":
            store.put("events", WEB, pod())
        case _:
            store.put("leases.coordination.k8s.io", Key("kube-node-lease", "a"), pod())
    again = reopened(journal_of(tmp_path))
    assert again.revision > store.revision


def test_events_and_leases_are_not_kept(tmp_path: Path) -> None:
    store, _ = opened(journal_of(tmp_path))
    store.put("events", WEB, pod())
    store.put("leases.coordination.k8s.io", WEB, pod())
    assert list(reopened(journal_of(tmp_path)).everything()) == []


def test_a_watch_of_the_last_process_must_list_again(tmp_path: Path) -> None:
    store, _ = opened(journal_of(tmp_path))
    store.put(PODS, WEB, pod())
    again = reopened(journal_of(tmp_path))
    with pytest.raises(TooOld):
        again.since(PODS, store.revision)
    assert again.since(PODS, again.revision) == []


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_torn_last_line_is_left_out(tmp_path: Path, cut: int) -> None:
    path = journal_of(tmp_path)
    store, _ = opened(path)
    store.put(PODS, WEB, pod())
    whole = path.read_bytes()
    store.put(PODS, CLIENT, pod())
    longer = path.read_bytes()
    path.write_bytes(longer[: len(whole) + cut])
    assert len(longer) - len(whole) > cut
    store, _ = opened(path)
    assert names(store) == ["default/web"]
    # And what is written after it is whole.
    store.put(PODS, CLIENT, pod())
    assert names(reopened(path)) == ["default/client", "default/web"]


def test_nonsense_in_the_middle_says_where_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text('[3]\n["pods","default"]\n[5]\n')
    with pytest.raises(MachineError, match=r"journal, line 2: .*\n  start afresh: docker compose"):
        opened(path)


def test_the_file_is_written_anew_when_it_is_much_larger_than_its_content(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    store, _ = opened(path, smallest=2000)
    largest = 0
    for number in range(300):
        store.put(PODS, WEB, pod(number=number))
        largest = max(largest, path.stat().st_size)
    assert 2000 < largest < 2200
    objects, revision = read(path)
    assert objects["pods", WEB]["number"] == 299
    assert revision == store.revision
    assert [file.name for file in tmp_path.iterdir()] == ["journal"]


def test_what_could_not_be_written_is_written_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    store = Store()
    journal = Journal(store, folder / "journal", smallest=1)
    (folder / "journal").unlink()
    folder.rmdir()  # the next write is due to write the file anew, which cannot be
    big = "x" * 100
    for key in (WEB, CLIENT):
        store.put(PODS, key, pod(big=big))
        store.put(PODS, key, pod(big=big))
    assert caplog.text.count("cannot be written") == 1
    folder.mkdir()
    store.put(PODS, WEB, pod(number=1))
    journal.close()
    assert set(read(folder / "journal")[0]) == {("pods", WEB), ("pods", CLIENT)}


WRITER = """
import sys
from pathlib import Path
from podwire.emulator.apiserver.journal import opened
from podwire.kube.names import Key
store, _ = opened(Path(sys.argv[1]), smallest=20_000)
for number in range(1_000_000):
    store.put("pods", Key("default", f"pod-{number % 50}"), {"metadata": {}, "number": number})
    print(number, flush=True)
"""


def test_a_kill_in_the_middle_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    for _ in range(3):
        with Popen([sys.executable, "-P", "-c", WRITER, str(path)], stdout=PIPE) as writer:
            assert writer.stdout is not None
            answered = [int(writer.stdout.readline()) for _ in range(500)][-1]
            os.kill(writer.pid, signal.SIGKILL)
            rest = writer.stdout.read().rpartition(b"\n")[0].split(b"\n")
            answered = int(rest[-1] or answered)
        objects, _ = read(path)
        assert max(obj["number"] for obj in objects.values()) in (answered, answered + 1)
        assert len(objects) == 50


def test_the_file_is_for_its_owner_and_is_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    store, _ = opened(path)
    store.put("secrets", WEB, pod())
    assert path.stat().st_mode & 0o777 == 0o600
    assert [json.loads(line)[:3] for line in path.read_text().splitlines()][-1] == [
        "secrets",
        "default",
        "web",
    ]
