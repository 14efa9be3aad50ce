"""One chart of the files of several calls."""

import json
import pathlib

import pytest
from PIL import Image

from experiments.benchmark import charts
from tests.support import launching

RESULTS = pathlib.Path('benchmarks/results')
FILES = [str(RESULTS / f'cpu2_{name}.json') for name in ('r3gan', 'stylegan2')]


def test_a_file_gives_back_its_cases_and_times():
    body, rows = charts.read(FILES[0])
    steps = json.loads(pathlib.Path(FILES[0]).read_text())['steps']
    assert body['machine']['cores'] == 2
    assert [t.seconds for _, timings in rows for t in timings] == [s['seconds'] for s in steps]
    assert rows[0][0].startswith('r3gan, 16 px')


def test_files_are_drawn_as_one_chart(tmp_path):
    done = launching.call('benchmark', f'--chart={",".join(FILES)}', f'--out={tmp_path / "a.png"}')
    assert (done.code, done.err) == (0, '')
    with Image.open(tmp_path / 'a.png') as both:
        charts.draw(FILES[:1], tmp_path / 'one.png')
        with Image.open(tmp_path / 'one.png') as one:
            assert both.height > one.height


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ([f'--chart={FILES[0]}'], '--chart needs --out'),
        ([f'--chart={FILES[0]}', '--out=x.json'], 'a chart is a .png file'),
        (['--chart=setup.cfg', '--out=x.png'], 'setup.cfg is not a result of experiments'),
        (['--chart=nowhere.json', '--out=x.png'], 'nowhere.json'),
        ([f'--chart={FILES[0]}', '--suite=accelerator', '--out=x.png'], 'different things'),
    ],
)
def test_what_cannot_be_drawn_is_refused(flags, message):
    done = launching.call('benchmark', *flags)
    assert done.code == 1
    assert message in done.err
    assert len(done.err.splitlines()) == 1


def test_times_of_different_machines_do_not_compare(tmp_path):
    body = json.loads(pathlib.Path(FILES[0]).read_text())
    body['machine']['cores'] = 64
    (tmp_path / 'other.json').write_text(json.dumps(body))
    with pytest.raises(ValueError, match='different machines'):
        charts.draw([FILES[0], str(tmp_path / 'other.json')], tmp_path / 'a.png')
    assert not (tmp_path / 'a.png').exists()
