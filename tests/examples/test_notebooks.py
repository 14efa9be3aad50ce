"""Notebooks run from top to bottom, and are kept with the outputs of such a run."""

import json

import pytest

from tests.support import ROOT

NOTEBOOKS = sorted((ROOT / 'examples').glob('*.ipynb'))


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_kept(path):
    notebook = json.loads(path.read_text())
    code = [cell for cell in notebook['cells'] if cell['cell_type'] == 'code']
    assert [cell['execution_count'] for cell in code] == list(range(1, len(code) + 1))
    kinds = [output['output_type'] for cell in code for output in cell['outputs']]
    assert 'display_data' in kinds
    assert 'error' not in kinds
    assert path.stat().st_size < 300_000


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip('nbclient', reason='docs/requirements.txt')
    nbformat = pytest.importorskip('nbformat', reason='docs/requirements.txt')
    pytest.importorskip('ipykernel', reason='docs/requirements.txt')
    if 'equinox' in path.read_text():
        pytest.importorskip('equinox', reason='docs/requirements.txt')
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
    monkeypatch.delenv('MPLBACKEND', raising=False)  # the notebook's own draws into its outputs
    notebook = nbformat.read(path, 4)
    # Its own assertions hold, or it raises.
    nbclient.NotebookClient(
        notebook, timeout=900, resources={'metadata': {'path': str(tmp_path)}}
    ).execute()
    assert any(
        'image/png' in o.get('data', {}) for c in notebook.cells for o in c.get('outputs', ())
    )
