r"""Scores checkpoints of a training run against its dataset, and how smooth its generator is.

    python -m experiments.evaluate --workdir=runs/lsgan --metrics=fid,kid,is,pr

takes the newest checkpoint (--step chooses another, --all takes every one, --best the best one,
which training with --eval_every keeps), draws --num_samples images and prints a line of scores. It
adds them to evaluations.jsonl in the workdir and draws evaluations.png. With
--inception_weights=FILE (or fetch, which downloads them) the scores are FID, KID, inception score,
precision and recall, by --convention. Without it the features come from a small classifier that is
trained on the dataset once (half a minute for digits, three minutes for CIFAR-10 on two CPU cores),
and the names begin with classifier_: such scores compare runs on that dataset with each other, and
with nothing else. Scoring 10,000 images of 32 pixels takes seconds by the classifier, and a quarter
of an hour by the Inception network on CPU.

    python -m experiments.evaluate --workdir=runs/ffhq --metrics= --path_length=w_end,z_full \
        --lpips_weights=vgg16.pth,vgg.pth

measures the perceptual path lengths ppl_w_end and ppl_z_full alone, which needs neither dataset nor
classifier. Without `--metrics=` they are measured beside the scores. The small step is made in w
(StyleGAN2) or z, at the end of the path between two latents (end) or anywhere on it (full);
StyleGAN2's published numbers are w_end. With --path_length_crop only the middle of aligned faces is
compared, and names end in _crop. --lpips_weights are torchvision's VGG16 and the linear weights
'vgg' of LPIPS v0.1, as .npz, .safetensors or .pth, or one file of both. 50,000 pairs
(--path_length_pairs) are 100,000 images, all of which go through VGG16: work for a GPU, unless
images are small or pairs few.
"""

import dataclasses
import pathlib
import sys

from experiments import cli
from osgan_jax.engine.config import MAX_SEED, REQUIRED, Config, field
from osgan_jax.gan.config import TrainConfig

# As in training: what features come from.
_Features = cli.only(TrainConfig, ('inception_weights', 'convention'))


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(Config):
    """The checkpoints to score, and by what."""

    workdir: str = field(REQUIRED, 'directory of the training run')
    step: int | None = field(None, "the checkpoint's step; the newest good one by default")
    all: bool = field(False, 'score every checkpoint')
    best: bool = field(False, 'score the checkpoint in WORKDIR/best')
    again: bool = field(False, 'score anew what was scored before')
    seed: int = field(0, 'seed of the latents', at_least=0, at_most=MAX_SEED)
    metrics: tuple[str, ...] = field(
        ('fid', 'kid', 'is', 'pr'),
        'scores against the dataset; --metrics= for none',
        group='evaluation',
        names='osgan_jax.evaluation.metrics.registry:names',
    )
    num_samples: int = field(
        10_000, 'images drawn from the generator', group='evaluation', at_least=2
    )
    path_length: tuple[str, ...] = field(
        (),
        'perceptual path lengths to measure',
        group='evaluation',
        choices=('w_end', 'w_full', 'z_end', 'z_full'),
    )
    path_length_crop: bool = field(
        False, 'compare the middle of aligned faces alone', group='evaluation'
    )
    path_length_pairs: int = field(
        50_000, 'pairs of images for a path length', group='evaluation', at_least=1
    )
    lpips_weights: tuple[str, ...] = field(
        (), "files of VGG16's and LPIPS's weights, for path lengths", group='evaluation'
    )
    split: str | None = field(None, "part of the dataset; the run's by default", group='data')
    data_dir: str | None = field(
        None, "directory or file of the dataset; the run's by default", group='data'
    )
    cache_dir: str | None = field(
        None,
        "directory that keeps statistics of datasets; by default in the user's cache",
        group='data',
    )

    def __post_init__(self):
        super().__post_init__()
        if sum([self.all, self.best, self.step is not None]) > 1:
            raise ValueError('--step, --all and --best exclude each other')
        if not self.metrics and not self.path_length:
            raise ValueError('--metrics and --path_length are both empty: give what to score')


