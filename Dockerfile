# The server with the bundled model, for the CPU: `make live` in a container.
#
#     docker build -t quintet .
#     docker run --rm -p 127.0.0.1:8321:8321 quintet
#
# pip takes PyTorch's build for NVIDIA GPUs by itself, with gigabytes of CUDA libraries. Where an
# index of builds for the CPU is at hand, name it: --build-arg PIP_EXTRA_INDEX_URL=...

FROM python:3.11-slim-bookworm AS build
ARG PIP_EXTRA_INDEX_URL=""
WORKDIR /source
RUN python -m venv /opt/quintet
COPY pyproject.toml constraints.txt README.md LICENSE THIRD_PARTY.md ./
COPY quintet quintet
RUN /opt/quintet/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check \
    -c constraints.txt .

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="quintet" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --create-home quintet
COPY --from=build /opt/quintet /opt/quintet
ENV PATH=/opt/quintet/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /home/quintet
EXPOSE 8321
# Whether it lives; whether one more conversation may begin is asked at /ready.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8321/health', timeout=2)"]
# `docker stop` kills after ten seconds: conversations may go on for eight.
STOPSIGNAL SIGTERM
ENTRYPOINT ["quintet", "serve"]
CMD ["nano", "--host", "0.0.0.0", "--drain", "8"]
