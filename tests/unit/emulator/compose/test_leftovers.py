"""What pods leave: containers of the engine, and files on the volume of all pods."""

from pathlib import Path

import pytest

from podwire.emulator.compose import leftovers
from tests.unit.emulator.engine.conftest import Engines
from tests.unit.emulator.engine.conftest import engines as engines


def files(folder: Path, *uids: str) -> None:
    for uid in uids:
        (folder / uid / "volumes").mkdir(parents=True)
        (folder / uid / "volumes" / "held").touch()


@pytest.mark.parametrize(
    ("there", "known", "left"),
    [
        ("a b c", "b", "b"),
        ("a b", "", ""),
        ("a", "a b", "a"),
        ("", "a", ""),
    ],
)
async def test_what_belongs_to_no_known_pod_goes(
    engines: Engines, tmp_path: Path, there: str, known: str, left: str
) -> None:
    folder = tmp_path / "pods"
    async with engines() as (fake, engine):
        files(folder, *there.split())
        for uid in there.split():
            sandbox = ""
            for name in ("POD", "web"):
                labels = {"podwire.dev/made-by": "shop", "podwire.dev/pod-uid": uid,
                          "podwire.dev/made-container": name,
                          "podwire.dev/made-pod": f"default/{uid}"}  # fmt: skip
                host = {"NetworkMode": f"container:{sandbox}"} if sandbox else {}
                created = await engine.post(
                    "/containers/create",
                    {"Labels": labels, "HostConfig": host},
                    name=f"podwire_shop_default_{uid}_{name}_0",
                )
                sandbox = sandbox or created["Id"]
        await engine.post("/containers/create", {"Labels": {}}, name="somebody-elses")
        gone = await leftovers.remove(engine, "shop", folder, set(known.split()))
        assert set(gone) == set(there.split()) - set(known.split())
        names = {each.name for each in fake.containers.values()}
    assert names == {
        f"podwire_shop_default_{uid}_{name}_0" for uid in left.split() for name in ("POD", "web")
    } | {"somebody-elses"}
    assert sorted(path.name for path in folder.iterdir()) == left.split()


async def test_a_file_that_is_no_folder_of_a_pod_goes_as_well(
    engines: Engines, tmp_path: Path
) -> None:
    for name in ("pods", "kept"):
        (tmp_path / name).mkdir()
    for name in ("pods/stray", "kept/mine"):
        (tmp_path / name).touch()
    (tmp_path / "pods" / "link").symlink_to(tmp_path / "kept")
    async with engines() as (_, engine):
        await leftovers.remove(engine, "shop", tmp_path / "pods", set())
    assert not list((tmp_path / "pods").iterdir())
    assert list((tmp_path / "kept").iterdir())
