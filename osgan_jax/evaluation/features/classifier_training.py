"""Training the classifier of a dataset."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from osgan_jax import data
from osgan_jax.core import classifier_inputs, image_sizes
from osgan_jax.data import dataset as datasets
from osgan_jax.data import identity
from osgan_jax.evaluation.features import classifier_network

_HELD_OUT = 10  # one image in ten
_MOST_HELD_OUT = 10_000
_LEAST_IMAGES = 20
_IMAGES_SEEN = 320_000  # by default, 7 epochs of CIFAR-10
_MOST_EPOCHS = 20
_LEARNING_RATE = 8e-3
_WEIGHT_DECAY = 0.02
_WAIT_EVERY = 16  # steps
_STREAM = 0x636C7366  # keeps this seed's random numbers apart from everyone else's


def train(
    dataset: datasets.Dataset,
    *,
    size: str = 'standard',
    seed: int = 0,
    epochs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> classifier_network.Classifier:
    """Trains a classifier on a dataset; a tenth of it (10,000 at most) is held out to measure it.

    AdamW, whose rate warms up and then falls along a cosine; images are shifted by up to an eighth
    of their size, and colour images mirrored at random. Oblong images are first made squares of
    their shorter side, stretched. The same seed gives the same weights on
    CPUs of one kind; GPUs add in an order of their own.

    Args:
      dataset: labelled images, at least 20.
      size: of the network, one of `classifier_network.SIZES`. The small one has half the channels
        and sees half as many images.
      seed: of the weights, the order, the shifts and which images are held out; not negative.
      epochs: passes over the data; by default as many as make 320,000 images (half of that for
        the small one), 1 to 20.
      progress: called with (steps done, steps in all) before the first and after every step.

    Raises:
      ValueError: images without labels, too few, or of a size that the network is not made for.
      FloatingPointError: training diverged.
    """
    check(dataset)
    side = image_sizes.short(dataset.image_size)
    classifier_network.architecture(side, size)  # refuses an unknown size
    if seed < 0:
        raise ValueError(f'seed: expected at least 0, got {seed}')
    if epochs is not None and epochs < 1:
        raise ValueError(f'epochs: expected at least 1, got {epochs}')
    # Grey images may be characters, whose mirror images belong to no class.
    flip = dataset.channels == 3
    order = np.random.default_rng([_STREAM, seed]).permutation(len(dataset))
    held_out, kept = np.split(order, [min(_MOST_HELD_OUT, max(1, len(order) // _HELD_OUT))])
    if epochs is None:
        seen = _IMAGES_SEEN // classifier_network.SIZES[size]
        epochs = min(_MOST_EPOCHS, max(1, seen // len(kept)))
    # At least some twenty steps an epoch, in multiples that suit the processor.
    batch_size = max(8, min(128, len(kept) // 20 // 8 * 8))
    num_steps = epochs * (len(kept) // batch_size)

    network = classifier_network.Network(side, dataset.num_classes, size)
    key = jax.random.key(seed)
    create, update = _programs(network, num_steps, flip, _LEARNING_RATE)
    # Where batches are put. Otherwise the first step's results lie elsewhere than its arguments, as
    # jax sees it, and the step is compiled a second time.
    place = jax.local_devices()[0]
    key, params, batch_stats, opt_state = jax.device_put(
        (key, *create(key, dataset.channels)), place
    )

    # Images are mirrored here alone, so that it cannot happen twice.
    rows = _MemoryRows if isinstance(dataset.source, datasets.MemorySource) else _Rows
    subset = dataclasses.replace(dataset, source=rows(dataset.source, kept), flip=False)
    batches = data.batches(subset, batch_size, seed=seed, num_epochs=epochs)
    if progress is not None:
        progress(0, num_steps)
    with data.prefetch(batches, 2, lambda batch: data.to_float(jax.device_put(batch))) as ahead:
        for step, batch in enumerate(ahead):
            params, batch_stats, opt_state = update(
                params, batch_stats, opt_state, key, step, batch
            )
            if step % _WAIT_EVERY == 0:
                # Each batch that is dispatched and not computed holds memory.
                jax.block_until_ready(params)
            if progress is not None:
                progress(step + 1, num_steps)

    variables = jax.device_get({'params': params, 'batch_stats': batch_stats})
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables)):
        raise FloatingPointError(
            f'the classifier of {dataset.name} diverged: its weights are not finite after '
            f'{num_steps} steps; try another seed'
        )
    trained = classifier_network.Classifier(
        side,
        dataset.channels,
        dataset.num_classes,
        math.nan,
        variables,
        {**identity.identify(dataset), 'seed': seed, 'epochs': epochs, 'flip': flip},
        size,
    )
    return dataclasses.replace(trained, accuracy=accuracy(trained, dataset, held_out))


@functools.lru_cache(maxsize=4)
def _programs(
    network: classifier_network.Network, num_steps: int, flip: bool, rate: float
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What makes a fresh state and what makes a step; the same for the same, so compiled once."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, rate, max(1, num_steps // 5), max(2, num_steps)
    )
    optimizer = optax.adamw(schedule, weight_decay=_WEIGHT_DECAY)

    @functools.partial(jax.jit, static_argnums=1)
    def create(key, channels):
        shape = (1, network.image_size, network.image_size, channels)
        variables = network.init(key, jnp.zeros(shape), train=False)
        return variables['params'], variables['batch_stats'], optimizer.init(variables['params'])

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def update(params, batch_stats, opt_state, key, step, batch):
        images = classifier_inputs.shift_and_flip(
            jax.random.fold_in(key, step),
            classifier_network.resize(batch['image'], network.image_size),
            reach=network.image_size // 8,
            flip=flip,
            edge=True,
        )

        def loss(params):
            features, mutated = network.apply(
                {'params': params, 'batch_stats': batch_stats},
                images,
                train=True,
                mutable=['batch_stats'],
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(
                features.logits, batch['label']
            )
            return losses.mean(), mutated['batch_stats']

        grads, batch_stats = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), batch_stats, opt_state

    return create, update


def check(dataset: datasets.Dataset) -> None:
    """Raises a ValueError if no classifier can be trained on a dataset."""
    where = f'{dataset.name} ({dataset.split})'
    if dataset.num_classes < 2:
        raise ValueError(
            f'{where} has no labels to train a classifier on; measure with the Inception network '
            'instead, with --inception_weights'
        )
    least, greatest = classifier_network.IMAGE_SIZES
    if not least <= image_sizes.short(dataset.image_size) <= greatest:
        raise ValueError(
            f'{where} has images of {dataset.image_size} pixels and the classifier is made for '
            f'{least} to {greatest}; choose such an --image_size, or measure with the Inception '
            'network, with --inception_weights'
        )
    if len(dataset) < _LEAST_IMAGES:
        raise ValueError(
            f'{where} has {len(dataset)} images, too few to train a classifier: it takes at '
            f'least {_LEAST_IMAGES}'
        )


def accuracy(
    classifier: classifier_network.Classifier, dataset: datasets.Dataset, rows: Sequence[int]
) -> float:
    """The accuracy of a classifier on the images at these positions."""
    extract = classifier_network.extractor(classifier, num_devices=1).apply
    right = 0
    for start in range(0, len(rows), 256):
        examples = [dataset[int(row)] for row in rows[start : start + 256]]
        logits = np.asarray(extract(np.stack([example['image'] for example in examples])).logits)
        right += int(np.sum(logits.argmax(1) == [example['label'] for example in examples]))
    return right / len(rows)


class _Rows:
    """Some images of a source."""

    def __init__(self, source: datasets.Source, rows: np.ndarray):
        self._source = source
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self._source[int(self._rows[index])]

    def labels(self) -> np.ndarray:
        """The labels of all images, `[M]` int32."""
        return datasets.labels_of(self._source)[self._rows]


class _MemoryRows(_Rows, datasets.MemorySource):
    """Some images of a source in memory, decoded once."""

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `MemorySource`."""
        return self._source.gather(self._rows[indices])
