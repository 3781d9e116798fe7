"""The nftables mode: the table `kube-proxy` as the real kube-proxy lays it out."""
