r"""Scores checkpoints of a training run against its dataset, and measures path lengths.

    python -m experiments.evaluate --workdir=runs/lsgan --metrics=fid,kid,is,pr

takes the newest checkpoint (--step chooses another, --all takes every one, --best the best one,
which training with --eval_every keeps), draws --num_samples images and prints the scores, each with
its direction and with what one half of the real images scores against the other. It adds them to
evaluations.jsonl in the workdir and draws evaluations.png. With --inception_weights=FILE (or fetch,
which downloads them) the scores are FID, KID, inception score, precision and recall, by
--convention. A line names the published protocol that they follow, or says what is missing for one.
Without weights the features come from a classifier that is trained once, on the images that the run
was trained on, or on those that --dataset or --data_dir names, also where they are the test part.
The names begin with classifier_: such scores compare runs on that dataset with each other, and with
nothing else. Training it takes half a minute for digits and three to five
minutes for CIFAR-10 on two idle CPU cores, and several times that on busy ones; --classifier=small
takes a sixth of that for CIFAR-10, and a third for digits. Scoring 10,000 images of 32 pixels takes
seconds with the classifier, and a quarter of an hour with the Inception network on CPU. The metric
modes counts the classes among the samples, and gives the reverse KL divergence between the class
frequencies of samples and data: with 26,000 samples and --dataset=stacked_digits this is
StackedMNIST's protocol.

With --dinov2_weights=FILE, the published dinov2_vitl14_pretrain.pth, the features are DINOv2's and
the scores fd_dinov2, kd_dinov2 and so on, of images resized as in EDM2 (--convention=torch) or by
Pillow (pil). This network takes fourteen times the arithmetic of Inception, so use a GPU.

Labels of a conditional generator are drawn with the frequencies of the real images, or with
--label_policy=uniform equally often; StyleGAN2's noise is drawn anew for each image. A run is
compared with the images that it was trained on, unless you name others:

    python -m experiments.evaluate --workdir=runs/cifar10 --split=test --num_samples=10000 \
        --inception_weights=fetch --metrics=fid

    python -m experiments.evaluate --workdir=runs/ffhq --metrics= --path_length=w_end,z_full \
        --lpips_weights=vgg16.pth,vgg.pth

measures only the perceptual path lengths ppl_w_end and ppl_z_full. This needs no classifier, and
needs the dataset only for a conditional generator whose labels follow it. Without `--metrics=` they
are measured in addition to the scores. The small step is made in w (StyleGAN2) or z, at the end of
the path between two latents (end) or anywhere on it (full); StyleGAN2's published numbers are
w_end. With --path_length_crop only the middle of aligned faces is compared, and names end in _crop.
--lpips_weights are torchvision's VGG16 and the linear weights 'vgg' of LPIPS v0.1, as .npz,
.safetensors or .pth, or both in one file. 50,000 pairs (--path_length_pairs) are 100,000 images,
which all pass through VGG16: use a GPU, unless the images are small or the pairs few.

    python -m experiments.evaluate --real=photos/ --fake=generated.zip --inception_weights=fetch

scores one set of images against another, without a run. Each is a folder, a zip archive, an .npz
file of images, the name of a dataset, or pytorch-fid's .npz file of mu and sigma (for the Frechet
distance only). --save_statistics=FILE writes mu and sigma of --real, --out=FILE the scores as JSON.
Images are read at their own size (--image_size sets another), and the two sets may differ in size:
the features resize them.

--nearest=1000 compares that many samples of a run with all training images. `copies` is the share
of samples that are closer to a single training image, relative to the next nearest ones, than 95%
of the training images are to each other: 0.05 is usual. WORKDIR/nearest_training.png shows the
samples most like copies, each beside its five nearest. Distances are between the features of the
scores, or with --metrics= between pixels at 16x16.

--classification_accuracy trains a classifier on --num_samples samples of a conditional run and the
labels that they were drawn for, and measures its accuracy on the real images, best of a part that
the run was not trained on (CAS, Ravuri and Vinyals 2019). It takes as long as training the
classifier of the scores, which has learnt from as many real images:

    python -m experiments.evaluate --workdir=runs/cifar10 --split=test --num_samples=50000 \
        --metrics= --classification_accuracy

--per_class also scores each class of a conditional run, or of two labelled sets, and its diversity
relative to the real images of the class.
"""

