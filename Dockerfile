# An image for commands and for workers of a cluster: `docker build -t geounet .`
FROM python:3.11-slim AS build
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir build==1.6.1 && python -m build --wheel --outdir /wheels

FROM python:3.11-slim
COPY constraints.txt /tmp/constraints.txt
COPY --from=build /wheels /tmp/wheels
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt "$(ls /tmp/wheels/*.whl)[cloud,int8,postgis,report,stac,tiles]" \
    && rm -rf /tmp/wheels /tmp/constraints.txt \
    && useradd --create-home --uid 1000 geounet
USER geounet
WORKDIR /data
ENV PYTHONUNBUFFERED=1
CMD ["geounet", "--help"]
