# docker:cli for machines that reach no public registry: Debian's Docker client without the engine, and buildx from its Go module.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN cd /tmp && apt-get update -qq && apt-get download -qq docker.io && dpkg-deb --extract docker.io_*.deb /tmp/docker.io \
    && install /tmp/docker.io/usr/bin/docker /usr/local/bin/docker && rm -rf /tmp/docker.io* /var/lib/apt/lists/*
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY docker-buildx /usr/local/libexec/docker/cli-plugins/docker-buildx
ENTRYPOINT ["docker"]
