# The server alone: no flaml, no training extra. Train elsewhere, into the same MLflow.
#   docker build -t gancao .
#   docker run --rm -v gancao:/var/lib/gancao gancao gancao keys create
#   docker run -p 127.0.0.1:8000:8000 -v gancao:/var/lib/gancao gancao

FROM python:3.12-slim AS builder
RUN pip install --no-cache-dir "uv>=0.9,<1"
# Compiled here: the user of the final image may not write, and each start would compile again.
# The interpreter is the image's own, at the same path in both stages.
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_PYTHON=/usr/local/bin/python3 \
    UV_PROJECT_ENVIRONMENT=/opt/gancao
WORKDIR /src
# Libraries first: they change more rarely than we do, and the layer is kept.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --no-install-project
COPY README.md LICENSE ./
COPY experiments experiments
COPY training training
COPY serving serving
COPY feature_store feature_store
RUN uv sync --frozen --no-dev --no-editable

FROM python:3.12-slim
# LightGBM's library is linked against OpenMP.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/gancao --create-home gancao
COPY --from=builder /opt/gancao /opt/gancao
# 0.0.0.0: inside a container the loopback is the container's own, so the port must be open to be published. The server
# therefore wants a key before it starts; `-e GANCAO_OPEN=1` does without, behind what checks who asks.
ENV PATH=/opt/gancao/bin:$PATH \
    GANCAO_HOME=/var/lib/gancao \
    GANCAO_HOST=0.0.0.0 \
    GANCAO_PORT=8000 \
    PYTHONUNBUFFERED=1
USER gancao
WORKDIR /var/lib/gancao
VOLUME /var/lib/gancao
EXPOSE 8000
# Alive, not ready: a server that waits for its first version must not be restarted for it. /readyz is for balancers.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]
CMD ["gancao", "serve"]
