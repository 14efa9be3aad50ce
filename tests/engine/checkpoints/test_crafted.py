"""Checkpoints with contents that no save writes: refused; nothing is executed or touched."""

import json
import os
import pickle
import shutil

import jax
import numpy as np
import pytest

from osgan_jax.engine import checkpoints
from osgan_jax.engine.checkpoints import errors, manifest, reading
from tests.support import untrusted

STATE = {'a': {'b': np.arange(6, dtype=np.float32).reshape(2, 3)}, 'n': np.int32(4)}


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


def refused(workdir, message, like=STATE, *, whole=True):
    """The checkpoint is refused in one sentence, and all is left as it was."""
    before = {path: path.lstat().st_mtime_ns for path in workdir.parent.rglob('*')}
    with pytest.raises(checkpoints.CheckpointError, match=message) as caught:
        restore(workdir, like, whole=whole)
    assert '\n' not in str(caught.value)
    assert len(str(caught.value)) < 600 + len(str(workdir))
    assert {path: path.lstat().st_mtime_ns for path in workdir.parent.rglob('*')} == before


def damaged(workdir, message):
    """The manifest, which is read first, is refused; in less time."""
    with pytest.raises((errors.DamagedError, checkpoints.CheckpointError), match=message):
        reading.read_manifest(workdir / 'checkpoints' / '1')


def described(workdir):
    return workdir / 'checkpoints' / '1' / 'manifest' / 'metadata'


def write(workdir, body):
    """Writes a manifest with its own checksum."""
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
    damaged(workdir, 'is not a name of a leaf')


def edit(**fields):
    """A leaf described otherwise; both of its shapes and types."""
    return {
        f'{stored}{name}': value for name, value in fields.items() for stored in ('', 'stored_')
    }


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
        ({'step': 7}, 'it belongs to step 7 and was renamed'),
        ({'format': 'x'}, 'no version'),
        ({'format': 1e999}, 'no version'),
        ({'format': 99}, 'has format 99 and this version of osgan_jax reads up to 1; upgrade'),
    ],
)
def test_manifests_of_something_else(workdir, fields, message):
    write(workdir, {**body_of(workdir), **fields})
    damaged(workdir, message)


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
        (b'{"body": {"format": 1}, "crc32": ' + b'9' * 10_000 + b'}', 'manifest cannot be read'),
        (pickle.dumps({'body': {}}), 'manifest cannot be read'),
    ],
)
def test_manifests_that_are_no_json_of_ours(workdir, text, message):
    described(workdir).write_bytes(text)
    damaged(workdir, message)


@pytest.mark.parametrize('place', ['arrays/d/more', 'manifest/metadata', 'more', 'arrays/ocdbt'])
def test_links_and_pipes_are_not_followed(workdir, place):
    path = workdir / 'checkpoints' / '1' / place
    secret = workdir.parent / 'secret'
    secret.write_bytes(described(workdir).read_bytes())
    path.unlink(missing_ok=True)
    path.symlink_to(secret)
    damaged(workdir, f"'{path.name}' in it is not a file")
    path.unlink()
    os.mkfifo(path)
    damaged(workdir, f"'{path.name}' in it is not a file")


def test_nothing_is_unpickled(workdir):
    ran = workdir.parent / 'ran'
    checkpoint = workdir / 'checkpoints' / '1'
    evil = pickle.dumps(untrusted.Evil(ran))
    # Beside the others none is opened.
    for name in ('state.pkl', 'arrays/a.pickle', 'manifest/metadata.pkl'):
        (checkpoint / name).write_bytes(evil)
    assert restore(workdir).step == 1
    # Orbax reads that one, though not as a pickle.
    (checkpoint / 'arrays' / 'checkpoint').write_bytes(evil)
    refused(workdir, 'arrays cannot be read')
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


def test_arrays_of_another_shape_than_the_manifest_says(workdir):
    body = body_of(workdir)
    body['leaves']['a/b'].update(edit(shape=[3, 2]))
    write(workdir, body)
    like = {**STATE, 'a': {'b': jax.ShapeDtypeStruct((3, 2), np.float32)}}
    refused(workdir, 'a/b has another shape or type than its manifest says', like)
