"""What a saved configuration brings to a run that goes on, and what may be asked for instead."""

import dataclasses

from osgan_jax.engine import adoption
from osgan_jax.gan.config import TrainConfig
from tests.support import small


def saved(**fields):
    return small.resolve(small.make_config(method='dcgan', scheme='two_stage', **fields))


def test_a_configuration_knows_what_it_was_given():
    assert TrainConfig().given == frozenset()
    assert TrainConfig(scheme='one_stage', beta1=None).given == {'scheme', 'beta1'}
    assert adoption.asked_for(TrainConfig(scheme='one_stage', beta1=None)) == {'scheme'}
    # Where nothing decides a field that may change, None is a value.
    assert adoption.asked_for(TrainConfig(max_seconds=None)) == {'max_seconds'}
    changed = TrainConfig(seed=3).replace(num_steps=5)
    assert (changed.given, changed.num_steps, changed.seed) == ({'seed', 'num_steps'}, 5, 3)


def test_nothing_asked_for_is_the_run_that_was_saved():
    before = saved(seed=3, save_every=7)
    assert adoption.adopt(TrainConfig(), before) == before
    longer = adoption.adopt(TrainConfig(num_steps=99, log_every=5), before)
    assert longer == dataclasses.replace(before, num_steps=99, log_every=5)
    assert adoption.changes(before, longer) == ['num_steps 4 -> 99', 'log_every 10 -> 5']


def test_only_what_was_asked_for_contradicts():
    before = saved(schedule='linear')
    assert adoption.adopt(TrainConfig(method='lsgan'), before) is None
    asked = TrainConfig(batch_size=4, num_steps=9)
    found = adoption.contradictions(before, asked, adoption.asked_for(asked))
    assert found == ['batch_size is 8 there and 4 now']


def test_fields_follow_the_one_that_they_took_their_value_from():
    before = saved(beta2_d=0.9)
    merged = adoption.merge(TrainConfig(beta1=0.1, beta2=0.5, optimizer='sgd'), before)
    assert (merged.beta1_g, merged.beta1_d, merged.optimizer_g) == (None, None, None)
    assert (merged.beta2_g, merged.beta2_d) == (None, 0.9)
    assert adoption.merge(TrainConfig(), before).beta1_d == before.beta1_d
