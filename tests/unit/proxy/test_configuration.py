"""KubeProxyConfiguration: what each field means, and what a wrong one is answered with."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from podwire.errors import ConfigError
from podwire.proxy.configuration import Address, Configuration, Ipvs, parse
from podwire.proxy.node import Settings

DEFAULT = Configuration()
TIMEOUTS = {
    "nf_conntrack_tcp_timeout_established": "86400",
    "nf_conntrack_tcp_timeout_close_wait": "3600",
}
"""Of connections, where the kernel leads them and nothing else is said."""

KUBEADM = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
"""


def with_settings(**changes: object) -> Configuration:
    return replace(DEFAULT, settings=replace(Settings(), **changes))  # type: ignore[arg-type]


def test_what_kubeadm_writes_is_the_default() -> None:
    assert parse(KUBEADM) == with_settings(cluster_cidr=IPv4Network("10.244.0.0/16"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("mode: nftables", replace(DEFAULT, mode="nftables", conntrack=TIMEOUTS)),
        ("mode: ipvs\nipvs: {scheduler: lc}", replace(DEFAULT, mode="ipvs", ipvs=Ipvs("lc"), conntrack=TIMEOUTS)),
        ("clusterCIDR: 10.1.0.0/16,fd00::/48", with_settings(cluster_cidr=IPv4Network("10.1.0.0/16"))),
        ("nodePortAddresses: [primary]", with_settings(node_port_addresses="primary")),
        (
            "nodePortAddresses: [10.0.0.0/8, 127.0.0.0/8]",
            with_settings(
                node_port_addresses=(IPv4Network("10.0.0.0/8"), IPv4Network("127.0.0.0/8"))
            ),
        ),
        (
            "nodePortAddresses: ['fd00::/64']",  # nothing said of IPv4: all of it
            with_settings(node_port_addresses=(IPv4Network("0.0.0.0/0"),)),
        ),
        ("userspace: {keepSource: false}", with_settings(keep_source=False)),
        ("userspace: {masqueradeAll: true}", with_settings(masquerade_all=True)),
        (
            "mode: iptables\niptables: {masqueradeBit: 3, syncPeriod: 5s}\nnftables: {masqueradeAll: true}",
            replace(
                with_settings(masquerade_bit=3), mode="iptables", sync_period=5.0, conntrack=TIMEOUTS
            ),
        ),
        (
            "mode: ipvs\niptables: {masqueradeAll: true}",
            replace(with_settings(masquerade_all=True), mode="ipvs", conntrack=TIMEOUTS),
        ),
        ("iptables: {localhostNodePorts: false}", with_settings(localhost_node_ports=False)),
        (
            "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni0}",
            with_settings(detect_local="BridgeInterface", bridge_interface="cni0"),
        ),
        (
            "healthzBindAddress: 192.168.1.10:20256\nmetricsBindAddress: 0.0.0.0:10249",
            replace(
                DEFAULT,
                healthz=Address(IPv4Address("192.168.1.10"), 20256),
                metrics=Address(None, 10249),
            ),
        ),
        (
            "conntrack: {tcpBeLiberal: true, tcpEstablishedTimeout: 2h, udpTimeout: 10s}",
            replace(
                DEFAULT,
                conntrack={
                    "nf_conntrack_tcp_timeout_established": "7200",
                    "nf_conntrack_udp_timeout": "10",
                    "nf_conntrack_tcp_be_liberal": "1",
                },
            ),
        ),
        (
            "mode: iptables\nconntrack: {tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: null}",
            replace(
                DEFAULT,
                mode="iptables",
                conntrack={"nf_conntrack_tcp_timeout_close_wait": "3600"},
            ),
        ),
        ("hostnameOverride: other", replace(DEFAULT, hostname_override="other")),
    ],
)  # fmt: skip
def test_fields(text: str, wanted: Configuration) -> None:
    assert parse(text) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode: ebpf", "c:1:1: mode: 'ebpf' is not one of userspace, nftables, iptables or ipvs"),
        ("modus: ipvs", "c:1:1: unknown field modus"),
        ("winkernel: {}", "c:1:1: winkernel cannot be honoured: this is Linux"),
        ("kind: KubeletConfiguration", "c:1:1: kind: 'KubeletConfiguration' is not one of"),
        ("clusterCIDR: 10.244.0.0", "c:1:1: clusterCIDR: '10.244.0.0' is no CIDR"),
        ("nodePortAddresses: [all]", "c:1:1: nodePortAddresses: "),
        ("nodePortAddresses: 10.0.0.0/8", "c:1:1: nodePortAddresses: a list is expected"),
        ("iptables:\n  syncPeriod: 30", "c:2:3: iptables.syncPeriod: text is expected, not 30"),
        ("nftables:\n  minSyncPeriod: soon", "c:2:3: nftables.minSyncPeriod: invalid duration"),
        ("mode: iptables\niptables: {masqueradeBit: 40}", "c:2:12: 40 is no bit of a mark"),
        ("ipvs: {scheduler: best}", "c:1:8: ipvs.scheduler: 'best' is not one of"),
        ("healthzBindAddress: here", "c:1:1: healthzBindAddress: Expected 4 octets in 'here'"),
        ("metricsBindAddress: ':x'", "c:1:1: metricsBindAddress: ':x' is not ADDRESS:PORT"),
        ("metricsBindAddress: 1.2.3:1", "c:1:1: metricsBindAddress: "),
        ("conntrack: {udpTimeout: 5 m}", "c:1:13: conntrack.udpTimeout: invalid duration"),
        ("a: 1\n---\nb: 2", "c: one KubeProxyConfiguration is expected, not 2 documents"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text, "c")
    assert str(raised.value).startswith(message)
