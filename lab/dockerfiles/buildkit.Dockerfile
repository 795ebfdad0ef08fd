# moby/buildkit for machines that reach no public registry: the same programs at the same places, from the Go module of the
# same version. runc is Debian's, which is built with seccomp (a plain `go build` of runc is not).
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends ca-certificates git runc >/dev/null \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY buildctl buildkitd buildctl-daemonless.sh /usr/bin/
# Not the container's own overlay: the kernel takes no overlay on top of another one.
VOLUME /var/lib/buildkit
ENTRYPOINT ["buildkitd"]