@cli.command(EvaluateConfig, _Features)
def main(asked: EvaluateConfig, features: Config) -> None:
    """Scores checkpoints."""
    from osgan_jax.compression.config import KINDS
    from osgan_jax.engine import checkpoints
    from osgan_jax.evaluation import score_log
    from osgan_jax.gan import sampling

    workdir = pathlib.Path(asked.workdir)
    source = workdir / 'best' if asked.best else workdir
    run = sampling.read(source, KINDS)
    steps = [asked.step]
    if asked.all:
        with checkpoints.Checkpoints(source, read_only=True) as saved:
            steps = saved.steps()
    # What is not there should not cost a classifier.
    sampler = sampling.Sampler(source, steps[0] if steps else None, KINDS)
    if not asked.all:
        steps = [sampler.step]
    paths = _path_lengths(asked, sampler.gan)
    scorers = [_scores(asked, features, sampler.gan, run.config)] if asked.metrics else []
    _say_cost(asked, steps, paths)
    for step in steps:
        if step != sampler.step:
            sampler = sampling.Sampler(source, step, KINDS)
        for evaluator in (*scorers, *paths):
            known = _known(score_log.read(workdir), step, evaluator)
            if known is not None and not asked.again:
                print(f'{_line(step, known)} (scored before; --again scores anew)', flush=True)
                continue
            values = evaluator(sampler.variables)
            entry = {'step': step, 'seconds': None, **values, **evaluator.about}
            if known is not None:
                entry['seconds'] = known['seconds']
            score_log.write(workdir, entry)
            print(_line(step, entry), flush=True)
    path = score_log.plot(workdir)
    print(f'Written: {workdir / score_log.FILE} and {path}')


def _scores(asked: EvaluateConfig, features: Config, gan, config):
    """The evaluator of samples against the dataset."""
    from osgan_jax.engine import messages
    from osgan_jax.evaluation import evaluators
    from osgan_jax.gan import trainer

    part = {'split': asked.split or config.split, 'data_dir': asked.data_dir or config.data_dir}
    config = dataclasses.replace(config, **part)
    dataset = messages.read_dataset(config.dataset, lambda: trainer.open_dataset(config))
    extractor = evaluators.extractor_for(
        dataset,
        **dataclasses.asdict(features),
        cache_dir=asked.cache_dir,
        progress=messages.Countdown('Training a classifier to score by, {} steps'),
    )
    if extractor.name != 'inception':
        print(
            f'Features of a classifier of {dataset.name} ({extractor.fingerprint[:8]}): compare '
            'only with numbers of the same one.'
        )
    return evaluators.Evaluator(
        gan,
        dataset,
        extractor,
        metrics=asked.metrics,
        num_samples=asked.num_samples,
        seed=asked.seed,
        cache_dir=asked.cache_dir,
        real_progress=messages.Countdown('Reading {} real images'),
        progress=messages.Countdown('Drawing and scoring {} images'),
    )


def _path_lengths(asked: EvaluateConfig, gan):
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
            progress=messages.Countdown(f'Measuring {which} path lengths of {{}} pairs'),
        )
        for which in dict.fromkeys(asked.path_length)
    ]


def _say_cost(asked: EvaluateConfig, steps, paths) -> None:
    """Prints how many images will be drawn for path lengths that are not known yet."""
    from osgan_jax.evaluation import score_log

    entries = score_log.read(asked.workdir)
    count = sum(
        asked.again or _known(entries, step, path) is None for step in steps for path in paths
    )
    if count:
        about, pairs = paths[0].about, asked.path_length_pairs
        print(
            f'Path lengths to measure: {count}, each of {pairs:,} pairs; '
            f'{2 * pairs * count:,} images are drawn, and compared by {about["distance"]} '
            f'({about["fingerprint"][:8]}).',
            flush=True,
        )


def _known(entries, step: int, evaluator):
    """The entry of the same evaluation that has all of its metrics."""
    for entry in entries:
        same = all(entry.get(key) == value for key, value in evaluator.about.items())
        if entry['step'] == step and same and all(name in entry for name in evaluator.names):
            return entry
    return None


def _line(step: int, entry) -> str:
    from osgan_jax.evaluation import score_log

    parts = []
    for name in score_log.metric_names(entry):
        spread = entry.get(f'{name}_std')
        parts.append(f'{name} {entry[name]:.4g}' + (f' ± {spread:.2g}' if spread else ''))
    return f'step {step:,}: ' + ', '.join(parts)


if __name__ == '__main__':
    sys.exit(main())
