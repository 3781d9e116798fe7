# One image for every program of the cluster: api, nodes, coredns, and the pods of the example.
# Without a registry: scripts/standin-base (docs/docker.md, "Without a registry").
ARG BASE_IMAGE=python:3.12-slim

FROM ${BASE_IMAGE} AS build
# Where packages come from, if not from PyPI: a mirror; or, without network, PIP_NO_INDEX=1
# PIP_FIND_LINKS=/src/wheels and wheels in build/wheels. pip ignores what is empty.
ARG PIP_INDEX_URL=
ARG PIP_NO_INDEX=
ARG PIP_FIND_LINKS=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# Python brings a wheel of pip, from which pip runs as well: seconds faster than to install it.
RUN python3 -m venv --without-pip /opt/venv \
    && python3 -m zipfile -e "$(ls /usr/share/python-wheels/pip-*.whl /usr/lib/python3*/ensurepip/_bundled/pip-*.whl \
        /usr/local/lib/python3*/ensurepip/_bundled/pip-*.whl 2>/dev/null | head -n 1)" /opt/build
ENV PYTHONPATH=/opt/build
# The pattern may match nothing; a plain name would have to be there.
COPY pyproject.toml buil[d]/wheel[s] /src/wheels/
# The dependencies before the sources: a change of the code does not install them again.
RUN /opt/venv/bin/python -c "import tomllib; print(*tomllib.load(open('/src/wheels/pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" >/src/dependencies.txt \
    && /opt/venv/bin/python -m pip install --quiet --target /opt/build 'setuptools>=77' \
    && /opt/venv/bin/python -m pip install --quiet --only-binary :all: -r /src/dependencies.txt
COPY pyproject.toml README.md LICENSE /src/podwire/
COPY podwire /src/podwire/podwire
COPY cni /src/podwire/cni
COPY dns /src/podwire/dns
COPY emulator /src/podwire/emulator
COPY proxy /src/podwire/proxy
RUN /opt/venv/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /src/built /src/podwire \
    && /opt/venv/bin/python -m pip install --quiet --no-deps --no-index /src/built/*.whl

FROM ${BASE_IMAGE} AS complete
# curl: health checks and the example's client; iproute2: to look around; nftables and iptables: modes of
# kube-proxy. Most slim images lack them.
RUN for program in curl ip nft iptables-restore; do command -v $program >/dev/null || lacking="$lacking $program"; done; \
    [ -z "$lacking" ] || { apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends curl iproute2 nftables iptables && rm -rf /var/lib/apt/lists/*; }
COPY --from=build /opt/venv /opt/venv
# What is imported is compiled here, by root: python:slim comes without the library's bytecode,
# and each start of a container would compile it again.
RUN /opt/venv/bin/python -c "import podwire.cli, podwire.emulator.builtins, podwire.emulator.compose.program, podwire.emulator.node.program"
# PYTHONSAFEPATH: a file in the working directory must not stand in for a module.
ENV PATH=/opt/venv/bin:$PATH PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /
CMD ["podwire", "--help"]

# The profile `tools`: somewhere to look at the network from.
FROM complete AS tools
USER 0:0
RUN command -v dig ping >/dev/null || { apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends bind9-dnsutils iputils-ping \
    && rm -rf /var/lib/apt/lists/*; }
USER 65532:65532

FROM complete
