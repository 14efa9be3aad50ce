"""Models of the package by name, where a run is read and nowhere else."""

import pytest

from osgan_jax.io import packaged, paths


def test_a_name_is_a_folder_where_runs_are_read():
    for name in packaged.names():
        assert paths.expand(f'pretrained:{name}', pretrained=True) == str(packaged.folder(name))
        with pytest.raises(ValueError, match=f'--pretrained={name} reads it in place of a --work'):
            paths.expand(f'pretrained:{name}')
    assert 'digits' in packaged.names()


@pytest.mark.parametrize('name', ['', 'dogs', '../models/digits', 'digits/'])
def test_other_names_are_refused_with_those_there_are(name):
    with pytest.raises(ValueError, match=r'expected one of .*\bdigits\b'):
        paths.expand(f'pretrained:{name}', pretrained=True)
