import pickle

import numpy as np
import pytest

from osgan_jax.data.name_list import Names

TEXTS = ['a/b.png', '', 'ü/雪.jpg', 'not text: \udcff', 'a/b.png']


def test_names_are_the_texts_they_were_made_of():
    names = pickle.loads(pickle.dumps(Names.of(TEXTS)))
    assert list(names) == TEXTS
    assert [names[index] for index in range(-5, 5)] == TEXTS * 2
    assert names == Names.of(iter(TEXTS))
    assert names != Names.of(['a', *TEXTS[1:]])
    with pytest.raises(IndexError):
        names[5]
    assert list(Names.of([])) == []


def test_names_take_their_bytes_and_eight_more():
    names = Names.of(f'class{n % 20:02}/img{n:08}.jpg' for n in range(1000))
    assert len(pickle.dumps(names)) < 1000 * (23 + 8) + 1000
    assert names.ends.dtype == np.int64
