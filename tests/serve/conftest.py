"""A model to serve, and a server of it."""

import pytest
import served


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return served.write_model(tmp_path_factory.mktemp("model") / "model.onnx", served.card())


@pytest.fixture(scope="session")
def server(model):
    with served.serving(model) as running:
        yield running


@pytest.fixture(scope="session")
def strict(model):
    """A server with a token and no queue, which waits a second and answers pages of example.org."""
    options = ("--queue", "0", "--timeout", "1", "--allow-origin", "https://example.org")
    with served.serving(model, *options, SEGPIPE_TOKEN="sesame") as running:
        running.client.headers["Authorization"] = "Bearer sesame"
        yield running
