"""Checkpoints that lie, made by somebody who knows the format: refused, and nothing is touched."""

import contextlib
import json
import os
import pickle
import shutil
import tracemalloc

import jax
import numpy as np
import pytest

from osgan_jax.engine import checkpoints
from osgan_jax.engine.checkpoints import errors, manifest, reading
from tests.support import untrusted

STATE = {'a': {'b': np.arange(6, dtype=np.float32).reshape(2, 3)}, 'n': np.int32(4)}
MB = 1 << 20


@pytest.fixture(scope='module')
def good(tmp_path_factory):
    workdir = tmp_path_factory.mktemp('good')
    with checkpoints.Checkpoints(workdir) as saved:
        saved.save(1, STATE, wait=True)
    return workdir


@pytest.fixture
def workdir(good, tmp_path):
    return shutil.copytree(good, tmp_path / 'run')


def restore(workdir, like=STATE, *, whole=True):
    with checkpoints.Checkpoints(workdir, read_only=True) as saved:
        return saved.restore(like, whole=whole)


@contextlib.contextmanager
def in_little_memory():
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 8 * MB
    finally:
        tracemalloc.stop()


def refused(workdir, message, like=STATE, *, whole=True):
    """The checkpoint is refused in one sentence, and all is left as it was."""
    before = {path: path.lstat().st_mtime_ns for path in workdir.parent.rglob('*')}
    with (
        in_little_memory(),
        pytest.raises(checkpoints.CheckpointError, match=message) as caught,
    ):
        restore(workdir, like, whole=whole)
    assert '\n' not in str(caught.value)
    assert len(str(caught.value)) < 600 + len(str(workdir))
    assert {path: path.lstat().st_mtime_ns for path in workdir.parent.rglob('*')} == before


def unbelieved(workdir, message):
    """The manifest, which is read first, is; for less time."""
    with (
        in_little_memory(),
        pytest.raises((errors.DamagedError, checkpoints.CheckpointError), match=message),
    ):
        reading.read_manifest(workdir / 'checkpoints' / '1')


def described(workdir):
    return workdir / 'checkpoints' / '1' / 'manifest' / 'metadata'


def write(workdir, body):
    """Writes a manifest with its own checksum, as a forger would."""
    described(workdir).write_text(json.dumps({'body': body, 'crc32': manifest._crc(body)}))


def body_of(workdir):
    return json.loads(described(workdir).read_text())['body']


def test_a_manifest_written_again_is_believed(workdir):
    write(workdir, body_of(workdir))
    assert restore(workdir).step == 1


@pytest.mark.parametrize('name', ['../x', '/etc/x', 'a/../../x', '..', 'a\0b'])
def test_names_that_lead_elsewhere(workdir, name):
    body = body_of(workdir)
    body['leaves'][name] = body['leaves']['a/b']
    write(workdir, body)
    unbelieved(workdir, 'is no name of a leaf')


def edit(**fields):
    """A leaf described otherwise; both of its shapes and types."""
    return {
        f'{stored}{name}': value for name, value in fields.items() for stored in ('', 'stored_')
    }


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        (edit(shape=[-1, 3]), "'a/b' has a shape of what are no sizes"),
        (edit(shape=[True, 3]), 'no sizes'),
        (edit(shape=[2.0, 3]), 'no sizes'),
        (edit(shape=[1 << 63]), 'no sizes'),
        (edit(shape=[10**30]), 'no sizes'),
        (edit(shape=[1] * 33), 'too many axes'),
        (edit(shape=6), 'no shape'),
        (edit(shape=None), 'no shape'),
        ({'stored_shape': [1 << 40, 1 << 40]}, 'another shape than its own'),
        ({'stored_shape': [2, 3, 1 << 40]}, 'another shape than its own'),
        ({'dtype': 'key<fry>', 'stored_shape': [2, 3, 1 << 40]}, 'another shape than its own'),
        ({'dtype': 'key<fry>', 'stored_shape': [2, 3, 2]}, 'another type than its own'),
        (edit(dtype='object'), 'of no type of numbers'),
        (edit(dtype='O'), 'of no type of numbers'),
        (edit(dtype='<U4'), 'of no type of numbers'),
        (edit(dtype='f4,f4'), 'of no type of numbers'),
        (edit(dtype='|V8'), 'of no type of numbers'),
        (edit(dtype='nosuch'), 'none that a save writes'),
        (edit(dtype=['f4']), 'none that a save writes'),
        ({'stored_dtype': 'float64'}, 'another type than its own'),
        ({'crc32': 'x'}, 'no checksum'),
        ({'crc32': None}, 'no checksum'),
    ],
)
def test_leaves_that_are_described_wrongly(workdir, fields, message):
    body = body_of(workdir)
    body['leaves']['a/b'].update(fields)
    write(workdir, body)
    unbelieved(workdir, message)


