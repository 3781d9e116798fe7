import json

import pytest

from podwire.kube import channels


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ({"metadata": {}, "status": "Success"}, (0, "")),
        (
            {
                "status": "Failure",
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
            },
            (3, ""),
        ),
        (
            {"status": "Failure", "message": 'exec: "x": executable file not found in $PATH'},
            (127, 'exec: "x": executable file not found in $PATH'),
        ),
        ({"status": "Failure", "reason": "InternalError"}, (126, "the command could not be run")),
    ],
)
def test_how_a_command_ended(status: object, found: tuple[int, str]) -> None:
    assert channels.exit_status(json.dumps(status).encode()) == found


def test_frames() -> None:
    assert channels.typed(b"ls\n") == b"\x00ls\n"
    assert channels.END_OF_INPUT == b"\xff\x00"
    assert json.loads(channels.resized(101, 33)[1:]) == {"Width": 101, "Height": 33}
