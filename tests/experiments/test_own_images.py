"""A folder of one's own from start to samples: what is said, classes by name, and older runs."""

import json

import numpy as np
import pytest
from PIL import Image

from osgan_jax.data import images
from osgan_jax.engine.config import READING
from osgan_jax.gan import trainer
from osgan_jax.gan.config import TrainConfig
from tests.support import launching

FIELDS = {
    'dataset': 'folder', 'image_size': 16, 'width': 2, 'latent_dim': 4, 'batch_size': 4,
    'conditional': True, 'num_samples': 3, 'num_devices': 1, 'collapse_alarm': False,
}  # fmt: skip


def flags(root, workdir, **fields):
    given = {**FIELDS, 'data_dir': root, 'workdir': workdir, **fields}
    texts = {name: str(v).lower() if type(v) is bool else v for name, v in given.items()}
    return [f'--{name}={text}' for name, text in texts.items()]


@pytest.fixture
def root(tmp_path):
    for place, name in enumerate(('2', '10', 'dog')):  # darker and lighter classes
        (tmp_path / 'in' / name).mkdir(parents=True)
        for index in range(2):
            array = np.random.default_rng(index).integers(0, 86, (16, 20, 1), np.uint8)
            array += np.uint8(85 * place)
            (tmp_path / 'in' / name / f'{index}.png').write_bytes(images.to_png(array))
    (tmp_path / 'in' / 'dog' / 'cut.png').write_bytes(b'x')
    return tmp_path / 'in'


@pytest.mark.slow
def test_what_is_said_and_classes_by_name(root, tmp_path):
    workdir = tmp_path / 'run'
    # Steps and a rate at which 8 bits show what a label does.
    seen = {'num_steps': 40, 'learning_rate_g': 0.02, 'ema_decay': 0}
    done = launching.call('train', *flags(root, workdir, **seen))
    assert done.code == 0, done.err
    said = ' '.join(done.out.split())
    for part in (
        'classes 3: 0 2, 1 10, 2 dog',
        'labels by folder, in natural order',
        'conditional yes',
        'channels 1: no image shows a colour; --channels=3 repeats them in three',
        'fit crop: of 6 of 6 images (10/0.png) only the centre is kept; 20% of all pixels go',
        'files skipped 1 of 7: dog/cut.png (not an image',
    ):
        assert part in said
    drawn = []
    for label in ('dog', '2'):
        out = tmp_path / label
        given = (f'--workdir={workdir}', '--grid=2', f'--label={label}', f'--out={out}')
        assert launching.call('sample', *given).code == 0
        with Image.open(out / 'grid.png') as grid:
            drawn.append(np.asarray(grid))
    assert np.any(drawn[0] != drawn[1])
    wrong = launching.call('sample', f'--workdir={workdir}', '--label=cow')
    assert 'label=cow: expected 0 to 2, or a name: 2, 10, dog' in wrong.err
    (root / 'dog').rename(root / 'wolf')
    other = launching.call('train', *flags(root, workdir, **{**seen, 'num_steps': 41}))
    assert other.code == 1
    assert 'its classes are others: 3 there and 3 now, without dog and with wolf' in other.err


@pytest.mark.slow
def test_a_run_that_began_under_the_old_order_goes_on_under_it(root, tmp_path):
    workdir = tmp_path / 'run'
    config = TrainConfig(**FIELDS, data_dir=str(root), num_steps=1, layout='top_folders')
    trainer.train(config, workdir)
    path = workdir / 'config.json'
    body = json.loads(path.read_text())
    assert body['dataset']['class_names'] == ['10', '2', 'dog']
    for name in READING:
        del body['config'][name]
    path.write_text(json.dumps(body))
    done = launching.call('train', *flags(root, workdir, num_steps=2))
    assert done.code == 0, done.err
    assert 'resumed from step 1' in ' '.join(done.out.split())
    assert json.loads(path.read_text())['dataset']['class_names'] == ['10', '2', 'dog']
    assert json.loads(path.read_text())['config']['layout'] == 'top_folders'
