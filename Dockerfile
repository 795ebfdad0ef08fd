# One image for two jobs: the operator (`python -m buildcache`, the default command) and the two helper containers of every
# build task (`python -m buildcache.runner fetch` and `… report`).
#
# No `RUN --mount`: the classic builder of Debian's docker.io builds this too. Where TLS is intercepted, pass a BASE_IMAGE that
# carries the CA bundle and says so in SSL_CERT_FILE and PIP_CERT (the lab does), both tools of this build honour them.
ARG BASE_IMAGE=python:3.13-slim-bookworm

FROM ${BASE_IMAGE} AS dependencies
ARG UV_VERSION=0.13.9
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never \
    UV_PROJECT_ENVIRONMENT=/opt/venv
# A venv of its own for uv: Debian's Python refuses `pip install` outside of one.
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --quiet --no-cache-dir "uv==${UV_VERSION}"
WORKDIR /opt/project
COPY pyproject.toml uv.lock ./
# Only what the lock names, each file checked against its hash there; the project itself is not built, so that no build
# backend of a version nobody pinned comes in.
RUN /opt/uv/bin/uv sync --frozen --no-dev --no-install-project --python "$(command -v python3)" --quiet

FROM ${BASE_IMAGE}
RUN if ! command -v git >/dev/null || ! [ -s /etc/ssl/certs/ca-certificates.crt ]; then \
      apt-get update -qq \
      && apt-get install -qq -y --no-install-recommends git ca-certificates \
      && rm -rf /var/lib/apt/lists/*; \
    fi
# A name for the user below: programs that ask for it (getpwuid) fail without one. A cluster may choose another user all the same.
RUN echo 'buildcache:x:65532:65532:buildcache:/tmp:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'buildcache:x:65532:' >> /etc/group
# A task volume mounted on /workspace takes over this directory's mode, so that `fetch` may write there without being root.
RUN mkdir /workspace && chmod 1777 /workspace
VOLUME /workspace
COPY --from=dependencies /opt/venv /opt/venv
# `buildcache` is imported from here, not installed; PYTHONSAFEPATH keeps the working directory (a user's source) off sys.path.
# MALLOC_ARENA_MAX: each of some twenty threads would else keep memory of its own that it has freed.
ENV MALLOC_ARENA_MAX=2
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/buildcache PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 HOME=/tmp
COPY operator/buildcache /opt/buildcache/buildcache
RUN python -m compileall -q /opt/buildcache
USER 65532:65532
CMD ["python", "-m", "buildcache"]
