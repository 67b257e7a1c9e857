import pytest

from fake import Server


@pytest.fixture
def start():
    """Starts servers with a child each, and ends them."""
    servers = []

    def make(*args, **kwargs):
        servers.append(Server(*args, **kwargs))
        return servers[-1]

    yield make
    for server in servers:
        server.close()