import dataclasses
import pathlib
import sys

from experiments import cli, scorers, two_sets
from osgan_jax.engine.config import Config
from osgan_jax.engine.declarations import MAX_SEED, declarations, field, image_size_field
from osgan_jax.gan.config import TrainConfig

# As in training: what features come from, and which labels images are given.
_Features = cli.only(TrainConfig, (*scorers.FEATURES, 'label_policy'))

_OF_A_RUN = (
    *('step', 'all', 'best', 'again', 'num_samples', 'dataset', 'nearest'),
    'classification_accuracy',
    *('path_length', 'path_length_crop', 'path_length_pairs', 'lpips_weights'),
)
_OF_TWO_SETS = ('fake', 'image_size', 'out', 'save_statistics')


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(cli.Source):
    """The checkpoints to score, and by what."""

    real: str | None = field(
        None,
        'instead of a run, the real images: a folder, zip or .npz of images, an .npz of mu and '
        "sigma, or a dataset's name",
        path=True,
    )
    fake: str | None = field(
        None,
        'the images to score against --real: a folder, zip or .npz '
        "of images, an .npz of mu and sigma, or a dataset's name",
        path=True,
    )
    step: int | None = field(None, "the checkpoint's step; the newest good one by default")
    all: bool = field(False, 'score every checkpoint')
    best: bool = field(False, 'score the checkpoint in WORKDIR/best')
    again: bool = field(False, 'recompute scores that are already recorded')
    seed: int = field(0, 'seed of latents, labels and noise', at_least=0, at_most=MAX_SEED)
    metrics: tuple[str, ...] = field(
        ('fid', 'kid', 'is', 'pr'),
        'scores against the dataset; --metrics= for none',
        group='evaluation',
        names='osgan_jax.evaluation.metrics.registry:names',
    )
    num_samples: int = field(
        10_000, 'images drawn from the generator', group='evaluation', at_least=2
    )
    per_class: bool = field(False, 'also score each class', group='evaluation')
    nearest: int = field(
        0,
        'number of samples to compare with their nearest training images, which gives the share '
        'of copies and nearest_training.png; 0 for none',
        group='evaluation',
        at_least=0,
        at_most=100_000,
    )
    classification_accuracy: bool = field(
        False,
        'also train a classifier on the samples, and measure its accuracy on the real images',
        group='evaluation',
    )
    path_length: tuple[str, ...] = field(
        (),
        'perceptual path lengths to measure',
        group='evaluation',
        choices=('w_end', 'w_full', 'z_end', 'z_full'),
    )
    path_length_crop: bool = field(
        False, 'crop images to the centre of aligned faces for path lengths', group='evaluation'
    )
    path_length_pairs: int = field(
        50_000, 'pairs of images for a path length', group='evaluation', at_least=1
    )
    lpips_weights: tuple[str, ...] = field(
        (), "files of VGG16's and LPIPS's weights, for path lengths", group='evaluation', path=True
    )
    dataset: str | None = field(
        None,
        "dataset to compare with; the run's by default",
        group='data',
        names='osgan_jax.data:names',
    )
    split: str | None = field(None, "part of the dataset; the run's by default", group='data')
    data_dir: str | None = field(
        None, "directory or file of the dataset; the run's by default", group='data', path=True
    )
    image_size: int | str | None = image_size_field(
        None,
        'pixels that the images of --real and --fake get, as 64, or height x width, as 64x128; '
        'their own by default',
    )
    out: str | None = field(
        None, 'file of JSON for the scores of --fake; none by default', group='output', path=True
    )
    save_statistics: str | None = field(
        None,
        ".npz file for mu and sigma of --real's features; none by default",
        group='output',
        path=True,
    )
    cache_dir: str | None = field(
        None,
        "directory that keeps statistics of datasets; by default in the user's cache",
        group='data',
        path=True,
    )

    def __post_init__(self):
        super().__post_init__()
        self._check_only(_OF_A_RUN if self.real else _OF_TWO_SETS)
        if self.real and not self.fake and not self.save_statistics:
            raise ValueError(
                '--real needs a second set of images: give --fake, or '
                '--save_statistics=FILE to save its statistics'
            )
        if sum([self.all, self.best, self.step is not None]) > 1:
            raise ValueError('--step, --all and --best exclude each other')
        others = (self.path_length, self.nearest, self.classification_accuracy)
        if not self.metrics and not any(others):
            raise ValueError('--metrics and --path_length are both empty: give what to score')

    def check_source(self) -> None:
        """Raises ValueError unless there is one source, or two sets in its place."""
        sources = [self.workdir, self.pretrained, self.real]
        if sum(each is not None for each in sources) != 1:
            raise ValueError(
                'give either the --workdir of a run, or a --pretrained model, or --real and '
                '--fake, two sets of images'
            )
        if self.pretrained is not None and (self.best or self.all):
            raise ValueError('--best and --all go with --workdir: a model has a single step')

    def _check_only(self, names: tuple[str, ...]) -> None:
        """Refuses flags of what was not asked for."""
        defaults = {each.name: each.default for each in dataclasses.fields(self)}
        for name in names:
            if getattr(self, name) != defaults[name]:
                asked, others = ('--real', '--workdir') if self.real else ('--workdir', '--real')
                raise ValueError(f'--{name} goes with {others}, and not with {asked}')


