"""Published protocols, and which of them a score is of.

Scores compare only with the same features, the same preparation of images, the same real images and
as many samples. Few settings have many published numbers; everything else compares with itself.
"""

import dataclasses
from typing import Any

from osgan_jax.evaluation.metrics import registry


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A setting in which scores were published.

    Attributes:
      title: whose, in words.
      scores: names of the scores that are computed here as there.
      convention: how images are prepared for the network.
      num_samples: generated images.
      split: part of the dataset that is compared with, all of it.
      datasets: those it is defined for, with the number of real images; empty for any.
      label_policies: of conditional generators.
      extractor: whose features they are of.
    """

    title: str
    scores: tuple[str, ...]
    convention: str
    num_samples: int
    split: str
    label_policies: tuple[str, ...]
    datasets: dict[str, int] = dataclasses.field(default_factory=dict)
    extractor: str = 'inception'

    def obstacles(self, about: dict[str, Any]) -> list[str]:
        """What keeps scores with these facts from being of this protocol, see `describe`."""
        found = []
        if about['extractor'] != self.extractor:
            found.append(f'features of {self.extractor} (--{self.extractor}_weights)')
        elif about['convention'] != self.convention:
            found.append(f'--convention={self.convention}')
        if about['split'] != self.split:
            known = about['split'] is not None
            found.append(f'--split={self.split}' if known else f'real images of {self.split}')
        expected = self.datasets.get(about['dataset'])
        if self.datasets and expected is None:
            found.append(f'the dataset {" or ".join(self.datasets)}')
        elif expected is not None and about['num_real'] != expected:
            found.append(f'all {expected:,} images of that part')
        if about['num_samples'] != self.num_samples:
            found.append(f'{self.num_samples:,} samples')
        if about['label_policy'] not in (None, *self.label_policies):
            found.append(f'--label_policy={self.label_policies[0]}')
        return found


# Where every class is as frequent, both policies are the same. CIFAR-10's splits are so.
PROTOCOLS = (
    Protocol(
        # Kang et al. 2022, https://arxiv.org/abs/2206.09479, and the tables of its repository.
        title="StudioGAN's table of CIFAR-10 (10,000 test images against 10,000 samples)",
        scores=('fid',),
        convention='torch',
        num_samples=10_000,
        split='test',
        label_policies=('uniform', 'data'),
        datasets={'cifar10': 10_000},
    ),
    Protocol(
        # Karras et al. 2020, https://arxiv.org/abs/2006.06676: fid50k_full, is50k.
        title='StyleGAN2-ADA (50,000 samples against all training images)',
        scores=('fid', 'is'),
        convention='tf1',
        num_samples=50_000,
        split='train',
        label_policies=('data',),
    ),
    Protocol(
        # Karras et al. 2024, https://arxiv.org/abs/2312.02696.
        title='EDM2 (50,000 samples against all training images)',
        scores=('fd_dinov2',),
        convention='torch',
        num_samples=50_000,
        split='train',
        label_policies=('uniform', 'data'),
        extractor='dinov2',
    ),
)


def describe(about: dict[str, Any], names: tuple[str, ...]) -> str:
    """A sentence: which published protocol scores are of, or that they are of none, and why.

    Args:
      about: facts of an evaluation: `Evaluator.about`, or what `comparison.compare` gives.
      names: of its scores.
    """
    for protocol in PROTOCOLS:
        if protocol.obstacles(about):
            continue
        same = [name for name in protocol.scores if name in names]
        if not same:
            continue
        others = [n for n in names if n not in same and not n.endswith('_std')]
        text = (
            f'Protocol: {" and ".join(same)} as in {protocol.title}, given the published '
            'weights and a checkpoint that was chosen as there'
        )
        return text + (f'; {", ".join(others)} as nowhere published.' if others else '.')
    candidates = [p for p in PROTOCOLS if p.extractor == about['extractor']]
    if not candidates:
        why = 'the features are those of this dataset alone'
        if about['extractor'] not in ('classifier', 'small_classifier'):
            why = f'the features are those of {about["extractor"]}'
        return f'Protocol: none that is published, for {why}; compare with the same features only.'
    nearest = min(candidates, key=lambda protocol: len(protocol.obstacles(about)))
    missing = nearest.obstacles(about)
    if not set(nearest.scores) & set(names):
        missing.append('--metrics=' + ','.join(registry.of_score(s).name for s in nearest.scores))
    return (
        f'Protocol: none that is published; for that of {nearest.title} it takes '
        f'{", ".join(missing)}.'
    )


def sentences(about: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    """What scores compare with: `describe`, and whose features precision and recall are of.

    Args: as `describe`.
    """
    found = [describe(about, names)]
    if any('precision' in name for name in names):
        found.append(
            f'Precision and recall are of features of the {about["extractor"]}; published ones of '
            'StyleGAN are of VGG16.'
        )
    return found
