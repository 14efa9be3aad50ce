"""Which published protocol a score is of."""

import pytest

from osgan_jax.evaluation import protocols

STUDIOGAN = {
    'extractor': 'inception',
    'convention': 'torch',
    'num_samples': 10_000,
    'dataset': 'cifar10',
    'split': 'test',
    'num_real': 10_000,
    'label_policy': None,
}
ADA = {
    **STUDIOGAN,
    'convention': 'tf1',
    'num_samples': 50_000,
    'split': 'train',
    'num_real': 50_000,
}
EDM2 = {**ADA, 'extractor': 'dinov2', 'convention': 'torch'}
NAMES = ('fid', 'kid', 'kid_std', 'is', 'is_std')


@pytest.mark.parametrize(
    ('about', 'sentence'),
    [
        (STUDIOGAN, "Protocol: fid as in StudioGAN's table of CIFAR-10"),
        ({**STUDIOGAN, 'label_policy': 'uniform'}, "Protocol: fid as in StudioGAN's"),
        (ADA, 'Protocol: fid and is as in StyleGAN2-ADA'),
        (
            {**ADA, 'dataset': 'ffhq', 'num_real': 70_000},
            'Protocol: fid and is as in StyleGAN2-ADA',
        ),
        ({**ADA, 'label_policy': 'uniform'}, 'it takes --label_policy=data.'),
        ({**STUDIOGAN, 'num_samples': 2_048}, 'it takes 10,000 samples.'),
        ({**STUDIOGAN, 'convention': 'clean'}, 'it takes --convention=torch.'),
        ({**STUDIOGAN, 'num_real': 5_000}, 'it takes all 10,000 images of that part.'),
        ({**ADA, 'split': 'all'}, 'it takes --split=train.'),
        ({**STUDIOGAN, 'extractor': 'classifier'}, 'Protocol: none that is published'),
        ({**EDM2, 'convention': 'pil'}, 'for that of EDM2 (50,000 samples against all training'),
        ({**EDM2, 'extractor': 'dinov2_vits14'}, 'the features are those of dinov2_vits14'),
    ],
)
def test_a_protocol_holds_only_as_published(about, sentence):
    text = protocols.describe(about, NAMES)
    assert sentence in text
    assert text.endswith('.')


def test_what_is_not_of_the_protocol_is_named():
    assert 'kid, is as nowhere published' in protocols.describe(STUDIOGAN, NAMES)
    assert protocols.describe(ADA, ('fid',)).endswith('as there.')
    text = protocols.describe(EDM2, ('fd_dinov2', 'kd_dinov2'))
    assert text.startswith('Protocol: fd_dinov2 as in EDM2')
    assert 'kd_dinov2 as nowhere published' in text
    # Of its scores none was asked for.
    text = protocols.describe(STUDIOGAN, ('precision', 'recall'))
    assert text.endswith('samples) it takes --metrics=fid.')
    assert 'it takes --metrics=fid.' in protocols.describe(EDM2, ('precision_dinov2',))


@pytest.mark.parametrize('name', ['precision', 'classifier_precision', 'precision_dinov2'])
def test_whose_neighbours_precision_has_is_said_of_every_extractor(name):
    first, second = protocols.sentences(STUDIOGAN, ('fid', name))
    assert first == protocols.describe(STUDIOGAN, ('fid', name))
    assert 'Precision and recall are of features of the inception' in second
    assert len(protocols.sentences(STUDIOGAN, ('fid',))) == 1
