"""Sizes and times of generators by multiplier, beside the paper's."""

import dataclasses
import json

import pytest

from experiments.compress import report
from experiments.compress.published import PRINTED, STUDIED, Studied
from osgan_jax.networks import biggan


@pytest.mark.parametrize(
    ('network', 'size', 'generators', 'macs'),
    [
        pytest.param(
            *('biggan', 128, (70_433_988, 18_383_460, 8_543_300, 5_031_348)),
            (21.12, 5.42, 2.47, 1.42),
            marks=pytest.mark.slow,
        ),
        (
            'stylegan2',
            256,
            (30_034_338, 10_931_682, 5_334_018, 3_523_602),
            (83.8, 21.0, 5.28, 1.34),
        ),
    ],
)
def test_counts(network, size, generators, macs):
    rows = report.measure(network, size, repeats=0)
    assert tuple(row['generator'] for row in rows) == generators
    for row, expected in zip(rows, macs, strict=True):
        assert row['macs_paper'] / 1e9 == pytest.approx(expected, rel=5e-3)
        assert row['macs_true'] <= row['macs_paper']
        printed = PRINTED[network, size][row['channel_multiplier']]
        assert row['generator'] / 1e6 == pytest.approx(printed.parameters, rel=3e-3)
    text = report.table(network, size, rows, batch_size=1, repeats=0)
    assert len(text.splitlines()) == 2 + len(rows) + 1
    assert f'{generators[1]:,}' in text
    assert f'{PRINTED[network, size]["1/2"].fid:.2f}' in text


def test_times_and_file(monkeypatch, tmp_path, capsys):
    narrow = dataclasses.replace(biggan.SPEC, width=24, latent_dim=lambda image_size: 8)
    monkeypatch.setattr(biggan, 'SPEC', narrow)
    monkeypatch.setitem(STUDIED, 'biggan', Studied(32, ('1', '1/4')))
    report.run('biggan', 32, batch_size=2, repeats=1, out=tmp_path / 'report.json')
    body = json.loads((tmp_path / 'report.json').read_text())
    assert [row['channel_multiplier'] for row in body['rows']] == ['1', '1/4']
    assert all(row['low'] <= row['seconds'] <= row['high'] for row in body['rows'])
    assert body['machine']['jax']
    assert body['batch_size'] == 2
    assert 'draws of 2, medians of 1' in capsys.readouterr().out


def test_unknown_networks_and_sizes():
    with pytest.raises(ValueError, match="network='dcgan': expected one of stylegan2, biggan"):
        report.measure('dcgan', 32)
    with pytest.raises(ValueError, match='biggan has no 100-pixel networks'):
        report.measure('biggan', 100)
