"""The ipvs mode: virtual servers and their schedulers, in the kernel or in userspace."""
