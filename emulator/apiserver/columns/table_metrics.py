"""Pure: the columns of metrics.k8s.io, which ``kubectl get`` shows (``kubectl top`` does not)."""

from typing import Any

from podwire.emulator.apiserver.columns.cells import Printer, Row, name
from podwire.kube import quantity

Json = dict[str, Any]


def _pod(obj: Json, now: float) -> Row:
    del now
    usages = [container["usage"] for container in obj["containers"]]
    return Row([name(obj), _cpu(usages), _memory(usages), obj["window"]])


def _node(obj: Json, now: float) -> Row:
    del now
    return Row([name(obj), _cpu([obj["usage"]]), _memory([obj["usage"]]), obj["window"]])


def _cpu(usages: list[Json]) -> str:
    return f"{sum(quantity.parse(usage['cpu']).nano for usage in usages)}n"


def _memory(usages: list[Json]) -> str:
    return f"{sum(int(usage['memory'].removesuffix('Ki')) for usage in usages)}Ki"


PRINTERS = {
    ("metrics.k8s.io/v1beta1", "PodMetrics"): Printer("Name|Cpu|Memory|Window", _pod),
    ("metrics.k8s.io/v1beta1", "NodeMetrics"): Printer("Name|Cpu|Memory|Window", _node),
}
