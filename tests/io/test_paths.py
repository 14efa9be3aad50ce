from osgan_jax.io import paths


def test_cache(monkeypatch, tmp_path):
    monkeypatch.delenv('OSGAN_JAX_CACHE', raising=False)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert paths.cache_dir() == tmp_path / 'osgan_jax'
    monkeypatch.setenv('OSGAN_JAX_CACHE', str(tmp_path / 'own'))
    assert paths.cache_dir() == tmp_path / 'own'
