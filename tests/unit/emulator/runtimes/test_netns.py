import pytest

from podwire.emulator.runtimes.netns import has_all_users


@pytest.mark.parametrize(
    ("uid_map", "all_users"),
    [
        ("         0          0 4294967295\n", True),
        ("         0       1001          1\n", False),
        ("         0       1001          1\n         1     100000      65536\n", True),
    ],
    ids=["root's", "an ordinary user's", "with subordinate users"],
)
def test_which_users_a_sandbox_has(uid_map: str, all_users: bool) -> None:  # noqa: FBT001
    assert has_all_users(uid_map) is all_users
