"""Scores checkpoints of a training run against its dataset, and how smooth its generator is.

    python -m experiments.evaluate --workdir=runs/lsgan --metrics=fid,kid,is,pr

takes the newest checkpoint (--step another, --all every one, --best the best one that training with
--eval_every kept), draws --num_samples images and prints a line of scores. Adds them to
evaluations.jsonl in the workdir and draws evaluations.png. With --inception_weights=FILE (or fetch,
where there is a network) scores are FID, KID, inception score, precision and recall, made by
--convention. Without, features are those of a small classifier trained on the dataset itself, once
(half a minute for digits, three for CIFAR-10 on two CPU cores), and names begin with classifier_:
such numbers compare runs on that dataset with each other, and with nothing else. Scoring 10,000
images of 32 pixels takes seconds by the classifier, a quarter of an hour by the Inception network
on CPU.

    python -m experiments.evaluate --workdir=runs/ffhq --metrics= --path_length=w_end,z_full \
        --lpips_weights=vgg16.pth,vgg.pth

measures perceptual path lengths, ppl_w_end and ppl_z_full, alone: neither dataset nor classifier is
asked for. Without `--metrics=` they are added to the scores. The step is taken in w (StyleGAN2) or
z, at the end of the way between two latents or anywhere on it (full); StyleGAN2's published numbers
are w_end. --path_length_crop compares the middle of aligned faces alone, and names end in _crop.
--lpips_weights are torchvision's VGG16 and the linear weights 'vgg' of LPIPS v0.1, as .npz,
.safetensors or .pth, or one file of both. 50,000 pairs (--path_length_pairs) are 100,000 images,
all of which go through VGG16: work for a GPU, unless images are small or pairs fewer.
"""

import pathlib
import sys
import time

from absl import flags

from experiments import cli

_WORKDIR = flags.DEFINE_string('workdir', None, 'directory of the training run', required=True)
_METRICS = flags.DEFINE_list(
    'metrics', ['fid', 'kid', 'is', 'pr'], 'some of fid, kid, is, pr; or none'
)
_STEP = flags.DEFINE_integer('step', None, 'checkpoint; default the newest good one')
_ALL = flags.DEFINE_bool('all', False, 'every checkpoint')
_BEST = flags.DEFINE_bool('best', False, 'the checkpoint in WORKDIR/best')
_AGAIN = flags.DEFINE_bool('again', False, 'also what was scored before')
_NUM_SAMPLES = flags.DEFINE_integer(
    'num_samples', 10_000, 'images drawn', lower_bound=2, upper_bound=cli.MOST
)
_SEED = flags.DEFINE_integer(
    'seed', 0, 'seed of the latents', lower_bound=0, upper_bound=cli.MOST_SEED
)
_WEIGHTS = flags.DEFINE_string('inception_weights', None, 'file of Inception weights, or fetch')
_CONVENTION = flags.DEFINE_enum(
    'convention', 'torch', ['torch', 'tf1', 'clean'], "how the Inception network's input is made"
)
_PATH_LENGTH = flags.DEFINE_list(
    'path_length', [], 'perceptual path lengths: some of w_end, w_full, z_end, z_full'
)
_PATH_LENGTH_CROP = flags.DEFINE_bool(
    'path_length_crop', False, 'path lengths of the middle of aligned faces'
)
_PATH_LENGTH_PAIRS = flags.DEFINE_integer(
    'path_length_pairs',
    50_000,
    'pairs of images of a path length',
    lower_bound=1,
    upper_bound=cli.MOST,
)
_LPIPS_WEIGHTS = flags.DEFINE_list(
    'lpips_weights', [], "files of VGG16's and LPIPS's weights, for path lengths"
)
_SPLIT = flags.DEFINE_string('split', None, "part of the dataset; default the run's")
_DATA_DIR = flags.DEFINE_string('data_dir', None, "where the dataset lies; default the run's")
_CACHE_DIR = flags.DEFINE_string('cache_dir', None, "where statistics are kept; default the user's")


