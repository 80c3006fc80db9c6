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
HEALTHCHECK --start-period=20s CMD ["python", "-c", \
  "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=3)"]
ENTRYPOINT ["segpipe", "serve", "model.onnx", "--host", "0.0.0.0"]
