"""Rendering the sheets of an `EditConfig` from a run to files."""

import dataclasses
import functools
import math
import os
import pathlib
from collections.abc import Callable

import jax
import numpy as np

from osgan_jax import reporting
from osgan_jax.data import classes as data_classes
from osgan_jax.editing import (
    animation,
    directions,
    gradients,
    labels,
    masks,
    paths,
    projecting,
    sheets,
)
from osgan_jax.editing.config import EditConfig
from osgan_jax.editing.generators import EditableGenerator
from osgan_jax.editing.rows import Rows
from osgan_jax.gan import model
from osgan_jax.gan.sampling import Sampler
from osgan_jax.io.messages import printable

Array = jax.Array

_TRUNCATIONS = {
    'w': (-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0),
    'z': (0.25, 0.5, 1.0, 1.5, 2.0, math.inf),
}


def edit(
    sampler: Sampler,
    config: EditConfig,
    out: str | os.PathLike[str],
    say: Callable[[str], None] = print,
) -> list[str]:
    """Draws what a configuration asks for.

    Args:
      sampler: the generator.
      config: what to draw.
      out: the folder; created.
      say: called with sentences on what the files do not show.

    Returns:
      Descriptions of the written files, relative to `out`.

    Raises:
      ValueError: for a sheet that this generator cannot draw, before anything is written; for
        images, latents, labels, directions or values that do not fit.
      FileNotFoundError: if a file to be read is not there.
      OSError: if a file cannot be read or written.
    """
    renderer = _SheetRenderer(sampler, config, pathlib.Path(out), say)
    for name in config.sheet:
        renderer.generator.require(name)
    if config.label_samples:
        renderer.label_samples()
    renderer.find_latents()
    for name in config.sheet:
        getattr(renderer, name)()
    return renderer.written