def main() -> None:
    """Scores what the flags ask for."""
    from osgan_jax.compression.config import KINDS
    from osgan_jax.engine import checkpoints
    from osgan_jax.evaluation import score_log
    from osgan_jax.gan import sampling

    workdir = pathlib.Path(_WORKDIR.value)
    if sum([_ALL.value, _BEST.value, _STEP.value is not None]) > 1:
        raise ValueError('--step, --all and --best exclude each other')
    if not _METRICS.value and not _PATH_LENGTH.value:
        raise ValueError('--metrics and --path_length are both empty: give what to score')
    source = workdir / 'best' if _BEST.value else workdir
    run = sampling.read(source, KINDS)
    steps = [_STEP.value]
    if _ALL.value:
        with checkpoints.Checkpoints(source, read_only=True) as saved:
            steps = saved.steps()
    # What is not there should not cost a classifier.
    sampler = sampling.Sampler(source, steps[0] if steps else None, KINDS)
    if not _ALL.value:
        steps = [sampler.step]
    paths = _path_lengths(sampler.gan)
    scorers = [_scores(sampler.gan, run.config)] if _METRICS.value else []
    _say_cost(workdir, steps, paths)
    for step in steps:
        if step != sampler.step:
            sampler = sampling.Sampler(source, step, KINDS)
        for evaluator in (*scorers, *paths):
            known = _known(score_log.read(workdir), step, evaluator)
            if known is not None and not _AGAIN.value:
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


def _scores(gan, config):
    """What scores samples against the dataset, as the flags ask."""
    from osgan_jax import data
    from osgan_jax.evaluation import evaluators

    dataset = data.load(
        config.dataset,
        split=_SPLIT.value or config.split,
        data_dir=_DATA_DIR.value or config.data_dir,
        image_size=config.image_size,
        channels=config.channels,
        upscale=config.upscale,
    )
    extractor = evaluators.extractor_for(
        dataset,
        inception_weights=_WEIGHTS.value,
        convention=_CONVENTION.value,
        cache_dir=_CACHE_DIR.value,
        progress=_Progress('training the classifier, step'),
    )
    if extractor.name != 'inception':
        print(
            f'Features of a classifier of {dataset.name} ({extractor.fingerprint[:8]}): compare '
            'only with numbers of the same one.'
        )
    return evaluators.evaluator(
        gan,
        dataset,
        extractor,
        metrics=_METRICS.value,
        num_samples=_NUM_SAMPLES.value,
        seed=_SEED.value,
        cache_dir=_CACHE_DIR.value,
        progress=_Progress('image'),
    )


def _path_lengths(gan):
    """What measures the path lengths that the flags ask for."""
    from osgan_jax.evaluation import path_lengths

    if not _PATH_LENGTH.value:
        return []
    distance = path_lengths.distance_for(_LPIPS_WEIGHTS.value)
    return [
        path_lengths.path_length_of(
            gan,
            distance,
            which,
            crop=_PATH_LENGTH_CROP.value,
            num_pairs=_PATH_LENGTH_PAIRS.value,
            seed=_SEED.value,
            progress=_Progress(f'path length {which}, pair'),
        )
        for which in dict.fromkeys(_PATH_LENGTH.value)
    ]


def _say_cost(workdir: pathlib.Path, steps, paths) -> None:
    """Says how many images the path lengths will take that are not known yet."""
    from osgan_jax.evaluation import score_log

    entries = score_log.read(workdir)
    count = sum(
        _AGAIN.value or _known(entries, step, path) is None for step in steps for path in paths
    )
    if count:
        about, pairs = paths[0].about, _PATH_LENGTH_PAIRS.value
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


class _Progress:
    """Prints how far something is, at most every few seconds, and how long it will take."""

    _EVERY = 5.0

    def __init__(self, what: str):
        self._what = what
        self._began = self._said = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if not done or done >= total:
            self._began = self._said = now
        elif now - self._said > self._EVERY:
            self._said = now
            left = (now - self._began) / done * (total - done) if done else 0
            print(f'{self._what} {done:,} of {total:,}, {left:.0f} s left', file=sys.stderr)


if __name__ == '__main__':
    cli.run(main)
