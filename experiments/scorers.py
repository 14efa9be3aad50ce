"""What experiments.evaluate scores a run by: the evaluators that its flags ask for."""

from osgan_jax.engine.config import Config
from osgan_jax.gan.config import TrainConfig

FEATURES = ('inception_weights', 'dinov2_weights', 'convention', 'classifier')
"""Fields that say what features come from."""


def sources(features: Config) -> dict[str, str | None]:
    """What features come from, by the names of `evaluators.extractor_for`."""
    return {name: getattr(features, name) for name in FEATURES}


def of_images(asked: Config, features: Config, gan, dataset, trained: TrainConfig):
    """The evaluators that compare samples with real images, in the order they are run.

    Args:
      asked: what to score, and by what.
      features: what features come from, and the label policy.
      gan: whose generator's shapes and labels count.
      dataset: the real images; None where nothing compares with any.
      trained: the run's configuration.
    """
    found, extractor = [], None
    if asked.metrics:
        extractor = _extractor(asked, sources(features), dataset, trained)
        found.append(_scores(asked, features, extractor, gan, dataset))
    if asked.nearest:
        found.append(_nearest(asked, features.label_policy, extractor, gan, dataset))
    if asked.classification_accuracy:
        found.append(_classification_accuracy(asked, features, gan, dataset))
    return found


def _classification_accuracy(asked: Config, features: Config, gan, dataset):
    """The training of a classifier on samples."""
    from osgan_jax.engine import messages
    from osgan_jax.evaluation import classification_accuracy

    return classification_accuracy.ClassificationAccuracy(
        gan,
        dataset,
        num_samples=asked.num_samples,
        size=features.classifier,
        seed=asked.seed,
        label_policy=features.label_policy,
        progress=messages.Countdown('Training a classifier on samples, {} steps'),
    )


def _extractor(asked: Config, sources, dataset, trained: TrainConfig):
    """What makes features of images.

    A classifier learns the part of the dataset that the run was trained on, whichever part is
    compared with, so that scores of two parts are by the same features.
    """
    from osgan_jax.engine import messages
    from osgan_jax.evaluation import evaluators
    from osgan_jax.gan import trainer

    weights = any(value is not None for name, value in sources.items() if name.endswith('_weights'))
    another_part = dataset.name == trained.dataset and dataset.split != trained.split
    if another_part and not (weights or asked.dataset or asked.data_dir):
        dataset = trainer.open_dataset(trained)
    extractor = evaluators.extractor_for(
        dataset,
        **sources,
        cache_dir=asked.cache_dir,
        progress=messages.Countdown('Training a classifier to score by, {} steps'),
    )
    if extractor.name.endswith('classifier'):
        print(
            f'Features of a classifier of {dataset.name} ({dataset.split}; '
            f'{extractor.fingerprint[:8]}): compare only with numbers of the same one.'
        )
    return extractor


def _nearest(asked: Config, policy: str, extractor, gan, dataset):
    """The search for copies of training images, by the features of the scores or by pixels."""
    from osgan_jax.engine import messages
    from osgan_jax.evaluation import memorisation

    extractor = extractor or memorisation.pixels()
    print(
        f'Copies: samples as near to one image of {dataset.name} ({dataset.split}), beside the '
        f'next, as {memorisation.QUANTILE:.0%} of these are to each other; by '
        f'{extractor.describe()}.'
    )
    return memorisation.NearestTraining(
        gan,
        dataset,
        extractor,
        num_samples=asked.nearest,
        seed=asked.seed,
        label_policy=policy,
        sheet=asked.folder / memorisation.SHEET,
        progress=messages.Countdown('Looking for copies of {} training images'),
        warn=messages.warn,
    )


def _scores(asked: Config, features: Config, extractor, gan, dataset):
    """The evaluator of samples against the dataset."""
    from osgan_jax.engine import messages
    from osgan_jax.evaluation import evaluators, protocols

    evaluator = evaluators.Evaluator(
        gan,
        dataset,
        extractor,
        metrics=asked.metrics,
        num_samples=asked.num_samples,
        seed=asked.seed,
        label_policy=features.label_policy,
        by_class=asked.per_class,
        cache_dir=asked.cache_dir,
        real_progress=messages.Countdown('Reading {} real images'),
        progress=messages.Countdown('Drawing and scoring {} images'),
        class_progress=messages.Countdown('Scoring {} classes'),
        **_metric_progress(extractor.name),
    )
    for sentence in protocols.sentences(evaluator.about, evaluator.names):
        print(sentence)
    if evaluator.left_out:
        print(evaluator.left_out)
    if evaluator.few:
        messages.warn(f'{evaluator.few}.')
    return evaluator


def _metric_progress(extractor: str) -> dict:
    """Countdowns of metrics of many features; those of a classifier's take no time."""
    from osgan_jax.engine import messages

    if extractor.endswith('classifier'):
        return {}
    return {
        'half_progress': messages.Countdown('Scoring two halves of the real images by {} metrics'),
        'metric_progress': messages.Countdown('Computing {} metrics'),
    }


def path_lengths(asked: Config, gan, label_policy: str, dataset):
    """The evaluators of path lengths."""
    from osgan_jax.engine import messages
    from osgan_jax.evaluation import path_lengths

    if not asked.path_length:
        return []
    distance = path_lengths.distance_for(asked.lpips_weights)
    return [
        path_lengths.PathLength(
            gan,
            distance,
            which,
            crop=asked.path_length_crop,
            num_pairs=asked.path_length_pairs,
            seed=asked.seed,
            label_policy=label_policy,
            dataset=dataset,
            progress=messages.Countdown(f'Measuring {which} path lengths of {{}} pairs'),
        )
        for which in dict.fromkeys(asked.path_length)
    ]
