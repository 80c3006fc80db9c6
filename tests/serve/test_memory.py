"""The server's memory stays flat over 20,000 requests."""

import psutil
import pytest
import served
from served import RED, png

FIRST, ALL = 2_000, 20_000
GROWTH = 10e6  # bytes; each request brings 60 kB of pixels alone


@pytest.mark.slow
def test_memory_is_flat_over_20_000_requests(model):
    picture = png([[RED] * 200] * 100)
    with served.serving(model) as server:
        process = psutil.Process(server.process.pid)
        for number in range(ALL):
            assert server.predict(picture).status_code == 200
            if number == FIRST:
                before = process.memory_info().rss
        grown = process.memory_info().rss - before
    print(f"{before / 1e6:.0f} MB after {FIRST} requests, {grown / 1e6:+.1f} MB after {ALL}")
    assert grown < GROWTH
