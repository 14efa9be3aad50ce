"""R3GAN (Huang et al. 2024, https://arxiv.org/abs/2501.05441), by dataset and size.

Published runs follow cosines over 20 M images (ImageNet 200 M), then constants: rate 2e-4 to 5e-5,
beta2 0.9 to 0.99, gamma to a tenth, and the average's half-life and the probability of ADA's
augmentations from 0. Colours are augmented half as often as the rest.
"""

from typing import NamedTuple

from osgan_jax.core import image_sizes
from osgan_jax.gan.recipes.recipe import Recipe, Setting

_AUGMENT_GROUPS = ('blit', 'geom', 'color:0.5', 'cutout')
_MILLION = 1_000_000


class Published(NamedTuple):
    """One of the authors' configurations.

    Attributes:
      gamma: R1's and R2's at the start.
      batch_size: images a step.
      half_life: the average's at the end of its schedule, images.
      schedule: length of the schedules, images.
      augment: probability of augmentation at their end.
      fields: of its own.
    """

    gamma: float
    batch_size: int
    half_life: float
    schedule: int
    augment: float
    fields: tuple[tuple[str, object], ...] = ()


_IMAGENET = (('conditional', True), ('width', 1536), ('group_channels', 32), ('full_width', 64))

PUBLISHED: dict[tuple[str, int], Published] = {
    ('cifar10', 32): Published(
        0.05, 512, 5 * _MILLION, 20 * _MILLION, 0.55, (('conditional', True),)
    ),
    ('ffhq', 64): Published(2.0, 256, 0.5 * _MILLION, 20 * _MILLION, 0.3),
    ('ffhq', 256): Published(150.0, 256, 0.5 * _MILLION, 20 * _MILLION, 0.3),
    ('tfds:imagenet_resized/32x32', 32): Published(
        0.5, 4096, 50 * _MILLION, 200 * _MILLION, 0.5, _IMAGENET
    ),
    ('tfds:imagenet_resized/64x64', 64): Published(
        1.0, 4096, 50 * _MILLION, 200 * _MILLION, 0.4, _IMAGENET
    ),
}
"""The authors' configurations, by dataset and size."""

# Of the published gammas, by size: CIFAR-10's and FFHQ's, and one between those of 64 and 256.
_GAMMAS = {128: 17.0, 256: 150.0, 64: 2.0}
_BATCH = 64


def recipe(setting: Setting) -> Recipe:
    """The recipe of a dataset at a size."""
    found = PUBLISHED.get((setting.dataset, setting.image_size))
    if found is None:
        return Recipe(
            {
                **_fields(_GAMMAS.get(image_sizes.short(setting.image_size), 0.05)),
                'batch_size': _BATCH,
                'ema_ramp': 0.05,
            },
            origin='rate, betas, gamma and their cosines are those of Huang et al. 2024 on '
            'CIFAR-10 and FFHQ, over this run instead of 20 M images',
            half_life=0.5 * _MILLION,
        )
    return Recipe(
        {
            **_fields(found.gamma),
            'network': 'r3gan',
            'flip': True,
            'batch_size': found.batch_size,
            'augment': ('ada',),
            'augment_groups': _AUGMENT_GROUPS,
            'augment_probability': 0.0,
            'augment_probability_final': found.augment,
            **dict(found.fields),
        },
        source=f'Huang et al. 2024, for {setting.dataset} at {setting.image_size} pixels',
        half_life=found.half_life,
        rising=True,
        schedule_images=found.schedule,
    )


def _fields(gamma: float) -> dict[str, object]:
    return {
        'optimizer': 'adam',
        'learning_rate_g': 2e-4,
        'learning_rate_d': 2e-4,
        'beta1': 0.0,
        'beta2': 0.9,
        'r1': gamma,
        'r2': gamma,
        'schedule': 'cosine',
        'learning_rate_g_final': 5e-5,
        'learning_rate_d_final': 5e-5,
        'beta2_final': 0.99,
        'r1_final': gamma / 10,
        'r2_final': gamma / 10,
    }