@pytest.mark.parametrize(
    'fields', [edit(shape=[0, 1 << 62]), edit(shape=[1 << 40]), edit(dtype='float64')]
)
def test_leaves_of_another_state(workdir, fields):
    body = body_of(workdir)
    body['leaves']['a/b'].update(fields)
    write(workdir, body)
    refused(workdir, 'holds another state')


@pytest.mark.parametrize('whole', [True, False])
def test_leaves_that_are_not_there(workdir, whole):
    body = body_of(workdir)
    body['leaves']['more'] = {**body['leaves']['a/b'], **edit(shape=[1 << 40])}
    write(workdir, body)
    refused(workdir, 'holds another state' if whole else 'arrays cannot be read', whole=whole)


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'leaves': []}, 'none that a save writes'),
        ({'leaves': {'a/b': 3}}, 'none that a save writes'),
        ({'iterator_states': []}, 'no state of the data iterator'),
        ({'iterator_states': 3}, 'none that a save writes'),
        ({'iterator_states': ['no base 64']}, 'none that a save writes'),
        ({'metadata': ['x']}, 'of another type'),
        ({'step': '1'}, 'of another type'),
        ({'step': True}, 'of another type'),
        ({'step': 7}, 'that of step 7, renamed'),
        ({'format': 'x'}, 'no version'),
        ({'format': 1e999}, 'no version'),
        ({'format': 99}, 'has format 99 and this version of osgan_jax reads up to 1; upgrade'),
    ],
)
def test_manifests_of_something_else(workdir, fields, message):
    write(workdir, {**body_of(workdir), **fields})
    unbelieved(workdir, message)


DEEP = 100_000


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (b'', 'manifest cannot be read'),
        (b'[]', 'no version'),
        (b'null', 'no version'),
        (b'\xff\x00\x93', 'manifest cannot be read'),
        (b'[' * DEEP, 'manifest cannot be read'),
        (b'[' * DEEP + b']' * DEEP, 'manifest cannot be read'),
        (
            b'{"body": {"format": 1, "x": ' + b'[' * 900 + b']' * 900 + b'}, "crc32": 0}',
            'checksum|no version',
        ),
        (b'{"body": {}, "body": {}, "crc32": 0}', 'a name twice'),
        (b'{"body": {"format": 1}, "crc32": ' + b'9' * 10_000 + b'}', 'manifest cannot be read'),
        (pickle.dumps({'body': {}}), 'manifest cannot be read'),
    ],
)
def test_manifests_that_are_no_json_of_ours(workdir, text, message):
    described(workdir).write_bytes(text)
    unbelieved(workdir, message)


@pytest.mark.parametrize('name', ['manifest/metadata', 'arrays/_METADATA', '_CHECKPOINT_METADATA'])
def test_descriptions_of_100_mb_are_not_read(workdir, name):
    with open(workdir / 'checkpoints' / '1' / name, 'r+b') as file:
        file.truncate(100 * MB)
    unbelieved(workdir, 'has 104857600 bytes, more than any save writes')


def test_a_leaf_twice(workdir):
    text = described(workdir).read_text()
    described(workdir).write_text(text.replace('"leaves": {', '"leaves": {"n": {}, '))
    unbelieved(workdir, 'a name twice')


