# `segpipe serve` without a GPU, without TensorFlow, and not as root. See docs/serve.md.
FROM python:3.13-slim

WORKDIR /opt/segpipe
COPY docker/requirements.lock docker/
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement docker/requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

ENV PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /model
EXPOSE 8000
# The server's last --port, which options at the end of the command may set.
HEALTHCHECK --start-period=20s CMD ["python", "-c", \
  "import re, urllib.request; \
  ports = re.findall(r'--port[\\0=](\\d+)', open('/proc/1/cmdline').read()); \
  urllib.request.urlopen(f'http://127.0.0.1:{[8000, *ports][-1]}/health', timeout=3)"]
ENTRYPOINT ["segpipe", "serve", "model.onnx", "--host", "0.0.0.0"]