@cli.command(EvaluateConfig, _Features, cli.OwnNetworks)
def main(asked: EvaluateConfig, features: Config, own: cli.OwnNetworks) -> None:
    """Scores checkpoints, or two sets."""
    from osgan_jax.evaluation.metrics import registry

    for name in asked.metrics:
        registry.get(name)  # what there is not should not cost a classifier
    _check_effects(asked, features)
    if asked.real is not None:
        if features.label_policy != 'data':
            raise ValueError('--label_policy goes with --workdir, and not with --real')
        return two_sets.run(asked, scorers.sources(features))
    from osgan_jax.compression.config import KINDS
    from osgan_jax.engine import checkpoints
    from osgan_jax.evaluation import label_policies, score_log, score_plot
    from osgan_jax.gan import reading, sampling

    asked.introduce()
    workdir = asked.folder
    source = workdir / 'best' if asked.best else asked.source
    if asked.best and workdir.exists() and not source.exists():
        raise ValueError(f'{source} is not there: only training with --eval_every keeps it')
    run = reading.read(source, KINDS)
    steps = [asked.step]
    if asked.all:
        with checkpoints.Checkpoints(source, read_only=True) as saved:
            steps = saved.steps() or [None]  # an export has none, and a single step
    # Nor a checkpoint that is not there.
    sampler = sampling.Sampler(source, steps[0], KINDS, own.network)
    if steps == [None]:
        steps = [sampler.step]
    policy = features.label_policy
    follows_data = policy == 'data' and sampler.gan.num_classes
    dataset = None
    of_images = asked.metrics or asked.nearest or asked.classification_accuracy
    if of_images or (asked.path_length and follows_data):
        dataset = _open_dataset(asked, run, source)
        label_policies.check(policy, sampler.gan.num_classes, dataset.num_classes)
    paths = scorers.path_lengths(asked, sampler.gan, policy, dataset)
    evaluators = scorers.of_images(asked, features, sampler.gan, dataset, run.config)
    _say_cost(asked, steps, paths)
    for step in steps:
        if step != sampler.step:
            sampler = sampling.Sampler(source, step, KINDS, own.network)
        for evaluator in (*evaluators, *paths):
            known = _known(score_log.read(workdir), step, evaluator)
            if known is not None and not asked.again:
                _print_scores(asked, known, ' (scored before; --again scores anew)')
                continue
            values = evaluator(sampler.variables)
            entry = evaluator.entry(step, None, values)
            _print_scores(asked, entry)  # first: the directory may not be writable
            score_log.write(workdir, entry)
    path = score_plot.draw(workdir)
    print(f'Written: {workdir / score_log.FILE} and {path}')