@pytest.mark.parametrize('place', ['arrays/d/more', 'manifest/metadata', 'more', 'arrays/ocdbt'])
def test_links_and_pipes_are_not_followed(workdir, place):
    path = workdir / 'checkpoints' / '1' / place
    secret = workdir.parent / 'secret'
    secret.write_bytes(described(workdir).read_bytes())
    path.unlink(missing_ok=True)
    path.symlink_to(secret)
    unbelieved(workdir, f"'{path.name}' in it is no file")
    path.unlink()
    os.mkfifo(path)
    unbelieved(workdir, f"'{path.name}' in it is no file")


def test_nothing_is_unpickled(workdir):
    ran = workdir.parent / 'ran'
    checkpoint = workdir / 'checkpoints' / '1'
    evil = pickle.dumps(untrusted.Evil(ran))
    # Beside the others none is opened.
    for name in ('state.pkl', 'arrays/a.pickle', 'manifest/metadata.pkl'):
        (checkpoint / name).write_bytes(evil)
    assert restore(workdir).step == 1
    # That one orbax would read, though not as a pickle.
    (checkpoint / 'arrays' / 'checkpoint').write_bytes(evil)
    refused(workdir, "'checkpoint' in it is none of a save's files")
    (checkpoint / 'arrays' / 'checkpoint').unlink()
    for path in [path for path in checkpoint.rglob('*') if path.is_file()]:
        content = path.read_bytes()
        path.write_bytes(evil)
        try:
            restore(workdir)
        except checkpoints.CheckpointError as error:
            assert '\n' not in str(error)  # noqa: PT017
        path.write_bytes(content)
    assert not ran.exists()
    pickle.loads(evil)  # would have
    assert ran.exists()


def claim(workdir, shape, chunks, dtype='<f4'):
    """Makes the stored a/b claim a shape that nothing was written for, and the manifest agree."""
    import tensorstore

    arrays = workdir / 'checkpoints' / '1' / 'arrays'
    tensorstore.open(
        {
            'driver': 'zarr',
            'kvstore': {'driver': 'ocdbt', 'base': f'file://{arrays}/'},
            'path': 'a/b',
            'metadata': {'shape': shape, 'chunks': chunks, 'dtype': dtype, 'compressor': None},
        },
        create=True,
        delete_existing=True,
    ).result()
    body = body_of(workdir)
    body['leaves']['a/b'].update(edit(shape=shape))
    write(workdir, body)
    return {**STATE, 'a': {'b': jax.ShapeDtypeStruct(tuple(shape), np.float32)}}


@pytest.mark.parametrize('shape', [[10**12], [1 << 31, 1 << 31]])
def test_arrays_that_a_few_bytes_claim(workdir, shape):
    like = claim(workdir, shape, [1] * len(shape))
    refused(workdir, r'would unpack to \d+, which no state does', like)


def test_chunks_larger_than_their_array(workdir):
    like = claim(workdir, [2, 3], [1 << 30, 1 << 30])
    refused(workdir, 'a/b is stored in chunks larger than itself', like)


def test_arrays_of_another_shape_or_type_than_the_manifest_says(workdir):
    claim(workdir, [10**12], [1])
    body = body_of(workdir)
    body['leaves']['a/b'].update(edit(shape=[2, 3]))
    write(workdir, body)
    refused(workdir, 'a/b has another shape or type than its manifest says')
    like = claim(workdir, [2, 3], [2, 3], dtype='<f8')
    refused(workdir, 'a/b has another shape or type than its manifest says', like)


def test_zeros_are_no_bomb(tmp_path):
    """Most of a state may be zeros, which take no room on disk."""
    state = {'moments': np.zeros(3 * MB, np.float32)}
    with checkpoints.Checkpoints(tmp_path) as saved:
        saved.save(1, state, wait=True)
        np.testing.assert_array_equal(saved.restore(state).state['moments'], state['moments'])
