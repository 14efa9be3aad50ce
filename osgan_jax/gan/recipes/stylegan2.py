"""StyleGAN2 (Karras et al. 2020, https://arxiv.org/abs/1912.04958), by dataset and size.

FFHQ at 1024 pixels and LSUN church at 256 are its authors' configuration F; CIFAR-10 is the
configuration `cifar` of ADA (Karras et al. 2020b, https://arxiv.org/abs/2006.06676), with its
augmentation. Elsewhere gamma, rate and average follow the rules that ADA's code has for new
datasets, without augmentation.
"""

import math

from osgan_jax.core import image_sizes
from osgan_jax.gan.recipes.recipe import Recipe, Setting

_BATCH = 32
_KIMG = 1000
_RAMP = 0.05

_SHARED = {
    'network': 'stylegan2',
    'optimizer': 'adam',
    'batch_size': _BATCH,
    'beta1': 0.0,
    'beta2': 0.99,
    'penalty_every': 16,
    'path_length': 2.0,
    'path_length_every': 4,
}


def recipe(setting: Setting) -> Recipe:
    """The recipe of a dataset at a size."""
    # FFHQ's faces are mirrored at every size.
    mirrored = {'flip': setting.dataset == 'ffhq'}
    if (setting.dataset, setting.image_size) == ('ffhq', 1024):
        return Recipe(
            {**_SHARED, **mirrored, **_rates(0.002), 'r1': 10.0},
            source='Karras et al. 2020, configuration F, for FFHQ at 1024 pixels',
            images=25_000 * _KIMG,
            half_life=10 * _KIMG,
        )
    if (setting.dataset, setting.image_size) == ('lsun_church', 256):
        return Recipe(
            {**_SHARED, **mirrored, **_rates(0.002), 'r1': 100.0},
            source='Karras et al. 2020, configuration F, for LSUN church at 256 pixels',
            images=88_000 * _KIMG,
            half_life=10 * _KIMG,
        )
    if (setting.dataset, setting.image_size) == ('cifar10', 32):
        return Recipe(
            {
                **_SHARED,
                **mirrored,
                **_rates(0.0025),
                'batch_size': 64,
                'r1': 0.01,
                'path_length': 0.0,
                'style_mixing': 0.0,
                'mapping_layers': 2,
                'discriminator_skips': False,
                'minibatch_deviation': 32,
                'ema_ramp': _RAMP,
                'augment': ('ada',),
            },
            source='Karras et al. 2020b (ADA), configuration cifar, for CIFAR-10',
            images=100_000 * _KIMG,
            half_life=500 * _KIMG,
        )
    batch = setting.batch_size or _BATCH
    return Recipe(
        {
            **_SHARED,
            **mirrored,
            **_rates(0.002 if image_sizes.short(setting.image_size) >= 1024 else 0.0025),
            'r1': 0.0002 * math.prod(image_sizes.sides(setting.image_size)) / batch,
            'ema_ramp': _RAMP,
        },
        origin="gamma, rates and average follow the rules of ADA's authors for new datasets",
        half_life=batch * 10 / 32 * _KIMG,
    )


def _rates(rate: float) -> dict[str, float]:
    return {'learning_rate_g': rate, 'learning_rate_d': rate}
