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
    --no-deps --no-build-isolation . && \
    /opt/causerie/bin/python -m pip uninstall --yes --quiet setuptools pip

FROM python:3.11-slim
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/causerie causerie && \
    install -d -o causerie -g causerie /var/lib/causerie/files
COPY --from=build /opt/causerie /opt/causerie
ENV PATH=/opt/causerie/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CAUSERIE_HOST=0.0.0.0 \
    CAUSERIE_DATA_DIR=/var/lib/causerie
USER causerie
WORKDIR /var/lib/causerie
EXPOSE 8080 4040
STOPSIGNAL SIGTERM
ENTRYPOINT ["causerie"]
CMD ["gateway"]
