"""Cards: what a run knows of itself, what it leaves to a person, and what it keeps to itself."""

import dataclasses
import json
import shutil

import pytest

from osgan_jax.evaluation import score_log
from osgan_jax.gan import exported, reading, trainer
from osgan_jax.gan.config import TrainConfig
from osgan_jax.pretrained import cards
from tests.support import launching, small


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp('carded')
    config = small.make_config(method='dcgan', num_steps=2, log_every=1, dataset='digits')
    trainer.train(config, path)
    entry = {'step': 2, 'seconds': None, 'fid': 3.5, 'num_samples': 9, 'seed': 0}
    entry['fingerprint'] = 'f'
    score_log.write(path, {**entry, 'per_class': {'0': {'fid': 1.0}}})
    score_log.write(path, {**entry, 'step': 1})
    return path


def export(workdir, out, *flags):
    done = launching.call(
        'export', f'--workdir={workdir}', '--format=npz', '--card', f'--out={out}', *flags
    )
    assert done.code == 0, done.err
    return done.out


def test_a_card_says_what_the_run_knows_and_asks_for_the_rest(workdir, tmp_path):
    said = export(workdir, tmp_path / 'e')
    missing = 'title, data.source, data.licence, licence, training.machine, limits'
    assert f'To fill in by hand in {tmp_path}/e/card.json: {missing}.' in said
    card = cards.read(tmp_path / 'e')
    assert (card['steps'], card['data']['name'], card['data']['images']) == (2, 'digits', 1500)
    times = (workdir / 'timing.jsonl').read_text().splitlines()
    assert card['training']['seconds'] == json.loads(times[-1])['seconds']
    assert card['parameters'].keys() == {'generator'}
    (entry,) = card['scores']
    assert (entry['fid'], entry['num_samples'], 'per_class' in entry) == (3.5, 9, False)
    # A person's words outlive a better run; the run's own facts are the new ones.
    card |= {'title': 'Digits', 'steps': 7, 'data': {**card['data'], 'licence': 'CC BY 4.0'}}
    (tmp_path / 'e' / 'card.json').write_text(json.dumps(card))
    said = export(workdir, tmp_path / 'e', '--overwrite', '--discriminator')
    again = cards.read(tmp_path / 'e')
    assert (again['title'], again['data']['licence'], again['steps']) == ('Digits', 'CC BY 4.0', 2)
    assert again['parameters'].keys() == {'generator', 'discriminator'}
    assert 'title' not in said
    # But not other data: their licence is another one.
    run = reading.read(workdir)
    for change in ({'images': 60_000}, {'name': 'mine'}):
        other = {**card, 'data': {**card['data'], **change}}
        assert cards.draft(workdir, run, 2, {}, other)['data']['licence'] is None
    assert cards.draft(workdir, run, 2, {}, card)['data']['licence'] == 'CC BY 4.0'


def test_a_command_is_the_shortest_that_gives_the_configuration(workdir):
    run = reading.read(workdir)
    words = cards.command(run).split()
    assert words[:3] == ['python', '-m', 'experiments.train']
    assert set(words[3:]) == {
        *('--method=dcgan', '--scheme=one_stage', '--dataset=digits', '--image_size=16'),
        *('--num_steps=2', '--batch_size=8', '--width=4', '--latent_dim=6'),
    }
    elsewhere = dataclasses.replace(run.config, split='test')
    assert '--split=test' in cards.command(dataclasses.replace(run, config=elsewhere))
    # Nothing that only a program could have given has a command.
    theirs = dataclasses.replace(run, source={**run.source, 'dataset': 'my digits'})
    assert cards.command(theirs) is None
    assert cards.command(dataclasses.replace(run, own={'values': {}})) is None


def test_folders_of_a_machine_stay_there(workdir, tmp_path):
    copy = tmp_path / 'copy'
    shutil.copytree(workdir, copy)
    body = json.loads((copy / 'config.json').read_text())
    body['config'] |= {'data_dir': '/home/me/digits.npz', 'init_from': 'pretrained:digits'}
    body['config'] |= {'loss': '/home/me/losses.py:mine'}
    body['origin'] = {'how': 'init_from', 'workdir': '/home/me/runs/first', 'step': 3}
    (copy / 'config.json').write_text(json.dumps(body))
    for flags, home in (((), True), (('--card',), False)):
        out = tmp_path / f'export{home}'
        done = launching.call('export', f'--workdir={copy}', '--format=npz', f'--out={out}', *flags)
        assert done.code == 0, done.err
        assert any('/home/me' in path.read_text() for path in out.glob('*.json')) == home
    run = exported.read_description(out, TrainConfig)[0]
    assert (run.config.data_dir, run.config.init_from) == ('digits.npz', 'pretrained:digits')
    assert run.origin['workdir'] == 'first'
    assert '"loss": "losses.py:mine"' in (out / 'export.json').read_text()


def test_damaged_cards_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='has no card: export again with --card'):
        cards.read(tmp_path)
    for text in ('', '[]', '{"format": "x"}', '{}'):
        (tmp_path / 'card.json').write_text(text)
        with pytest.raises(ValueError, match=r'card\.json cannot be used .*: restore it, or exp'):
            cards.read(tmp_path)
