# The root file system of the managed plugin. Made so that a change of the code rebuilds only the
# last steps of each stage. Where packages come from is the base image's business, not this file's.
# BACKENDS names the backends whose tools it carries beside those of `local`: "ceph gluster s3".
FROM debian:bookworm-slim AS system
RUN apt-get update -q \
    && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
        python3 ca-certificates mount e2fsprogs xfsprogs \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*

FROM system AS environment
RUN apt-get update -q \
    && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends python3-venv
WORKDIR /src
COPY requirements-build.lock requirements-run.lock ./
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/kedge \
    && /opt/build/bin/pip install -q --no-cache-dir --require-hashes -r requirements-build.lock \
    && /opt/build/bin/pip --python /opt/kedge/bin/python install -q --no-cache-dir \
        --require-hashes -r requirements-run.lock \
    && find /opt/kedge/lib/python3*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
        ! -name s3 ! -name 'sso*' ! -name sts -exec rm -r {} +
COPY pyproject.toml README.md ./
COPY backends backends
COPY driver driver
RUN /opt/build/bin/pip wheel -q --no-deps --no-build-isolation --wheel-dir /tmp . \
    && /opt/build/bin/pip --python /opt/kedge/bin/python install -q --no-cache-dir --no-deps \
        /tmp/kedge-*.whl

FROM system
ARG BACKENDS=
COPY packaging/backend-packages.sh /tmp/
# What only a build needs, and how this machine reaches its registries, stays behind; so does the
# library that of the packages for `local` xfs_scrub alone uses (36 MB).
RUN packages=$(/tmp/backend-packages.sh $BACKENDS) \
    && if [ -n "$packages" ]; then \
        apt-get update -q \
        && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $packages; \
    else rm -f /usr/lib/*/libicu*; fi \
    && rm -rf /etc/apt /etc/pip.conf /tmp/* /var/lib/apt/lists/* /var/cache/apt/* /var/log/* \
        /usr/share/doc /usr/share/man /usr/share/locale /usr/share/info \
    && mkdir -p /host /mnt/kedge /run/docker/plugins /run/kedge
COPY --from=environment /opt/kedge /opt/kedge