class _SheetRenderer:
    """Renders the sheets of a configuration, each by the method of its name."""

    def __init__(
        self, sampler: Sampler, config: EditConfig, out: pathlib.Path, say: Callable[[str], None]
    ):
        self.sampler, self.out, self.say = sampler, out, say
        self.config = _by_number(config, sampler)
        self.generator = EditableGenerator(sampler.gan, sampler.variables)
        self.scale = reporting.visible_scale(min(sampler.gan.image_shape[:2]))
        self.rows = Rows(sampler, self.generator, self.config)
        self.written: list[str] = []

    @functools.cached_property
    def digest(self) -> str:
        """What tells the generator's weights from others."""
        return model.digest(self.generator.variables)

    def find_latents(self) -> None:
        """Reads latents, and projects images; both are what sheets show from now on."""
        config = self.config
        found = projecting.load(self.generator, config, self.say)
        if config.project:
            projected = projecting.project(self.sampler, self.generator, config, self.out, self.say)
            found += projected
            count = f'{len(projected)} image{"s" * (len(projected) > 1)}'
            self.written.append(f'{count} and latents in {projecting.FOLDER}')
        self.rows = Rows(self.sampler, self.generator, config, found)

    def label_samples(self) -> None:
        count = self.config.label_samples
        if count > labels.MAX_SAMPLES:
            raise ValueError(f'label_samples={count}: expected at most {labels.MAX_SAMPLES}')
        z, classes = self.rows.samples(count)
        path = labels.write_samples(
            self.out / 'label_samples', self.generator, z, classes, self._about_samples()
        )
        self.written.append(f'{count} samples to label in {path.relative_to(self.out)}')

    def mixing(self) -> None:
        config, count = self.config, self.generator.num_styles
        styles = {
            name: sheets.layers(name, count) for name in config.mixing_layers or sheets.bands(count)
        }
        left, top = self.rows.edges()
        edges = {
            name: self.generator.draw(w[:, None])[:, 0]
            for name, w in (('left', left), ('top', top))
        }
        for name, layers in styles.items():
            cells = sheets.mix(self.generator, left, top, layers)
            self._save_sheet(f'mixing_{name}', cells, **edges)

    def interpolate_z(self) -> None:
        start, end, *sides = self.rows.ends(in_z=True)
        cells = paths.through_z(self.generator, start, end, *sides, self.config.frames)
        self._save_path('interpolate_z', cells)

    def interpolate_w(self) -> None:
        start, end, *_ = self.rows.ends()
        cells = self.generator.draw(paths.straight(start, end, self.config.frames))
        self._save_path('interpolate_w', cells)

    def interpolate_classes(self) -> None:
        config = self.config
        z = self.rows.z(config.rows, 'interpolate_classes')
        cells = paths.between_classes(self.generator, z, *config.classes, config.frames)
        self._save_path('interpolate_classes', cells)

    def truncation(self) -> None:
        space = self.generator.space
        columns = self.config.truncations or _TRUNCATIONS[space]
        points, classes = self.rows.points(self.config.rows)
        if space == 'w':
            codes = paths.towards_average(self.generator, points, columns)
        else:
            codes = paths.truncated(points, columns)
        self._save_sheet('truncation', self.generator.draw(codes, classes))
        self.say(f'Columns of truncation.png: {", ".join(f"{value:g}" for value in columns)}.')

    def direction(self) -> None:
        config = self.config
        direction, name = self._find_direction()
        if config.direction is None or config.orthogonal_to:
            direction.save(self.out / f'{name}.npz')
            self.written.append(f'{name}.npz')
        codes, classes = self.rows.points(config.rows)
        moved = direction.moved(codes, config.strengths)
        self._save_sheet(name, self.generator.draw(moved, classes))
        if len(set(config.strengths)) > 1:
            path = np.linspace(min(config.strengths), max(config.strengths), config.frames)
            cells = self.generator.draw(direction.moved(codes, path), classes)
            self._save_animation(name, cells)

    def masked(self) -> None:
        config = self.config
        points, classes = self.rows.points(config.columns)
        cells = [
            masks.masked(self.generator, share, config.seed).draw(points[:, None], classes)[:, 0]
            for share in (*config.masked_shares, 0.0)
        ]
        self._save_sheet('masked', np.stack(cells))
        shares = ', '.join(f'{share:g}' for share in config.masked_shares)
        self.say(f'Rows of masked.png: shares {shares} of the weights set to 0; none of them.')

    def gradients(self) -> None:
        config = self.config
        judges = gradients.judges(self.sampler)
        points, classes = self.rows.points(config.rows)
        images = self.generator.points(points, classes)
        cells = gradients.sheet(
            judges,
            images,
            classes,
            samples=config.gradient_samples,
            noise=config.gradient_noise,
            seed=config.seed,
        )
        self._save_sheet('gradients', cells)
        self.say(f'Columns of gradients.png: {gradients.describe(judges, images.shape[-1])}.')

    def _find_direction(self) -> tuple[directions.Direction, str]:
        """The requested direction, and the name of its files."""
        config, space = self.config, self.generator.space
        size = self.sampler.gan.latent_dim if space == 'z' else len(self.generator.average)
        # A missing file is noticed before labels are made, which takes long.
        others = [self._load_direction(path, size) for path in config.orthogonal_to]
        if config.direction is not None:
            name = pathlib.Path(config.direction).stem
            direction = self._load_direction(config.direction, size)
            codes = self.generator.codes(*self.rows.samples(config.num_samples)) if others else None
        else:
            codes, shown, (target, against) = self._labelled()
            name = f'direction_{target}'
            if against is not None:
                name += f'_against_{against}'
            kept, positive = labels.split(shown, target, against)
            codes = codes[kept]
            direction = directions.fit(codes, positive, space, seed=config.seed)
            about = direction.about
            self.say(
                f'Of {about["held_out"]:,} samples held out, {name} tells '
                f'{about["accuracy"]:.1%} correctly (50% by chance); it is fitted to '
                f'{about["num_samples"] - about["held_out"]:,}.'
            )
            origin = {
                'network': self.generator.name,
                'generator': self.digest,
                'target': target,
                'against': against,
                **self._about_samples(),
            }
            direction = dataclasses.replace(direction, about={**about, **origin})
        if others:
            before, direction = direction, direction.without(others, codes)
            name += '_orthogonal'
            cosine = float(before.normal @ direction.normal)
            self.say(
                f'The orthogonal direction has a cosine of {cosine:.3f} with the original one.'
            )
        return direction, name

    def _load_direction(self, path: str, size: int) -> directions.Direction:
        found = directions.load(path, self.generator.space, size)
        # Files of older versions do not say which weights they are of.
        if found.about.get('generator', self.digest) != self.digest:
            self.say(
                f'{printable(path)} was found with other weights of a generator (step '
                f'{found.about.get("step")}): it may change something else here.'
            )
        return found

    def _labelled(self) -> tuple[np.ndarray, np.ndarray, tuple[int, int | None]]:
        """Points of the space, the labels of their images, and those at both ends."""
        config, generator = self.config, self.generator
        own = self.sampler.run.class_names, self.sampler.gan.num_classes
        if config.sample_labels is not None:
            indices, shown = labels.read(config.sample_labels)
            labels.check_samples(config.sample_labels, self._about_samples())
            z, classes = self.rows.samples(int(indices.max()) + 1)
            classes = None if classes is None else classes[indices]
            return generator.codes(z[indices], classes), shown, self._ends(*own)
        if config.classifier is not None:
            from osgan_jax import distillation

            classifier = distillation.load(config.classifier)
            self.say(f'Labelling {config.num_samples:,} samples with {classifier.architecture}.')
            z, classes = self.rows.samples(config.num_samples)
            ends = self._ends(classifier.run.class_names, classifier.run.num_classes)
            shown = labels.by_classifier(generator, classifier, z, classes)
            return generator.codes(z, classes), shown, ends
        count = self.sampler.gan.num_classes
        if not count or generator.space == 'z':
            reason = 'z does not depend on them' if count else 'it was trained without any'
            raise ValueError(
                f"this run's own labels do not depend on its latents, {reason}: give "
                '--sample_labels (see --label_samples), --classifier or --direction'
            )
        ends = self._ends(*own)
        shown = labels.balanced(config.num_samples, count, *ends)
        z = self.sampler.latents(config.num_samples, config.seed)
        return generator.codes(z, shown), shown, ends

    def _ends(self, class_names: tuple[str, ...], num_classes: int) -> tuple[int, int | None]:
        """The numbers of the labels that a direction leads to, and away from."""
        asked = (self.config.target_class, self.config.against)

        def number(label: int | str) -> int:
            # Labels by hand are any numbers.
            if self.config.sample_labels is not None and str(label).isdecimal():
                return int(label)
            return data_classes.find(label, class_names, num_classes)

        target, against = (None if each is None else number(each) for each in asked)
        return target, against

    def _about_samples(self) -> dict[str, int | None]:
        """The values that determine which image a sample is."""
        return {
            'step': self.sampler.step,
            'seed': self.config.seed,
            'label': self.config.label,
        }

    def _save_sheet(self, name: str, cells: np.ndarray, **edges: np.ndarray) -> None:
        image = sheets.draw(cells, scale=self.scale, **edges)
        reporting.save_png(self.out / f'{name}.png', image)
        self.written.append(f'{name}.png')

    def _save_animation(self, name: str, cells: np.ndarray) -> None:
        path = self.out / f'{name}{animation.SUFFIX}'
        animation.save(path, animation.frames(cells, scale=self.scale), fps=self.config.fps)
        self.written.append(path.name)

    def _save_path(self, name: str, cells: np.ndarray) -> None:
        """A sheet of some of a path's frames, and all of them as an animation."""
        shown = sheets.spread(cells.shape[1], self.config.columns)
        self._save_sheet(name, cells[:, shown])
        self._save_animation(name, cells)


def _by_number(config: EditConfig, sampler: Sampler) -> EditConfig:
    """A configuration whose classes of the generator are numbers."""
    if not sampler.gan.num_classes:
        return config
    ends = config.classes
    if 'interpolate_classes' in config.sheet:
        ends = tuple(map(sampler.class_number, ends))
    label = None if config.label is None else sampler.class_number(config.label)
    return dataclasses.replace(config, label=label, classes=ends)
