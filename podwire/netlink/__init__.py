"""Linux networking by netlink: links, addresses, routes, neighbours; shared by all parts."""
