"""Conventions of the Inception network's input, its extractor, the download of its weights."""

import hashlib
import http.client
import urllib.request

import jax
import numpy as np
import pytest

from osgan_jax.evaluation.features import inception as extracting
from osgan_jax.networks import inception
from tests.support import inception_reference as reference


def pictures(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def bilinear(image, row, column):
    """The value of `[H, W, C]` between four pixels; outside, that of the nearest."""
    height, width, _ = image.shape
    row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
    top, left = int(row), int(column)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    above = image[top, left] * (1 - (column - left)) + image[top, right] * (column - left)
    below = image[bottom, left] * (1 - (column - left)) + image[bottom, right] * (column - left)
    return above * (1 - (row - top)) + below * (row - top)


SIZES = [(8, 8), (32, 45), (299, 299), (400, 301), (1, 2)]


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('convention', ['torch', 'tf1'])
def test_bilinear_conventions(size, convention):
    x = pictures((2, *size, 3))
    found = np.asarray(extracting.preprocess(x, convention))
    assert found.shape == (2, 299, 299, 3)
    assert found.dtype == np.float32
    rows, columns = np.random.default_rng(1).integers(0, 299, (2, 300))
    rows[:4], columns[:4] = (0, 0, 298, 298), (0, 298, 0, 298)
    for i, j in zip(rows, columns, strict=True):
        if convention == 'torch':
            place = (i + 0.5) * size[0] / 299 - 0.5, (j + 0.5) * size[1] / 299 - 0.5
            expected = 2 * bilinear(x[1] / 255, *place) - 1
        else:
            place = i * size[0] / 299, j * size[1] / 299
            expected = (bilinear(x[1].astype(float), *place) - 128) / 128
        np.testing.assert_allclose(found[1, i, j], expected, atol=1e-5)


@pytest.mark.parametrize('size', SIZES)
def test_clean_convention(size):
    from PIL import Image

    x = pictures((1, *size, 3))
    x[0, : size[0] // 2] = np.where(x[0, : size[0] // 2] > 127, 255, 0)  # overshoots, is clipped
    found = np.asarray(extracting.preprocess(x, 'clean'))[0]
    for channel in range(3):
        plane = Image.fromarray(x[0, :, :, channel].astype(np.float32))
        assert plane.mode == 'F'
        resized = np.asarray(plane.resize((299, 299), Image.Resampling.BICUBIC))
        expected = (np.clip(resized, 0, 255) - 128) / 128
        np.testing.assert_allclose(found[:, :, channel], expected, atol=1e-5)
    if size == (8, 8):
        assert resized.max() > 255
    assert found.min() >= -1
    assert found.max() <= 127 / 128


@pytest.mark.parametrize('size', SIZES)
def test_torch_convention_is_torchs(size):
    torch = pytest.importorskip('torch')
    x = pictures((2, *size, 3))
    expected = torch.nn.functional.interpolate(
        torch.tensor(x).permute(0, 3, 1, 2) / 255, (299, 299), mode='bilinear', align_corners=False
    )
    found = np.asarray(extracting.preprocess(x, 'torch')).transpose(0, 3, 1, 2)
    # PyTorch finds its place among 400 pixels with 24 bits, which leaves 18 for that between two.
    np.testing.assert_allclose(found, 2 * expected - 1, atol=1e-4)


def test_known_places():
    """A black and a white pixel, by hand."""
    x = np.zeros((1, 1, 2, 1), np.uint8)
    x[:, :, 1] = 255
    tf1 = np.asarray(extracting.preprocess(x, 'tf1'))[0, 0, :, 0]
    assert tf1[0] == -1
    np.testing.assert_allclose(tf1[75], (255 * 150 / 299 - 128) / 128, atol=1e-6)
    np.testing.assert_array_equal(tf1[150:], np.float32(127 / 128))
    torch = np.asarray(extracting.preprocess(x, 'torch'))[0, 0, :, 0]
    np.testing.assert_array_equal(torch[:75], -1)
    np.testing.assert_allclose(torch[149], 0, atol=1e-6)
    np.testing.assert_allclose(torch, -torch[::-1], atol=1e-6)


@pytest.mark.parametrize('convention', extracting.CONVENTIONS)
def test_grey_is_repeated(convention):
    x = pictures((2, 20, 30, 1))
    found = extracting.preprocess(x, convention)
    coloured = extracting.preprocess(np.repeat(x, 3, 3), convention)
    np.testing.assert_allclose(found, coloured, atol=1e-6)
    assert found.shape == (2, 299, 299, 3)
    # Every pixel of the output is a mean of pixels of the input.
    for size in (1, 7, 299, 1024):
        matrix = extracting.resize_matrix(convention, size)
        assert matrix.shape == (299, size)
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-5)


def test_what_preprocess_refuses():
    with pytest.raises(ValueError, match="unknown convention 'pil': use one of torch, tf1, clean"):
        extracting.preprocess(pictures((1, 8, 8, 3)), 'pil')
    for x in (np.zeros((1, 8, 8, 3)), pictures((8, 8, 3)), pictures((1, 8, 8, 4))):
        with pytest.raises(ValueError, match='takes uint8 images'):
            extracting.preprocess(x, 'torch')
    with pytest.raises(ValueError, match='needs at least one image'):
        extracting.preprocess(pictures((0, 8, 8, 3)), 'torch')


# The extractor.


@pytest.fixture(scope='module')
def tensors():
    return reference.draw_all()


@pytest.fixture(scope='module')
def variables(tensors):
    return extracting.load_variables(tensors)


@pytest.fixture(scope='module')
def weights_path(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp('inception') / 'inception.npz'
    np.savez(path, **tensors)
    return path


@pytest.fixture
def counted(monkeypatch):
    """The shapes of images that are prepared, once for each tracing."""
    traced = []

    def prepare(images, convention, function=extracting.preprocess):
        traced.append(images.shape)
        return function(images, convention)

    monkeypatch.setattr(extracting, 'preprocess', prepare)
    return traced


def test_extractor(weights_path, variables, counted):
    found = extracting.extractor(weights_path, batch_size=1, num_devices=2)  # 2, on two devices
    assert (found.name, found.convention) == ('inception', 'torch')
    x = pictures((4, 12, 10, 3))
    features = found.apply(x)
    assert features.pooled.shape == (4, 2048)
    assert features.logits.shape == (4, 1008)
    ready = extracting.preprocess(x, 'torch')
    expected = jax.jit(inception.Inception().apply)(variables, ready)
    reference.same(np.asarray(features.pooled), expected.pooled, 1e-5)
    reference.same(np.asarray(features.logits), expected.logits, 1e-5)
    del counted[:]
    few = found.apply(x[3:])
    np.testing.assert_allclose(few.pooled, features.pooled[3:], rtol=1e-6)
    assert not counted
    for wrong in (x / 255, x[0], x[:0], x[..., :2]):
        with pytest.raises(ValueError, match='Inception network'):
            found.apply(wrong)
    assert not counted


@pytest.mark.slow
def test_every_size_is_traced_once(weights_path, counted):
    found = extracting.extractor(weights_path, batch_size=1, num_devices=2)
    for _ in range(2):
        assert found.apply(pictures((1, 8, 8, 1))).pooled.shape == (1, 2048)
        assert counted == [(1, 8, 8, 1)]


def test_fingerprints(weights_path, tensors, tmp_path):
    found = {
        extracting.extractor(weights_path, convention=convention, num_devices=1).fingerprint
        for convention in extracting.CONVENTIONS
    }
    assert len(found) == 3
    changed = {**tensors, 'fc.bias': tensors['fc.bias'] + 1}
    np.savez(tmp_path / 'changed.npz', **changed)
    other = extracting.extractor(tmp_path / 'changed.npz', convention='tf1', num_devices=1)
    assert other.fingerprint not in found


def test_what_the_extractor_refuses(weights_path, tmp_path):
    with pytest.raises(ValueError, match='unknown convention'):
        extracting.extractor(weights_path, convention='')
    for arguments in ({'batch_size': 0}, {'num_devices': 0}, {'num_devices': 5}):
        with pytest.raises(ValueError, match='1 to 4 devices, got'):
            extracting.extractor(weights_path, **arguments)
    with pytest.raises(FileNotFoundError, match='no file of weights'):
        extracting.extractor(tmp_path / 'none.pth')
    np.savez(tmp_path / 'other.npz', a=np.zeros(3))
    with pytest.raises(ValueError, match=r'cannot use .*other\.npz: these are.*1 unknown: .a.$'):
        extracting.extractor(tmp_path / 'other.npz')


# The download.

CONTENT = b'weights' * 400_000


@pytest.fixture
def published(tmp_path, monkeypatch):
    """The address of a file that is taken for the published one."""
    path = tmp_path / 'published'
    path.write_bytes(CONTENT)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    monkeypatch.setattr(extracting, 'SHA256_PREFIX', sha256[:8])
    return path.as_uri()


def no_network(*_, **__):
    raise urllib.error.URLError(OSError(-2, 'Name or service not known'))


def test_fetch_downloads_once(tmp_path, published, monkeypatch):
    path = extracting.fetch(tmp_path / 'cache', url=published)
    assert path == tmp_path / 'cache' / 'pt_inception-2015-12-05-6726825d.pth'
    assert path.read_bytes() == CONTENT
    monkeypatch.setattr(urllib.request, 'urlopen', no_network)
    assert extracting.fetch(tmp_path / 'cache') == path
    assert list(path.parent.iterdir()) == [path]


def test_fetch_replaces_what_was_cut_short(tmp_path, published):
    path = extracting.fetch(tmp_path, url=published)
    path.write_bytes(CONTENT[:1000])
    assert extracting.fetch(str(tmp_path), url=published).read_bytes() == CONTENT


def test_fetch_refuses_another_file(tmp_path, published):
    other = tmp_path / 'other'
    other.write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match='other is damaged or another one, and was removed'):
        extracting.fetch(tmp_path / 'cache', url=other.as_uri())
    assert not list((tmp_path / 'cache').iterdir())


def test_fetch_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setattr(urllib.request, 'urlopen', no_network)
    with pytest.raises(OSError, match=r'service not known.*where there is no network.*weights$'):
        extracting.fetch(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('error', [TimeoutError('timed out'), http.client.IncompleteRead(b'')])
def test_fetch_that_breaks_off(tmp_path, monkeypatch, error):
    class Response:
        parts = iter((b'some',))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def read(self, _):
            for part in self.parts:
                return part
            raise error

    monkeypatch.setattr(urllib.request, 'urlopen', lambda *_, **__: Response())
    with pytest.raises(ConnectionError, match=r'cannot download .* --inception_weights'):
        extracting.fetch(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_published_name_holds_its_checksum():
    assert extracting.URL.endswith(f'-{extracting.SHA256_PREFIX}.pth')
    assert extracting.SHA256_PREFIX == '6726825d'