def _check_effects(asked: EvaluateConfig, features: Config) -> None:
    """Refuses flags that have no effect beside the others."""
    weights = features.inception_weights or features.dinov2_weights
    trained = asked.classification_accuracy or (asked.metrics and not weights)
    of_scores = asked.metrics, 'with --metrics='
    of_path_lengths = asked.path_length, 'without --path_length'
    effects = {
        'per_class': of_scores,
        'inception_weights': of_scores,
        'dinov2_weights': of_scores,
        'convention': (weights, 'without --inception_weights or --dinov2_weights'),
        'classifier': (trained, 'beside other weights' if asked.metrics else 'with --metrics='),
        'num_samples': (asked.metrics or asked.classification_accuracy, 'with --metrics='),
        'path_length_crop': of_path_lengths,
        'path_length_pairs': of_path_lengths,
        'lpips_weights': of_path_lengths,
    }
    for name, (has_effect, where) in effects.items():
        config = asked if hasattr(asked, name) else features
        if not has_effect and getattr(config, name) != declarations(type(config))[name].default:
            raise ValueError(f'--{name} has no effect {where}: leave it out')


def _open_dataset(asked: EvaluateConfig, run, workdir: str | pathlib.Path):
    """The images to compare with: the run's own, unless others are named."""
    from osgan_jax.data import classes, identity
    from osgan_jax.engine import messages, resuming
    from osgan_jax.gan import trainer

    config = run.config
    if asked.dataset is not None:
        config = dataclasses.replace(config, dataset=asked.dataset, split='train', data_dir=None)
    named = {name: getattr(asked, name) for name in ('split', 'data_dir')}
    named = {name: value for name, value in named.items() if value is not None}
    config = dataclasses.replace(config, **named)

    def load():
        return messages.read_dataset(config.dataset, lambda: trainer.open_dataset(config))

    advice = 'name what to compare with by --dataset and --data_dir, an .npz of its images say'
    if asked.dataset is None:
        # Another part, or place, is of the run's dataset, which a name has to open.
        resuming.check_reopens(run, str(workdir), advice)
    if not named and asked.dataset is None:
        if asked.pretrained and config.data_dir is not None:
            raise ValueError(
                f'the images that {asked.pretrained} was trained on are not part of the package: '
                f'give {config.data_dir} by --data_dir'
            )
        if run.source is None:
            messages.warn(
                f'{workdir} does not record its images, for it is older than that or converted: it '
                f'is compared with {config.dataset} ({config.split}), which its config.json names.'
            )
        return resuming.reopen(run, str(workdir), load, advice)
    dataset = load()
    if run.source and (other := identity.difference(run.source, identity.identify(dataset))):
        print(f'Compared with other images than those of training: {other}.')
    if run.config.conditional:
        dataset = classes.align(dataset, run.class_names, f'the run in {workdir}')
    return dataset


def _say_cost(asked: EvaluateConfig, steps, paths) -> None:
    """Prints how many images will be drawn for path lengths that are not known yet."""
    from osgan_jax.evaluation import score_log

    entries = score_log.read(asked.folder)
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


def _print_scores(asked: EvaluateConfig, entry, remark: str = '') -> None:
    from osgan_jax.evaluation import per_class, score_log, score_text

    names = score_log.metric_names(entry)
    of_classes = per_class.lines(entry.get('per_class', {})) if asked.per_class else []
    if len(names) == 1 and not of_classes:
        print(
            f'step {entry["step"]:,}: {score_text.in_one_line(entry, names[0])}{remark}', flush=True
        )
        return
    print(f'step {entry["step"]:,}: {score_text.describe(entry)}{remark}')
    for line in (*score_text.lines(entry), *of_classes):
        print(f'  {line}', flush=True)


if __name__ == '__main__':
    sys.exit(main())
