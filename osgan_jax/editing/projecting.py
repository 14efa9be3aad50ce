"""From images to files: each projected, its picture and its latents written."""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from osgan_jax.compression import teachers
from osgan_jax.editing import latents as latent_files
from osgan_jax.editing import rows, similarity, targets
from osgan_jax.editing.config import EditConfig
from osgan_jax.editing.generators import EditableGenerator
from osgan_jax.editing.latents import Latents
from osgan_jax.editing.projection import Projection, Projector
from osgan_jax.editing.similarity import Similarity
from osgan_jax.engine import messages, resuming
from osgan_jax.gan import model, trainer
from osgan_jax.gan.sampling import Sampler
from osgan_jax.io.messages import printable
from osgan_jax.reporting import figures

FOLDER = 'projected'


def project(
    sampler: Sampler,
    generator: EditableGenerator,
    config: EditConfig,
    out: pathlib.Path,
    say: Callable[[str], None],
) -> list[Latents]:
    """Projects the images of a configuration; writes projected/NAME.png and NAME.npz of each.

    Args:
      sampler: the run.
      generator: its generator.
      config: with images to project.
      out: the folder.
      say: called with distances and all that was inferred.

    Returns:
      Their latents.

    Raises:
      ValueError: for images that cannot be read, a similarity that this run has not, or as
        `Projector`.
      FileNotFoundError: if an image or weights are not there.
    """
    label = config.label
    sampler.labels(1, label)  # refuses a label of a run without any
    asked = targets.read(config.project, sampler.run.config)
    if {'interpolate_z', 'interpolate_w'} & {*config.sheet}:
        rows.check_ends(len(asked) + len(config.latents))  # not only once they are found
    compare = _similarity(sampler, config)
    projector = Projector(
        generator,
        compare,
        space=config.project_space,
        steps=config.project_steps,
        restarts=config.restarts,
        samples=config.project_samples,
        noise=config.project_noise,
        seed=config.seed,
    )
    say(
        f'Projecting {len(asked)} {"image" if len(asked) == 1 else "images"} into '
        f'{projector.space}; compared by {compare.name}.'
    )
    digest, found = model.digest(generator.variables), []
    for target in asked:
        for remark in target.remarks:
            say(f'{printable(target.path)}: {remark}.')
        countdown = messages.Countdown(f'Projecting {target.name} in {{}} parts')
        result = projector(target.image, label, countdown)
        lines = _describe(target.name, result, projector.samples, sampler.run.class_names)
        for line in lines:
            say(line)
        about = {
            'image': printable(target.path),
            'network': generator.name,
            'generator': digest,
            'step': sampler.step,
            'compared_by': compare.name,
            'distance': result.distance,
            'nearest_sample': result.nearest_distance,
        }
        point = result.latents
        point = Latents(point.point, point.space, point.label, point.noise, about)
        point.save(out / FOLDER / f'{target.name}.npz')
        _save_picture(out / FOLDER / f'{target.name}.png', result, lines[0], projector.samples)
        found.append(point)
    return found


def load(
    generator: EditableGenerator, config: EditConfig, say: Callable[[str], None]
) -> list[Latents]:
    """Reads the files of --latents; says which were found with another generator or step.

    Raises:
      ValueError, FileNotFoundError: as `osgan_jax.editing.latents.load`.
    """
    found, digest = [], None
    for path in config.latents:
        one = latent_files.load(path, generator.point_shapes(), generator.gan.num_classes)
        digest = digest or model.digest(generator.variables)
        if one.about.get('generator') != digest:
            say(
                f'{printable(path)} was found with other weights of a generator (step '
                f'{one.about.get("step")}): its image differs here.'
            )
        found.append(one)
    return found


