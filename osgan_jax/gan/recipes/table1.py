"""The ten rows of the paper's Table 1.

The paper's authors (https://github.com/zju-vipa/OSGAN) published twelve configurations: DCGAN
(asym), DCGAN (sym) and WGAN, in one stage and in two, on CelebA and on MNIST; shared_forward's
updates are one_stage's, and so are its rates. Everything else in this file is this project's choice
and is called so: other datasets have a method's CelebA rates, other methods those of DCGAN (asym),
all of them constant, with GroupNorm in D (SNGAN's is spectral). What updates both networks at once
has optimistic Adam there, which did better than Adam in `benchmarks/results/digits_study` and
`cifar10_study`, with rates tuned alike.

WGAN's discriminator is a class of its own in the authors' code; here it has GroupNorm.
"""

from typing import NamedTuple

from osgan_jax.gan.recipes.recipe import Choose, Recipe, Setting

EPOCHS = {'celeb_a': 30, 'mnist': 20}
_IMAGE_SIZE = 64  # of the paper's images, MNIST's among them
_DECAY_EPOCHS = (10, 15)
_CLIP = 0.01


class Published(NamedTuple):
    """One of the authors' configurations.

    Attributes:
      generator: G's learning rate.
      discriminator: D's learning rate.
      norm: D's normalisation.
      latent_dim: dimensions of z.
      decay: factor of both rates after epochs 10 and 15; 1 for constant rates.
    """

    generator: float
    discriminator: float
    norm: str
    latent_dim: int = 100
    decay: float = 1.0


PUBLISHED: dict[tuple[str, str, str], Published] = {
    ('dcgan', 'one_stage', 'celeb_a'): Published(2e-4, 1e-4, 'group', 128),
    ('dcgan', 'two_stage', 'celeb_a'): Published(2e-4, 4e-5, 'group', 100, 0.5),
    ('dcgan_sym', 'one_stage', 'celeb_a'): Published(2e-4, 4e-5, 'batch', 100, 0.1),
    ('dcgan_sym', 'two_stage', 'celeb_a'): Published(2e-4, 2e-5, 'batch'),
    ('wgan', 'one_stage', 'celeb_a'): Published(1e-4, 1.35e-5, 'group', 100, 0.1),
    ('wgan', 'two_stage', 'celeb_a'): Published(2e-4, 2e-4, 'group', 100, 0.1),
    ('dcgan', 'one_stage', 'mnist'): Published(2e-4, 5e-5, 'group'),
    ('dcgan', 'two_stage', 'mnist'): Published(2e-4, 2e-4, 'batch'),
    ('dcgan_sym', 'one_stage', 'mnist'): Published(2e-4, 1.35e-5, 'batch'),
    ('dcgan_sym', 'two_stage', 'mnist'): Published(2e-4, 2e-4, 'batch'),
    ('wgan', 'one_stage', 'mnist'): Published(2e-4, 1.35e-5, 'group'),
    ('wgan', 'two_stage', 'mnist'): Published(2e-4, 2e-4, 'group'),
}
"""The authors' configurations, by method, scheme and dataset."""

_NEAREST = 'dcgan', 'celeb_a'  # whose rates the others have


def recipe(method: str) -> Choose:
    """The recipe of a row, as a function of its setting."""

    def choose(setting: Setting) -> Recipe:
        clip = {'weight_clip': _CLIP} if method == 'wgan' else {}
        if clip and setting.optimizer == 'rmsprop':
            return _WGANS_OWN
        scheme = 'two_stage' if setting.scheme == 'two_stage' else 'one_stage'
        on_mnist = {'image_size': _IMAGE_SIZE} if setting.dataset == 'mnist' else {}
        epochs = EPOCHS.get(setting.dataset, 0)
        found = PUBLISHED.get((method, scheme, setting.dataset))
        if found is None:
            near = (method, scheme, _NEAREST[1])
            near = near if near in PUBLISHED else (_NEAREST[0], scheme, _NEAREST[1])
            rates = PUBLISHED[near]
            optimizer = 'adam' if scheme == 'two_stage' else 'optimistic_adam'
            return Recipe(
                {**_rates(rates), **clip, **on_mnist, 'optimizer': optimizer},
                origin=f'they are those of {near[0]} in {near[1]} on {near[2]}'
                + (', whose decay is not taken' if rates.decay != 1 else ''),
                epochs=epochs,
            )
        schedule = {}
        if found.decay != 1:
            schedule = {'decay_epochs': _DECAY_EPOCHS, 'decay_factor': found.decay}
        return Recipe(
            {
                'network': 'dcgan',
                'optimizer': 'adam',
                'image_size': _IMAGE_SIZE,
                'batch_size': 128,
                'beta1': 0.5,
                'beta2': 0.999,
                'discriminator_norm': found.norm,
                'latent_dim': found.latent_dim,
                **_rates(found),
                **schedule,
                **clip,
            },
            source=f"the paper's authors, for {method} in {scheme} on {setting.dataset}",
            epochs=epochs,
            lacks=(f'their own discriminator of {method}',) if method == 'wgan' else (),
        )

    return choose


def usual_rates(scheme: str) -> dict[str, float]:
    """Rates of a method that has none of its own: DCGAN's (asym), on CelebA."""
    scheme = 'two_stage' if scheme == 'two_stage' else 'one_stage'
    return _rates(PUBLISHED[_NEAREST[0], scheme, _NEAREST[1]])


def _rates(published: Published) -> dict[str, float]:
    return {
        'learning_rate_g': published.generator,
        'learning_rate_d': published.discriminator,
    }


_WGANS_OWN = Recipe(
    {
        'optimizer': 'rmsprop',
        'batch_size': 64,
        'learning_rate_g': 5e-5,
        'learning_rate_d': 5e-5,
        'weight_clip': _CLIP,
        'd_steps': 5,
    },
    source='Arjovsky et al. 2017, Algorithm 1',
)
