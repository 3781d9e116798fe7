"""`podwire doctor`: what this machine offers, and the command that mends each lack."""

import argparse
import dataclasses

from podwire.commands.output import say, say_json
from podwire.emulator import doctor, machine_facts

EPILOG = """\
examples:
  podwire doctor
  podwire doctor -o json | jq '.findings[] | select(.status != "ok")'

exit status: 0 a cluster can start here, 69 something that it needs is lacking.
"""

_MARKS = {"ok": "ok       ", "lacking": "LACKING  ", "optional": "optional "}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Look and say."""
    findings = doctor.evaluate(machine_facts.gather())
    missing = doctor.lacking(findings)
    if args.output == "json":
        say_json({"ready": not missing, "findings": [dataclasses.asdict(one) for one in findings]})
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            say(f"{_MARKS[finding.status]} {finding.name:<{width}}  {finding.detail}")
            if finding.fix:
                say(f"{'':>10}{'':<{width}}  mend: {finding.fix}")
        say("a cluster can start here" if not missing else "a cluster cannot start here")
    return 69 if missing else 0
