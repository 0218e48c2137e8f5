# docker build --build-arg EXTRA=gpu .    for a host with an NVIDIA GPU; EXTRA=cpu (the default) for any other
FROM python:3.11.14-slim-bookworm AS build
ARG EXTRA=cpu
WORKDIR /src
RUN python -m venv --without-pip /opt/anytime
COPY pyproject.toml constraints.txt LICENSE README.md ./
COPY decoding decoding
COPY service service
# Training and export stay outside: the server needs neither, and no torch. Nor does it need the tests of its packages.
RUN pip --python /opt/anytime/bin/python install --no-cache-dir --disable-pip-version-check -c constraints.txt ".[${EXTRA}]" \
 && find /opt/anytime -depth -type d \( -name tests -o -path '*/onnx/backend/test' \) -exec rm -r {} +

FROM python:3.11.14-slim-bookworm
RUN useradd --system --no-create-home --uid 10001 anytime
COPY --from=build /opt/anytime /opt/anytime
USER anytime
ENV PATH=/opt/anytime/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ANYTIME_HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('ANYTIME_PORT', '8000') + '/health/ready')"]
ENTRYPOINT ["python", "-m", "service"]
