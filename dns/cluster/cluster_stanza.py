"""Pure: the ``kubernetes`` stanza of a Corefile: what to answer, and what to follow for that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, cast, get_args

from podwire.dns.cluster.options import Options, PodMode
from podwire.dns.corefile.corefile import Line
from podwire.dns.corefile.stanza import Stanza
from podwire.kube.selectors import SelectorError, parse_labels

STARTUP_TIMEOUT: Final = 5.0
LONGEST_TTL: Final = 3600
REVERSE: Final = ("in-addr.arpa.", "ip6.arpa.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a stanza says: how to answer, which objects to follow, and how long to wait for them.

    *startup_timeout* in seconds. *api* is empty for the API server that the command line names;
    *tls* holds the files of certificate, key and authority for it. *kubeconfig* is a file and
    perhaps one of its contexts. The limits of requests to the API server are read, and need no
    keeping: a few watches are all that goes there.
    """

    options: Options
    labels: str = ""
    namespace_labels: str = ""
    startup_timeout: float = STARTUP_TIMEOUT
    api: str = ""
    tls: tuple[str, ...] = ()
    kubeconfig: tuple[str, ...] = ()


def parse(stanza: Stanza) -> Settings:
    """Return what ``kubernetes [ZONES...] {...}`` says. Raises CorefileError.

    CoreDNS, plugin/kubernetes/setup.go.
    """
    zones = stanza.zones_or_block(stanza.arguments)
    if all(zone.endswith(REVERSE) for zone in zones):
        raise stanza.error("non-reverse zone name must be used")
    reader = _Reader(stanza, Settings(options=Options(zones=zones)))
    return reader.read()


class _Reader:
    """Reads the lines one by one; a later line outdoes an earlier one."""

    def __init__(self, stanza: Stanza, settings: Settings) -> None:
        self._stanza = stanza
        self._settings = settings

    def read(self) -> Settings:
        self._stanza.options(
            {
                "endpoint_pod_names": self._endpoint_pod_names,
                "pods": self._pods,
                "namespaces": self._namespaces,
                "endpoint": self._endpoint,
                "tls": self._tls,
                "labels": self._labels,
                "namespace_labels": self._namespace_labels,
                "fallthrough": self._fallthrough,
                "ttl": self._ttl,
                "noendpoints": self._noendpoints,
                "zonal": self._zonal,
                "ignore": self._ignore,
                "kubeconfig": self._kubeconfig,
                "multicluster": self._multicluster,
                "startup_timeout": self._startup_timeout,
                "apiserver_qps": self._limit,
                "apiserver_burst": self._limit,
                "apiserver_max_inflight": self._limit,
            }
        )
        settings, options, error = self._settings, self._settings.options, self._stanza.error
        if options.namespaces and settings.namespace_labels:
            raise error("namespaces and namespace_labels cannot both be set")
        for zone in options.multicluster:
            if zone not in options.zones:
                raise error(
                    f"is not authoritative for the multicluster zone {zone} "
                    f"(authoritative zones: [{' '.join(options.zones)}])"
                )
        if options.zonal and options.no_endpoints:
            raise error("zonal requires the endpoint cache; remove noendpoints")
        return settings

    # Lines about answers

    def _pods(self, line: Line) -> None:
        (mode,) = self._stanza.arguments_of(line, least=1, most=1)
        modes = get_args(PodMode)
        if mode not in modes:
            raise self._stanza.error(
                f"wrong value for pods: {mode},  must be one of: {', '.join(modes)}", line
            )
        self._options(pods=cast(PodMode, mode))

    def _ttl(self, line: Line) -> None:
        text, *_ = self._stanza.arguments_of(line, least=1)
        lowest = -(2**31)
        ttl = self._stanza.number(text, line, lowest=lowest)
        if not 0 <= ttl <= LONGEST_TTL:
            raise self._stanza.error(f"ttl must be in range [0, {LONGEST_TTL}]: {ttl}", line)
        self._options(ttl=ttl)

    def _namespaces(self, line: Line) -> None:
        shown = self._stanza.arguments_of(line, least=1)
        self._options(namespaces=self._settings.options.namespaces | frozenset(shown))

    def _fallthrough(self, line: Line) -> None:
        self._options(fallthrough=self._stanza.fallthrough(line))

    def _ignore(self, line: Line) -> None:
        # Without a word it says nothing, and words behind the first are not read: as CoreDNS.
        what = self._stanza.arguments_of(line)
        if what and what[0] != "empty_service":
            raise self._stanza.error(
                f"unable to parse ignore value: '{what[0]}'; known is: empty_service", line
            )
        if what:
            self._options(ignore_empty_service=True)

    def _noendpoints(self, line: Line) -> None:
        self._stanza.arguments_of(line, most=0)
        self._options(no_endpoints=True)

    def _zonal(self, line: Line) -> None:
        self._stanza.arguments_of(line, most=0)
        self._options(zonal=True)

    def _endpoint_pod_names(self, line: Line) -> None:
        self._stanza.arguments_of(line, most=0)
        self._options(endpoint_pod_names=True)

    def _multicluster(self, line: Line) -> None:
        self._options(multicluster=self._stanza.zones(line.words[1:], line))

    # Lines about what is followed

    def _labels(self, line: Line) -> None:
        self._change(labels=self._selector(line, "label"))

    def _namespace_labels(self, line: Line) -> None:
        self._change(namespace_labels=self._selector(line, "namespace_label"))

    def _startup_timeout(self, line: Line) -> None:
        text, *_ = self._stanza.arguments_of(line, least=1)
        self._change(startup_timeout=self._stanza.duration(text, line))

    def _endpoint(self, line: Line) -> None:
        # More than one is accepted and, as in CoreDNS, only the first is used.
        self._change(api=self._stanza.arguments_of(line, least=1)[0])

    def _tls(self, line: Line) -> None:
        self._change(tls=self._stanza.arguments_of(line, least=3, most=3))

    def _kubeconfig(self, line: Line) -> None:
        self._change(kubeconfig=self._stanza.arguments_of(line, least=1, most=2))

    def _limit(self, line: Line) -> None:
        (text,) = self._stanza.arguments_of(line, least=1, most=1)
        try:
            limit = float(text) if line.words[0] == "apiserver_qps" else int(text)
        except ValueError:
            raise self._stanza.error(f'invalid {line.words[0]} "{text}"', line) from None
        if limit < 0:
            raise self._stanza.error(f"{line.words[0]} must be >= 0", line)

    def _selector(self, line: Line, what: str) -> str:
        text = " ".join(self._stanza.arguments_of(line, least=1))
        try:
            parse_labels(text)
        except SelectorError as error:
            raise self._stanza.error(
                f"unable to parse {what} selector value: '{text}': {error}", line
            ) from None
        return text

    def _options(self, **changes: object) -> None:
        self._change(options=replace(self._settings.options, **changes))  # type: ignore[arg-type]

    def _change(self, **changes: object) -> None:
        self._settings = replace(self._settings, **changes)  # type: ignore[arg-type]
