"""The iptables mode: the chains KUBE-SERVICES, KUBE-SVC-... of the real kube-proxy."""
