import pytest


@pytest.fixture(scope='session')
def cache(tmp_path_factory):
    """A cache folder for this run: nothing a test prepares touches the user's."""
    return tmp_path_factory.mktemp('cache')


@pytest.fixture(autouse=True)
def _own_cache(cache, monkeypatch):
    monkeypatch.setenv('OSGAN_JAX_CACHE', str(cache))
