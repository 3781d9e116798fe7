"""The project's image, built once for a run of tests: with the stand-in base where Debian is at hand."""

import hashlib
import subprocess
import tempfile
import tomllib
from pathlib import Path

from tests.system.docker.engine import Engine

ROOT = Path(__file__).resolve().parents[3]
WHEELS = ROOT / "build" / "wheels"
BASE = "podwire/standin-base"
# Not `podwire`: that is the user's own. With a tag: the kubelet pulls `latest` each time.
IMAGE = "podwire/under-test:1"
DERIVED = {
    "podwire/web:test": 'ENTRYPOINT ["python", "-m", "podwire.emulator.images", "web", "--port", "80"]',
    "podwire/echo:test": 'ENTRYPOINT ["python", "-m", "podwire.emulator.images", "echo", "--port", "7"]',
    "podwire/shell:test": 'CMD ["sh"]',
}
# Programs whose Debian packages the stand-in base is made of.
DEBIAN = (
    "/usr/bin/dpkg-query", "/usr/bin/python3", "/usr/bin/curl", "/usr/bin/ip", "/usr/sbin/nft",
    "/usr/sbin/iptables",
)  # fmt: skip


def build(engine: Engine) -> str:
    """Build the image from this checkout; returns its name."""
    words = ["build", "--quiet", "--tag", IMAGE]
    if all(Path(program).exists() for program in DEBIAN):
        base = subprocess.run([ROOT / "scripts" / "standin-base"], capture_output=True, check=True)
        subprocess.run(
            ["docker", "import", "-", BASE],
            input=base.stdout, env=engine.environ, capture_output=True, check=True,
        )  # fmt: skip
        words += ["--build-arg", f"BASE_IMAGE={BASE}"]
        download_wheels()
        words += ["--build-arg", "PIP_NO_INDEX=1", "--build-arg", "PIP_FIND_LINKS=/src/wheels"]
    engine.docker(*words, str(ROOT), limit=600)
    return IMAGE


def derive(engine: Engine, image: str) -> None:
    """Make the images that the tests of both runtimes name, of *image*."""
    # Not by standard input: buildx keeps what it reads there in /tmp.
    with tempfile.TemporaryDirectory() as folder:
        for name, start in DERIVED.items():
            Path(folder, "Dockerfile").write_text(f"FROM {image}\n{start}\n", encoding="utf-8")
            engine.docker("build", "--quiet", "--tag", name, folder)


def download_wheels() -> None:
    """Have the wheels of the dependencies for the base's Python, unless they are there already."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wanted: list[str] = [*tomllib.loads(text)["project"]["dependencies"], "setuptools>=77"]
    stamp = WHEELS / f"{hashlib.sha256(repr(wanted).encode()).hexdigest()[:16]}.complete"
    if stamp.exists():
        return
    WHEELS.mkdir(parents=True, exist_ok=True)
    # The base has this machine's Debian Python; ours may be another, and may be without pip.
    pip = ROOT / "build" / "pip"
    _run("/usr/bin/python3", "-m", "venv", str(pip))
    _run(str(pip / "bin" / "pip"), "download", "--quiet", "--only-binary", ":all:", "--dest",
         str(WHEELS), *wanted)  # fmt: skip
    stamp.touch()


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(argv)}: {done.stderr}")
