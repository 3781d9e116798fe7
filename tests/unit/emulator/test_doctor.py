from dataclasses import replace

import pytest

from podwire.emulator.doctor import Facts, error_for, evaluate, lacking
from podwire.emulator.machine_facts import kubectl_version

STEPS: tuple[str, ...] = ("namespaces", "proc", "veth", "bridge", "vxlan", "forwarding")
DONE: dict[str, str] = {step: "" for step in STEPS}  # noqa: C420 - its type is too narrow
GOOD = Facts(
    trial=DONE,
    distribution=("debian",),
    programs=dict.fromkeys(("nft", "iptables", "kubectl", "curl", "dig", "tshark", "uv"), True),
)
REFUSED = {"namespaces": "Operation not permitted"}


def test_a_machine_that_has_everything() -> None:
    findings = evaluate(GOOD)
    assert {finding.status for finding in findings} == {"ok"}
    assert error_for(findings) is None


@pytest.mark.parametrize(
    ("facts", "name", "fix"),
    [
        (Facts(system="Darwin"), "system", "use a Linux machine"),
        (replace(GOOD, kernel=(5, 4)), "kernel", "upgrade the kernel to 5.12"),
        (replace(GOOD, python=(3, 10)), "python", "uv python install 3.12"),
        (
            replace(GOOD, trial=REFUSED, max_user_namespaces=0, apparmor_restrict_userns=1),
            "namespaces",
            "sudo sysctl -w user.max_user_namespaces=10000",
        ),
        (
            replace(GOOD, trial=REFUSED, unprivileged_userns_clone=0),
            "namespaces",
            "sudo sysctl -w kernel.unprivileged_userns_clone=1",
        ),
        (
            replace(GOOD, trial=REFUSED, apparmor_restrict_userns=1),
            "namespaces",
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (replace(GOOD, trial=REFUSED, in_container=True), "namespaces", "docker run --privileged"),
        (replace(GOOD, trial=REFUSED), "namespaces", "sudo podwire up"),
        (replace(GOOD, trial={}), "namespaces", "run as another user"),
        (
            replace(GOOD, trial={**DONE, "vxlan": "Operation not supported"}),
            "vxlan",
            "sudo modprobe vxlan",
        ),
        (replace(GOOD, trial={**DONE, "bridge": "x"}), "bridge", "sudo modprobe bridge"),
        (
            replace(GOOD, trial={**DONE, "proc": "x"}, in_container=True),
            "proc",
            "docker run --security-opt systempaths=unconfined",
        ),
        (
            replace(GOOD, programs={"nft": False, "iptables": False}),
            "packet filter",
            "sudo apt-get install -y nftables",
        ),
        (
            replace(GOOD, programs={"nft": False}, distribution=("fedora",)),
            "packet filter",
            "sudo dnf install -y nftables",
        ),
        (
            replace(GOOD, programs={"nft": False}, distribution=("nixos",)),
            "packet filter",
            "install nftables",
        ),
    ],
)
def test_each_lack_has_the_command_that_mends_it(facts: Facts, name: str, fix: str) -> None:
    findings = evaluate(facts)
    assert [finding.name for finding in lacking(findings)] == [name]
    (finding,) = lacking(findings)
    assert finding.fix.startswith(fix)
    error = error_for(findings)
    assert error is not None
    assert error.exit_status == 69
    assert finding.detail in str(error)
    assert finding.fix in str(error)


@pytest.mark.parametrize(
    ("facts", "name", "fix"),
    [
        (replace(GOOD, tun=False), "tun", "sudo modprobe tun"),
        (replace(GOOD, trial={**DONE, "overlay": "x"}), "overlay", "sudo modprobe overlay"),
        (
            replace(GOOD, programs={"nft": True, "dig": False}, distribution=("ubuntu", "debian")),
            "dig",
            "sudo apt-get install -y dnsutils",
        ),
        (
            replace(GOOD, programs={"nft": True}, distribution=("arch",)),
            "kubectl",
            "sudo pacman -S --noconfirm kubectl",
        ),
        (
            replace(GOOD, programs={"nft": True}, distribution=("fedora",)),
            "kubectl",
            "install kubectl 1.29 or later: https://kubernetes.io/docs/tasks/tools/",
        ),
        (
            replace(GOOD, programs={"nft": True}),
            "kubectl",
            "sudo apt-get install -y kubernetes-client",
        ),
        (
            replace(GOOD, programs={"nft": True}, codename="bookworm"),
            "kubectl",
            "sudo scripts/system-packages   # in a checkout of podwire; or install kubectl 1.29",
        ),
        (replace(GOOD, kubectl=(1, 28)), "kubectl", "sudo apt-get install -y kubernetes-client"),
        (
            replace(GOOD, kubectl=(1, 20), codename="bookworm"),
            "kubectl",
            "sudo scripts/system-packages",
        ),
        (
            replace(GOOD, programs={"iptables": True}),
            "mode nftables",
            "sudo apt-get install -y nftables",
        ),
        (replace(GOOD, trial={**DONE, "nftables": "x"}), "mode nftables", "sudo modprobe -a nf_"),
        (replace(GOOD, trial={**DONE, "iptables": "x"}), "mode iptables", "sudo modprobe -a nft_"),
        (
            replace(GOOD, trial={**DONE, "transparent": "x"}),
            "mode userspace",
            "sudo modprobe nft_socket",
        ),
        (replace(GOOD, ip_vs=False), "mode ipvs", "sudo modprobe ip_vs"),
        (
            replace(GOOD, ip_vs=True, programs={"iptables": True}),
            "mode ipvs",
            "sudo apt-get install -y nftables",
        ),
        (
            replace(GOOD, libpcap=False, programs={"nft": True}),
            "libpcap",
            "sudo apt-get install -y tcpdump",
        ),
    ],
)
def test_what_is_optional_stops_nobody(facts: Facts, name: str, fix: str) -> None:
    findings = evaluate(facts)
    assert lacking(findings) == ()
    found = {finding.name: finding for finding in findings}[name]
    assert found.status == "optional"
    assert found.fix.startswith(fix)


WITHOUT_NFT = replace(GOOD, programs={**GOOD.programs, "nft": False})
WITHOUT_IPTABLES = replace(GOOD, programs={**GOOD.programs, "iptables": False})


@pytest.mark.parametrize(
    ("facts", "mode", "message"),
    [
        (WITHOUT_NFT, "nftables", "proxy mode nftables needs the program nft\n  sudo apt-get"),
        (WITHOUT_NFT, "iptables", ""),
        (WITHOUT_NFT, "userspace", ""),
        (WITHOUT_NFT, "ipvs", ""),
        (replace(WITHOUT_NFT, ip_vs=True), "ipvs", "proxy mode ipvs masquerades by the program"),
        (WITHOUT_IPTABLES, "iptables", "proxy mode iptables needs the program iptables\n"),
        (WITHOUT_IPTABLES, "nftables", ""),
        (
            replace(GOOD, trial={**DONE, "nftables": "Operation not supported"}),
            "nftables",
            "needs rules that nft cannot load here (Operation not supported)\n  sudo modprobe",
        ),
        (replace(GOOD, trial={**DONE, "nftables": "Operation not supported"}), "iptables", ""),
        (replace(GOOD, ip_vs=False), "ipvs", ""),
    ],
)
def test_only_the_mode_that_was_chosen_must_work(facts: Facts, mode: str, message: str) -> None:
    error = error_for(evaluate(facts, mode))
    assert (message in str(error)) if message else error is None


@pytest.mark.parametrize(
    "facts",
    [
        replace(GOOD, ip_vs=True),
        replace(GOOD, kubectl=(1, 29)),
        replace(GOOD, kubectl=None),
        replace(GOOD, libpcap=False, programs={**GOOD.programs, "tcpdump": True}),
    ],
)
def test_what_is_good_enough(facts: Facts) -> None:
    assert {finding.status for finding in evaluate(facts)} == {"ok"}


@pytest.mark.parametrize(
    ("said", "version"),
    [
        (b'{"clientVersion": {"minor": "32+", "gitVersion": "v1.32.4-dispatcher"}}', (1, 32)),
        (b'{"clientVersion": {"gitVersion": "v1.20.2"}}', (1, 20)),
        (b'{"clientVersion": {}}', None),
        (b'{"clientVersion": {"gitVersion": "unknown"}}', None),
        (b"[]", None),
        (b"", None),
    ],
)
def test_the_version_of_kubectl(said: bytes, version: tuple[int, int] | None) -> None:
    assert kubectl_version(said) == version


def test_the_switches_do_not_matter_where_the_trial_worked() -> None:
    assert lacking(evaluate(replace(GOOD, apparmor_restrict_userns=1))) == ()


def test_without_a_look_at_programs_there_is_nothing_about_them() -> None:
    names = {finding.name for finding in evaluate(replace(GOOD, programs={}))}
    assert "packet filter" not in names
    assert "kubectl" not in names
