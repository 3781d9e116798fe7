"""The trial as the users that are neither quite root nor quite not."""

import json
import subprocess
import sys

import pytest

from podwire.emulator.trial import RULES
from tests.needs import lack, need

pytestmark = pytest.mark.system

TRIAL = "import json; from podwire.emulator import trial; print(json.dumps(trial.run_trial(thorough=False, rules=trial.RULES)))"
ROOT = ("unshare", "-Ur")


@pytest.mark.parametrize("without", ["", "-sys_admin"])
def test_root_with_and_without_the_right_to_make_namespaces(without: str) -> None:
    need("unshare", "setpriv")
    if subprocess.run([*ROOT, "true"], capture_output=True, check=False).returncode != 0:
        lack("user namespaces are not allowed here")
    drop = ("setpriv", "--bounding-set", without, "--inh-caps", without) if without else ()
    done = subprocess.run(
        [*ROOT, *drop, sys.executable, "-P", "-c", TRIAL],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    steps = json.loads(done.stdout)
    assert steps["namespaces"] == "", "a user namespace of its own is enough"
    # A step without its program is absent.
    refused = {step: steps[step] for step in RULES if steps.get(step)}
    assert not refused, "and root there may load what the proxy's modes need"
