# The service, on any slim Python from 3.11 on; `scripts/image build` builds it.
# A release pins its base: --build-arg BASE_IMAGE=python:3.13-slim@sha256:...
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /build
COPY scripts/bootstrap scripts/
COPY poetry.lock .
# A group of the lock beside main: `load`, for the load tests.
ARG GROUP=
# For a network with a package index or a certificate authority of its own.
ARG PIP_INDEX_URL
ARG PIP_CERT
RUN --mount=type=secret,id=ca \
    python scripts/bootstrap --requirements ${GROUP:+"$GROUP"} > requirements.txt \
    && pip install --require-hashes --no-deps --only-binary :all: --no-compile --no-cache-dir \
        --disable-pip-version-check --quiet -r requirements.txt
# Away with what only installs; with the descriptions of the AWS services that neither the
# credential chain nor `provision` calls (25 MB of botocore); and with scripts.
RUN pip uninstall --yes --quiet pip setuptools \
    && find /opt/venv/lib/python3*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
        ! -name dynamodb ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin \
        -exec rm -r {} + \
    && find /opt/venv/bin ! -type d ! -name 'python*' -delete
WORKDIR /opt/strongroom
COPY LICENSE .
COPY app app
# Nothing can be compiled on a read-only file system. Unchecked, as the files' times mean nothing.
RUN chmod -R u=rwX,go=rX . \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib app

# Load tests, as the chart runs them: --target load --build-arg GROUP=load
FROM ${BASE_IMAGE} AS load
LABEL org.opencontainers.image.title="Strongroom's load tests" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/venv /opt/venv
COPY load /opt/strongroom/load
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
WORKDIR /opt/strongroom
USER 10001:10001
ENTRYPOINT ["python", "-m", "load"]
CMD ["--help"]

FROM ${BASE_IMAGE} AS service
# Python's own modules come uncompiled in the official images, which doubles the time of every start,
# or compiled for times that a build may change (-f). Its installers are of no use here.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/* \
        /usr/local/lib/python3*/ensurepip /usr/lib/python3*/ensurepip /usr/share/python-wheels \
    && python3 -m compileall -q -f --invalidation-mode unchecked-hash \
        -x '/(test|tests|idlelib|site-packages|dist-packages)/' \
        "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
ARG BASE_IMAGE
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Strongroom" \
      org.opencontainers.image.description="A document store API over DynamoDB and S3" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/strongroom /opt/strongroom
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
WORKDIR /opt/strongroom
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-m", "app", "probe"]
ENTRYPOINT ["python", "-m", "app"]
CMD ["serve"]