def _similarity(sampler: Sampler, config: EditConfig) -> Similarity:
    name = config.similarity or ('lpips' if config.lpips_weights else 'discriminator')
    if (name == 'lpips') != bool(config.lpips_weights):
        raise ValueError(
            '--similarity=lpips and --lpips_weights=FILE,FILE go together: give both, or neither'
        )
    if name == 'lpips':
        from osgan_jax.evaluation.features import lpips

        return similarity.by_lpips(lpips.distance(*config.lpips_weights))
    if name == 'discriminator':
        try:
            judge = teachers.of_sampler(sampler)
        except ValueError as error:
            raise ValueError(f'{error}; or compare by --similarity=pixels') from None
        return similarity.by_discriminator(
            judge.gan.discriminator, judge.variables['discriminator']
        )
    if name == 'classifier':
        return similarity.by_classifier(_classifier(sampler))
    return similarity.by_pixels()


def _classifier(sampler: Sampler) -> Any:
    """The classifier of the run's dataset, kept from its scores or trained now."""
    from osgan_jax.evaluation.features import classifier

    run = sampler.run
    dataset = resuming.reopen(
        run,
        str(sampler.workdir),
        lambda: messages.read_dataset(run.config.dataset, lambda: trainer.open_dataset(run.config)),
        'give --similarity=discriminator, which needs no data',
    )
    if dataset.stack_of is not None:
        raise ValueError(
            f'the classifier of {dataset.name} judges single digits, not stacks: give another '
            '--similarity'
        )
    return classifier.trained_for(
        dataset, progress=messages.Countdown('Training a classifier to compare by, {} steps')
    )


def _describe(
    name: str, found: Projection, samples: int, class_names: tuple[str, ...]
) -> list[str]:
    """Sentences on a projection: the distances first, then classes and starts."""

    def named(label: int) -> str:
        name = class_names[label] if label < len(class_names) else str(label)
        return name if name == str(label) else f'{label} ({name})'

    label = found.latents.label
    of_class = '' if label is None else f', class {named(label)}'
    lines = [
        f'{name}: distance {found.distance:.4f}{of_class}; the nearest of {samples:,} samples has '
        f'{found.nearest_distance:.4f}'
    ]
    starts = [
        f'{distance:.4f}' + ('' if found.labels is None else f' class {named(int(label))}')
        for distance, label in zip(
            found.distances,
            [0] * len(found.distances) if found.labels is None else found.labels,
            strict=True,
        )
    ]
    lines.append(f'  pixels differ by {found.pixel_error:.1f} of 255; starts: {", ".join(starts)}.')
    if found.latents.noise:
        lines.append(
            f'  With the noise that all sheets share, which they draw, it has '
            f'{found.plain_distance:.4f}.'
        )
    return lines


def _save_picture(path: pathlib.Path, found: Projection, title: str, samples: int) -> None:
    """The target, the projection and the nearest sample side by side, the curves beneath."""
    figure = figures.new_figure((7.5, 5.2))
    grid = figure.add_gridspec(2, 3, height_ratios=(1.25, 1))
    shown = {
        'target': found.target,
        f'projection, {found.distance:.3g}': found.image,
        f'nearest of {samples:,}, {found.nearest_distance:.3g}': found.nearest,
    }
    for column, (name, image) in enumerate(shown.items()):
        axis = figure.add_subplot(grid[0, column])
        axis.imshow(np.repeat(image, 4 - image.shape[2], axis=2)[..., :3], interpolation='nearest')
        axis.set_title(name, fontsize=9)
        axis.axis('off')
    axis = figure.add_subplot(grid[1, :])
    best = int(np.nanargmin(found.distances))
    for row, curve in enumerate(found.curves):
        kept = row == best
        axis.plot(
            np.arange(1, len(curve) + 1),
            curve,
            color='#0072B2' if kept else '#999999',
            linewidth=1.4 if kept else 0.8,
            zorder=3 if kept else 2,
            label='kept' if kept else None,
        )
    axis.axhline(
        found.nearest_distance, color='#D55E00', linestyle='--', linewidth=1, label='nearest sample'
    )
    axis.set_yscale('log')
    axis.set_xlabel('step')
    axis.set_ylabel('distance')
    axis.grid(True, color='#DDDDDD', linewidth=0.6)
    axis.spines[['top', 'right']].set_visible(False)
    axis.legend(frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=9)
    figures.save_figure(figure, path)
