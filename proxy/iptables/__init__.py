"""The iptables mode: kube-proxy's chains, rule for rule."""
