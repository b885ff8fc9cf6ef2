# One image for every program: `gateway` (the default), `worker`, `chat`, `admin`, `serve`.

FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/causerie
COPY requirements.lock ./
RUN /opt/causerie/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
    --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY causerie causerie
COPY gateway gateway
COPY worker worker
COPY cli cli
RUN /opt/causerie/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
    --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/causerie causerie
COPY --from=build /opt/causerie /opt/causerie
ENV PATH=/opt/causerie/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CAUSERIE_HOST=0.0.0.0 \
    CAUSERIE_DATA_DIR=/var/lib/causerie
USER causerie
WORKDIR /var/lib/causerie
EXPOSE 8080 4040
STOPSIGNAL SIGTERM
# A gateway that drains is healthy; whether it gets traffic is the balancer's question, /readyz.
HEALTHCHECK --interval=5s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["causerie"]
CMD ["gateway"]
