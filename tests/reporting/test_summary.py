"""The opening table."""

import pytest

from osgan_jax.reporting import summary


@pytest.mark.parametrize(
    ('value', 'unit', 'text'),
    [
        (12_656_257, '', '12.7 M'),
        (3.2e9, 'FLOP', '3.2 GFLOP'),
        (512, 'B', '512 B'),
        (0, '', '0'),
        (999, '', '999'),
        (999_960, '', '1 M'),
        (1797, '', '1.8 k'),
        (0.25, 's', '0.25 s'),
        (-2.5e12, '', '-2.5 T'),
        (142.04e9, 'MAC', '142 GMAC'),
        (9.996e9, '', '10 G'),
        (1.7e16, 'FLOP', '17 PFLOP'),
    ],
)
def test_human(value, unit, text):
    assert summary.human(value, unit) == text


def test_summary():
    table = summary.summary(
        {
            'method': 'lsgan',
            'steps': 20_000,
            'learning rate': 2e-4,
            'parameters G': (12_656_257, ''),
            'a step': (3.2e9, 'FLOP'),
            'EMA': False,
            'resumed from': None,
            'devices': ['cpu:0', 'cpu:1'],
        },
        title='one-stage',
    )
    assert table == '\n'.join(
        [
            'one-stage',
            '-----------------------------',
            '  method         lsgan',
            '  steps          20,000',
            '  learning rate  0.0002',
            '  parameters G   12.7 M',
            '  a step         3.2 GFLOP',
            '  EMA            no',
            '  devices        cpu:0, cpu:1',
            '-----------------------------',
        ]
    )


def test_long_values_wrap_under_their_column():
    report = '3 files were passed over: ' + ', '.join(f'image_{i}.png' for i in range(12))
    lines = summary.summary([('dataset', 'faces\n' + report)]).splitlines()
    assert lines[2] == '  dataset  faces'
    assert lines[3].startswith('           3 files')
    assert len(lines) > 5
    assert max(map(len, lines)) <= 88
